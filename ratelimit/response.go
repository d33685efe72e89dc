package ratelimit

import (
	"context"
	"net/http"
	"sync/atomic"
)

// A Response is what is known of a request when its handler is done, for [Rule.Settle].
type Response struct {
	// Request is the request, as the gate admitted it.
	Request *http.Request

	// Status is the status that was sent. If the handler sent none, it is 200, also when
	// the handler took the connection over; or 500 when the handler panicked. An error
	// handler or a Recover outside of the gate may answer with another one: mount the
	// gate outside of it.
	Status int

	// Bytes is how many bytes of the body the handler sent, before anything outside of
	// the gate changes them. Those of a connection that the handler took over are not
	// among them.
	Bytes int64

	// Panicked reports that the handler panicked.
	Panicked bool

	// Reserved is what the rule charged before the handler ran, in permits.
	Reserved int64

	// Used is the sum of what the handler reported by [Use], in permits; -1 if it
	// reported nothing.
	Used int64
}

// CountIf returns Reserved if the request counts, and 0 if it does not.
func (r Response) CountIf(counts bool) int64 {
	if counts {
		return r.Reserved
	}
	return 0
}

// Use reports that the handler used n permits more, for the [Response.Used] of the rules
// that admitted its request. ctx is the context of the request. Report what is used when
// it is used, and not at the end: then a handler that panics, or whose client leaves, is
// charged too. Use does nothing without a gate, and for n below 0. It is safe for
// concurrent use.
func Use(ctx context.Context, n int64) {
	if c, ok := ctx.Value(contextKey{}).(*decided); ok && n >= 0 {
		c.used.sum.Add(n)
		c.used.reported.Store(true)
	}
}

// usage is what a handler reported. The gates that a request came through share it.
type usage struct {
	reported atomic.Bool
	sum      atomic.Int64
}

func (u *usage) total() int64 {
	if !u.reported.Load() {
		return -1
	}
	return u.sum.Load()
}

// settlement is one decision to settle when the handler is done.
type settlement struct {
	decision Decision
	rule     int
}

// Settles reports whether a rule has a Settle. If so, the middleware of a framework calls
// [Gate.Settle] for each request that it admitted.
func (g *Gate) Settles() bool {
	for i := range g.rules {
		if g.rules[i].Settle != nil {
			return true
		}
	}
	return false
}

// Settle settles what the rules with a Settle reserved for a request. The middleware of a
// framework calls it when the handler has returned or panicked. r is the request that
// [Gate.Admit] returned. The middleware sets Status, if the handler sent one, Bytes and
// Panicked; Settle fills in the rest. It takes one round trip, also when the client has
// left, and at most the budget. A second call for the same request does nothing.
func (g *Gate) Settle(r *http.Request, response Response) {
	c, ok := r.Context().Value(contextKey{}).(*decided)
	if !ok || c.gate != g || len(c.settlements) == 0 {
		return
	}
	response.Request, response.Used = r, c.used.total()
	if response.Status == 0 {
		response.Status = http.StatusOK
		if response.Panicked {
			response.Status = http.StatusInternalServerError
		}
	}
	var ds []Decision
	var actual []int64
	for _, s := range c.settlements {
		response.Reserved = s.decision.Cost()
		n := g.rules[s.rule].Settle(response)
		if n < 0 {
			continue // it stays as it was reserved
		}
		if err := s.decision.Policy().checkActual(s.decision.each(n)); err != nil {
			g.mistakes.settle(r.Context(), g.logger, s.rule, err)
			continue
		}
		ds, actual = append(ds, s.decision), append(actual, n)
	}
	// An error is one of Redis, which the limiter reports. What was reserved stays spent.
	_ = g.limiter.settleMany(context.WithoutCancel(r.Context()), ds, actual)
}
