package ratelimit

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// A Verdict is what a [Gate] says about one request. The zero Verdict lets it pass and
// writes nothing.
type Verdict struct {
	// Status is 0 when the request may go on. Else it is blocked, with
	//
	//	429  when a policy denied it,
	//	503  when Redis did not decide and a policy with [FailClosed] denied it, or the request's context had ended,
	//	400  when a Key returned an error, or a CallID came with another cost than before,
	//	500  when the program is wrong: Cost out of range, no pattern for PerRoute.
	Status int

	// RetryAfter is how long until all rules that denied the request would let it pass; 0
	// when none did, or [Never].
	RetryAfter time.Duration

	// Decisions are those of the rules that applied, in their order; dry runs among them,
	// and those with a CallID last.
	Decisions []Decision

	// Err is why the status is 400 or 500, or 503 because of the context; nil otherwise.
	// It holds the text of the Key's error and is not for the client.
	Err error

	gate *Gate
	dry  uint32 // bit i: Decisions[i] is a dry run
}

// Refusal returns a blocked request's verdict as an error, for frameworks whose handlers
// return errors; nil when the request may go on.
func (v Verdict) Refusal() error {
	if v.Status == 0 {
		return nil
	}
	return &Refusal{v}
}

// A Refusal is the error of a request that a [Gate] blocked.
type Refusal struct {
	Verdict Verdict // with a Status other than 0
}

// Error returns the status and the names of the policies that denied the request. It
// holds no key or address.
func (f *Refusal) Error() string {
	text := "ratelimit: blocked with " + strconv.Itoa(f.Verdict.Status)
	if f.Verdict.Err == nil {
		text += " by " + string(f.Verdict.appendViolated(nil))
	}
	return text
}

// Unwrap returns the verdict's Err.
func (f *Refusal) Unwrap() error { return f.Verdict.Err }

// StatusCode returns [Verdict.Status], for frameworks that ask errors for it.
func (f *Refusal) StatusCode() int { return f.Verdict.Status }

// MarshalJSON returns [Verdict.Body], for frameworks that send errors as JSON.
func (f *Refusal) MarshalJSON() ([]byte, error) { return f.Verdict.Body(), nil }

func (v Verdict) dryRun(i int) bool { return v.dry&(1<<i) != 0 }

// deny takes up the denial of one rule. A quota that is used up outweighs a capacity that
// is missing.
func (v *Verdict) deny(d *Decision) {
	v.RetryAfter = max(v.RetryAfter, d.RetryAfter)
	if closed := d.Degraded != nil && d.Policy().fail == FailClosed; !closed {
		v.Status = http.StatusTooManyRequests
	} else if v.Status == 0 {
		v.Status = http.StatusServiceUnavailable
	}
}

// fail takes up an error and reports whether the request may go on all the same.
func (v *Verdict) fail(r *http.Request, err error, dry bool) (goOn bool) {
	status := http.StatusInternalServerError
	switch {
	case r.Context().Err() != nil:
		status = http.StatusServiceUnavailable
	case errors.Is(err, errKey), errors.Is(err, ErrOtherCost):
		status = http.StatusBadRequest
	default:
		v.gate.opts.Logger.ErrorContext(r.Context(), "gatekit: a rate limit could not be applied", "error", err)
	}
	if !dry {
		v.Status, v.Err, v.RetryAfter = status, err, 0
	}
	return dry
}

type contextKey struct{}

// Context returns ctx with the decisions, for [FromContext].
func (v Verdict) Context(ctx context.Context) context.Context {
	if len(v.Decisions) == 0 {
		return ctx
	}
	ds := v.Decisions
	if outer := FromContext(ctx); len(outer) > 0 {
		ds = append(outer[:len(outer):len(outer)], ds...)
	}
	return context.WithValue(ctx, contextKey{}, ds)
}

// FromContext returns the decisions of the gates that a request came through, outermost
// first; dry runs among them, which alone may not be Allowed. A handler gives them back
// by [Limiter.RefundMany], to count only the requests that fail, for example. They are
// shared: don't change them.
func FromContext(ctx context.Context) []Decision {
	ds, _ := ctx.Value(contextKey{}).([]Decision)
	return ds
}
