package ratelimit

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
)

// idleRequests is the number of first requests after which a gate logs a warning if no
// rule applied to any of them.
const idleRequests = 1000

// mistakes finds mistakes of the program in a gate's requests. It logs each of them once.
type mistakes struct {
	applied  atomic.Bool  // a rule applied, or the mistake was logged
	requests atomic.Int64 // to which no rule applied, until one does
	twice    atomic.Bool  // the warning about a policy that is charged twice was logged
	settled  atomic.Bool  // the error about what a Settle returned was logged
}

// settle logs that a rule's Settle returned what is out of range.
func (m *mistakes) settle(ctx context.Context, logger *slog.Logger, rule int, err error) {
	if m.settled.CompareAndSwap(false, true) {
		logger.ErrorContext(ctx, "gatekit: what a rule reserved stays charged, because its Settle returned a number that is out of range: "+
			"return permits, or a negative number to leave the charge as it is", "rule", rule, "error", err)
	}
}

// look checks one request.
func (m *mistakes) look(r *http.Request, v *verdict) {
	if len(v.decisions) > 0 || v.status != 0 {
		if !m.applied.Load() {
			m.applied.Store(true)
		}
	} else if !m.applied.Load() && m.requests.Add(1) == idleRequests {
		m.applied.Store(true)
		v.gate.logger.WarnContext(r.Context(), "gatekit: no rule of a gate applied to any of its first requests: look at the "+
			"header name or the user of its Key, at PolicyFunc, at Skip and at Allow; Rule.Required makes a missing key an error", "requests", idleRequests)
	}
	if p := v.chargedBefore(r); p != nil && m.twice.CompareAndSwap(false, true) {
		v.gate.logger.WarnContext(r.Context(), "gatekit: a policy was charged twice in one request for one key: mount its gate once, "+
			"or give one of the policies another name", "policy", p.name)
	}
}

// chargedBefore returns a policy that an outer gate charged for the same key.
func (v *verdict) chargedBefore(r *http.Request) *Policy {
	for _, outer := range FromContext(r.Context()) {
		for _, d := range v.decisions {
			if outer.record.call.Tag == d.record.call.Tag && outer.Policy().name == d.Policy().name {
				return d.Policy()
			}
		}
	}
	return nil
}
