package ratelimit

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
)

// verdict is what a [Gate] says about one request. The zero verdict lets it pass.
type verdict struct {
	// status is 0 when the request may go on, or else as in [Gate.Admit].
	status int

	// retryAfter is how long until all rules that denied the request would let it pass; 0
	// when none did, or [Never].
	retryAfter time.Duration

	// decisions are those of the rules that applied, in their order; dry runs among them,
	// and those with a CallID last.
	decisions []Decision

	// err is why the status is 400 or 500, or 503 because of the context; nil otherwise.
	// It holds the text of the Key's error.
	err error

	gate *Gate
	dry  uint32 // bit i: decisions[i] is a dry run
	room *room  // nil before the first decision
}

// room is where a verdict keeps its decisions, its request's context and its refusal, in
// one allocation.
type room struct {
	decided
	decisions [1]Decision
	refusal   gatekit.Refusal
	names     [4]string // of the limits that denied the request
}

// add takes up one decision.
func (v *verdict) add(d Decision) {
	if v.room == nil {
		v.room = new(room)
		v.decisions = v.room.decisions[:0]
	}
	v.decisions = append(v.decisions, d)
}

func (v *verdict) dryRun(i int) bool { return v.dry&(1<<i) != 0 }

// deny takes up the denial of one rule. A quota that is used up outweighs a capacity that
// is missing.
func (v *verdict) deny(d *Decision) {
	v.retryAfter = max(v.retryAfter, d.RetryAfter)
	if closed := d.Degraded != nil && d.Policy().fail == FailClosed; !closed {
		v.status = http.StatusTooManyRequests
	} else if v.status == 0 {
		v.status = http.StatusServiceUnavailable
	}
}

// fail takes up an error and reports whether the request may go on all the same.
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
}

type contextKey struct{}

// Value finds the decisions.
func (c *decided) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// inContext returns the request with the decisions of the verdict and of the gates
// outside in its context.
func (v *verdict) inContext(r *http.Request) *http.Request {
	if len(v.decisions) == 0 {
		return r
	}
	c := &v.room.decided
	c.Context, c.ds = r.Context(), v.decisions
	if outer := FromContext(c.Context); len(outer) > 0 {
		c.ds = append(outer[:len(outer):len(outer)], v.decisions...)
	}
	return r.WithContext(c)
}

// FromContext returns the decisions of the gates that a request came through, outermost
// first; dry runs among them, which alone may not be Allowed. In the request that an
// error handler gets for a denied one, it returns the decisions that denied it too. A
// handler gives them back by [Limiter.RefundMany], to count only the requests that fail,
// for example. They are shared: don't change them.
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

// detail tells the client what to do.
func (v *verdict) detail() string {
	switch {
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

// appendViolated appends the names of the limits that denied the request. When Redis did
// not decide it is not known which of a policy did, so all are named.
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
