package dropin

import (
	"fmt"
	"math/bits"
	"sync"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/ratelimit"
)

// A Limit lets Rate events pass in a Period, and Burst at once. It is a plain value.
// redis_rate has a token bucket, which lets up to Rate + Burst events pass in one Period.
// This kit has windows instead, and no window ever has more events than its quota:
//
//   - Burst = Rate: at most Rate events in any Period.
//   - Burst < Rate: at most Rate events in any Period, and also at most Burst in any
//     Period*Burst/Rate, the time in which Rate brings them back. 10 per second with a
//     burst of 3 are at most 10 in any second, and 3 in any 300 ms.
//   - Burst > Rate: only at most Burst events in any Period*Burst/Rate. That is the same
//     rate in the long run, and the same burst. 10 per second with a burst of 20 are at
//     most 20 in any 2 s.
//
// Rate and Burst are 1 or more. Period and Period*Burst/Rate (rounded up to whole
// microseconds) are from [ratelimit.MinWindow] to [ratelimit.MaxWindow]. Windows of up to
// [ratelimit.MaxLogQuota] events are exact. In larger ones an event may come back up to
// 1/16 of the window late.
//
// If Rate and Burst are equal, before and after a change, the events that passed stay
// counted. If they differ, a change of their ratio makes another window, which starts
// empty.
type Limit struct {
	// Rate is how many events a Period has, in the long run.
	Rate int
	// Burst is how many events may pass at once.
	Burst int
	// Period is the time in which Rate events may pass.
	Period time.Duration
}

// PerSecond returns a limit of rate events a second; all may pass at once.
func PerSecond(rate int) Limit { return Limit{Rate: rate, Burst: rate, Period: time.Second} }

// PerMinute returns a limit of rate events a minute; all may pass at once.
func PerMinute(rate int) Limit { return Limit{Rate: rate, Burst: rate, Period: time.Minute} }

// PerHour returns a limit of rate events an hour; all may pass at once.
func PerHour(rate int) Limit { return Limit{Rate: rate, Burst: rate, Period: time.Hour} }

// IsZero reports whether no field is set.
func (l Limit) IsZero() bool { return l == Limit{} }

// String returns a form like "10 req/s (burst 10)".
func (l Limit) String() string {
	unit := l.Period.String()
	if short, ok := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[l.Period]; ok {
		unit = short
	}
	return fmt.Sprintf("%d req/%s (burst %d)", l.Rate, unit, l.Burst)
}

// maxPolicies bounds how many policies a Limiter remembers. Most programs have a handful
// of limits, but one that computes its limits may have any number.
const maxPolicies = 256

// policies holds the policies that a Limiter made of limits.
type policies struct {
	name string
	fail ratelimit.FailMode

	mu    sync.Mutex // guards the fields below
	known map[Limit]*ratelimit.Policy
	order []Limit // oldest first
}

func (p *policies) get(limit Limit) (*ratelimit.Policy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if policy, ok := p.known[limit]; ok {
		return policy, nil
	}
	policy, err := limit.policy(p.name, p.fail)
	if err != nil {
		return nil, err
	}
	if len(p.order) == maxPolicies {
		delete(p.known, p.order[0])
		p.order = append(p.order[:0], p.order[1:]...)
	}
	p.known[limit], p.order = policy, append(p.order, limit)
	return policy, nil
}

// distinct returns enough of the known policies to have every known window among them.
// Reset empties a window whatever its quota, so one policy for each window is enough.
func (p *policies) distinct() (list []*ratelimit.Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	type window struct {
		name      string
		length    time.Duration
		algorithm ratelimit.Algorithm
	}
	seen := map[window]bool{}
	for _, limit := range p.order {
		policy, more := p.known[limit], false
		for _, l := range policy.Limits() {
			w := window{l.Name, l.Window, l.Algorithm}
			more = more || !seen[w]
			seen[w] = true
		}
		if more {
			list = append(list, policy)
		}
	}
	return list
}

// policy makes the windows of the limit that the comment of Limit describes.
func (l Limit) policy(name string, fail ratelimit.FailMode) (*ratelimit.Policy, error) {
	if l.Rate < 1 || l.Burst < 1 || l.Period < 1 {
		return nil, fmt.Errorf("dropin: limit %v: want a Rate and a Burst of 1 or more, and a Period", l)
	}
	var limits []ratelimit.Limit
	if l.Burst <= l.Rate {
		limits = append(limits, window("rate", l.Rate, l.Period))
	}
	if l.Burst != l.Rate {
		hi, lo := bits.Mul64(uint64(l.Period), uint64(l.Burst))
		if hi >= uint64(l.Rate) {
			return nil, fmt.Errorf("dropin: limit %v: the Burst lasts too long", l)
		}
		length, rest := bits.Div64(hi, lo, uint64(l.Rate))
		if rest > 0 {
			length++
		}
		if length > uint64(ratelimit.MaxWindow) {
			return nil, fmt.Errorf("dropin: limit %v: the Burst lasts too long", l)
		}
		const us = time.Microsecond
		burst := window("burst", l.Burst, (time.Duration(length)+us-1)/us*us)
		if burst.Window == l.Period { // rounding made them equal: the smaller quota decides alone
			limits = nil
		}
		limits = append(limits, burst)
	}
	policy, err := ratelimit.NewPolicy(name, limits...)
	if err != nil {
		return nil, errtext.Errorf("dropin", "limit %v: %w", l, err)
	}
	return policy.OnFailure(fail), nil
}

func window(name string, quota int, length time.Duration) ratelimit.Limit {
	limit := ratelimit.Limit{Name: name, Quota: int64(quota), Window: length}
	if quota > ratelimit.MaxLogQuota {
		limit.Algorithm = ratelimit.SlidingBuckets
	}
	return limit
}
