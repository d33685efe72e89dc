package ratelimit

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
)

// Verdict is a verdict for tests.
type Verdict struct {
	Status     int
	RetryAfter time.Duration
	Decisions  []Decision
	Err        error

	gate *Gate
	dry  uint32
}

// Check decides as Admit does.
func (g *Gate) Check(r *http.Request, pattern string) Verdict { return exported(g.check(r, pattern)) }

func exported(v verdict) Verdict {
	return Verdict{v.status, v.retryAfter, v.decisions, v.err, v.gate, v.dry}
}

func (v Verdict) inner() verdict {
	return verdict{v.Status, v.RetryAfter, v.Decisions, v.Err, v.gate, v.dry, nil}
}

// Header adds the header fields that Admit adds.
func (v Verdict) Header(h http.Header) {
	inner := v.inner()
	inner.header(h)
	if v.Status != 0 {
		v.Refusal().Header(h)
	}
}

// Refusal returns the refusal that Admit returns.
func (v Verdict) Refusal() *gatekit.Refusal {
	inner := v.inner()
	return inner.refusal()
}

// Body returns the body that the client reads.
func (v Verdict) Body() []byte {
	if v.Status == 0 {
		return nil
	}
	body, _ := json.Marshal(v.Refusal())
	return append(body, '\n')
}

// ShortSlots returns a copy of the policy whose slots last for d, which may be below
// 10 s.
func ShortSlots(p *Policy, d time.Duration) *Policy {
	q := *p
	q.limits = p.Limits()
	q.limits[p.slots.index].Window = d
	q.slots = newSlotsOf(p.slots.index, q.limits[p.slots.index])
	return &q
}

// ShiftWallClock moves the wall clock by which the limiter judges its slots.
func (l *Limiter) ShiftWallClock(d time.Duration) { l.slots.shift.Add(int64(d)) }

// SlotsKept returns how many slots the limiter keeps, and whether its goroutine runs.
func (l *Limiter) SlotsKept() (n int, running bool) {
	l.slots.mu.Lock()
	defer l.slots.mu.Unlock()
	return len(l.slots.held), l.slots.running
}

// SlotsWaiting returns how many callers wait for a slot.
func (l *Limiter) SlotsWaiting() (n int) {
	l.lines.mu.Lock()
	defer l.lines.mu.Unlock()
	for _, q := range l.lines.queues {
		n += len(q.waiting)
	}
	return n
}

// Alone returns a copy of the limiter that sends each call by itself.
func (l *Limiter) Alone() *Limiter {
	alone := *l
	alone.alone = true
	return &alone
}

// AskInLineEvery makes callers that wait for a slot ask so often, if nobody wakes them.
func (l *Limiter) AskInLineEvery(d time.Duration) { l.lines.asks = d }

// Listening reports whether the limiter is told of slots that become free.
func (l *Limiter) Listening() bool { return l.lines.listening.Load() }
