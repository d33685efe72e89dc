package ratelimit

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
)

// verdict is the result of a [Gate] for one request. The zero verdict lets it pass.
type verdict struct {
	// status is 0 when the request may go on, or else as in [Gate.Admit].
	status int

	// retryAfter is how long until all rules that denied the request would let it pass.
	// It is 0 when none denied it; it may be [Never].
	retryAfter time.Duration

	// decisions are those of the rules that applied, in the order of the rules, but those
	// with a CallID last. Dry runs are among them.
	decisions []Decision

	// err is why the status is 400, 403 or 500, or 503 because of the context; nil
	// otherwise. It includes the error that the rule's Key returned.
	err error

	gate *Gate
	dry  uint32 // bit i: decisions[i] is a dry run
	room *room  // nil before the first decision
}

// room holds a verdict's decisions, its request's context and its refusal, so that they
// take one allocation.
type room struct {
	decided
	decisions [1]Decision
	refusal   gatekit.Refusal
	names     [4]string // the names of the limits that denied the request
}

// add adds one decision.
func (v *verdict) add(d Decision) {
	if v.room == nil {
		v.room = new(room)
		v.decisions = v.room.decisions[:0]
	}
	v.decisions = append(v.decisions, d)
}

func (v *verdict) dryRun(i int) bool { return v.dry&(1<<i) != 0 }

// deny adds the denial of one rule. If one rule is over its quota (429) and another fails
// closed (503), the answer is 429.
func (v *verdict) deny(d *Decision) {
	v.retryAfter = max(v.retryAfter, d.RetryAfter)
	if closed := d.Degraded != nil && d.Policy().fail == FailClosed; !closed {
		v.status = http.StatusTooManyRequests
	} else if v.status == 0 {
		v.status = http.StatusServiceUnavailable
	}
}

// fail adds an error, and reports whether the request may go on all the same, which holds
// for a dry run.
func (v *verdict) fail(r *http.Request, err error, dry bool) (goOn bool) {
	status := http.StatusInternalServerError
	switch {
	case r.Context().Err() != nil:
		status = http.StatusServiceUnavailable
	case errors.Is(err, errKey), errors.Is(err, ErrOtherCost):
		status = http.StatusBadRequest
	default:
		v.gate.logger.ErrorContext(r.Context(), "gatekit: a rate limit could not be applied", "error", err)
	}
	if !dry {
		v.status, v.err, v.retryAfter = status, err, 0
	}
	return dry
}

// decided is a context with the decisions of the gates that a request came through.
type decided struct {
	context.Context
	ds []Decision

	gate        *Gate
	settlements []settlement // of this gate
	used        *usage
	own         usage
}

type contextKey struct{}

// Value returns the decisions for the contextKey.
func (c *decided) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// inContext returns the request with the verdict's decisions in its context, after those
// of the outer gates.
func (v *verdict) inContext(r *http.Request) *http.Request {
	if len(v.decisions) == 0 {
		return r
	}
	c := &v.room.decided
	c.Context, c.ds, c.gate, c.used = r.Context(), v.decisions, v.gate, &c.own
	if outer, ok := c.Context.Value(contextKey{}).(*decided); ok {
		c.ds, c.used = append(outer.ds[:len(outer.ds):len(outer.ds)], v.decisions...), outer.used
	}
	return r.WithContext(c)
}

// FromContext returns the decisions of the gates that a request came through, outermost
// first. Dry runs are among them; in a handler only dry runs can be denials. In an error
// handler ([GateOptions.ErrorHandler]) the denials are among them. A handler may refund
// decisions by [Limiter.RefundMany], for example to count only the requests that fail.
// The slice is shared: do not change it.
func FromContext(ctx context.Context) []Decision {
	if c, ok := ctx.Value(contextKey{}).(*decided); ok {
		return c.ds
	}
	return nil
}

// refusal returns the answer to a request that is blocked.
func (v *verdict) refusal() *gatekit.Refusal {
	if v.room == nil {
		v.room = new(room)
	}
	f := &v.room.refusal
	f.Status, f.Detail, f.Err = v.status, v.detail(), v.err
	if v.err == nil {
		f.Violated = v.appendViolated(v.room.names[:0])
	}
	if v.retryAfter > 0 && v.retryAfter < Never {
		f.RetryAfter = time.Duration(retrySeconds(v.retryAfter, rand.Float64())) * time.Second
	}
	return f
}

// detail returns a sentence that tells the client what is wrong and whether to wait.
func (v *verdict) detail() string {
	switch {
	case v.status == http.StatusForbidden:
		return "Requests of this client are refused."
	case v.err != nil && v.status == http.StatusBadRequest:
		return "What the request is counted by is missing or has a wrong form."
	case v.err != nil:
		return "The request could not be counted against its quota."
	case v.status == http.StatusServiceUnavailable:
		return "Quotas cannot be checked at the moment. Try again later."
	case v.retryAfter == Never:
		return "The request asks for more than a quota allows. Waiting does not help."
	}
	return "A quota is used up. Wait before trying again."
}

// appendViolated appends the names of the limits that denied the request. If Redis did
// not decide, we do not know which limit of the policy would deny, so it names all.
func (v *verdict) appendViolated(names []string) []string {
	for i, d := range v.decisions {
		if d.Allowed || v.dryRun(i) {
			continue
		}
		for n, s := range d.Limits {
			if d.Degraded != nil || s.RetryAfter > 0 {
				names = append(names, d.Policy().items[n])
			}
		}
	}
	return names
}
