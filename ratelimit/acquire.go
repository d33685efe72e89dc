package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/store"
)

// Acquire asks for one slot of a policy with a [Concurrent] limit, and for one permit of
// each of its other limits: all of them or none. It does not wait. Release the slot when
// the work is done, and stop the work when the slot's context ends.
//
// The slot is nil if and only if the decision is not allowed or there is an error. The
// errors are those of [Limiter.Take], a policy without a Concurrent limit, and a limiter
// that is closed.
//
// If Redis does not decide, the fail mode does: [FailClosed] denies, [FailOpen] gives a
// slot that nobody counts, and [FailLocal] gives up to the slots divided by
// [Options.Instances], at least one, in this process. Slots that Redis gave before are
// held until their own deadline.
func (l *Limiter) Acquire(ctx context.Context, p *Policy, key string) (*Slot, Decision, error) {
	return l.AcquireN(ctx, p, key, 1)
}

// AcquireN is Acquire for a cost of n slots, and of n permits of the other limits. A cost
// above the number of slots is denied with [Never].
func (l *Limiter) AcquireN(ctx context.Context, p *Policy, key string, n int64) (*Slot, Decision, error) {
	asked, err := l.beginSlot(ctx, p, key, n)
	if err != nil {
		return nil, Decision{}, err
	}
	slot, d, err := l.askSlot(ctx, asked, "")
	if err != nil {
		return nil, Decision{}, err
	}
	return slot, l.decided(ctx, d), nil
}

// Run acquires a slot and calls f with its context. It releases the slot when f returns
// or panics. If it is denied, it does not call f, and the decision says when to try
// again. The error is that of f, or of [Limiter.Acquire]. It is also [ErrSlotLost] if the
// slot was lost before f returned: others may have done the same work at the same time.
func (l *Limiter) Run(ctx context.Context, p *Policy, key string, f func(context.Context) error) (Decision, error) {
	slot, d, err := l.Acquire(ctx, p, key)
	if slot == nil {
		return d, err
	}
	defer slot.Release()
	err = f(slot.Context())
	if lost := context.Cause(slot.Context()); errors.Is(lost, ErrSlotLost) && !errors.Is(err, ErrSlotLost) {
		err = errors.Join(ErrSlotLost, err)
	}
	return d, err
}

// slotAsked is what one caller asks for. It has one id, however often it is sent.
type slotAsked struct {
	*record
	limits []LimitState
	call   store.SlotCall
	unsure bool // Redis may hold a slot under the id
}

func (l *Limiter) beginSlot(ctx context.Context, p *Policy, key string, cost int64) (*slotAsked, error) {
	if p != nil && p.slots == nil {
		return nil, fmt.Errorf("ratelimit: policy %q: it has no Concurrent limit: use Take", p.name)
	}
	r, limits, err := l.beginAny(ctx, Request{Policy: p, Key: key, Cost: cost})
	if err != nil {
		return nil, err
	}
	call := store.SlotCall{Limit: p.slots.limit, Tag: r.call.Tag, Cost: cost, ID: newCallName()}
	if p.set.Len() > 0 {
		call.Rates = p.set
	}
	return &slotAsked{record: r, limits: limits, call: call}, nil
}

// again makes a new record for another try, with the same id.
func (a *slotAsked) again() {
	before := a.record
	a.record, a.limits = newRecord(a.policy)
	a.record.call = before.call
}

// askSlot asks once. A process that is not empty stands in line if it is denied.
func (l *Limiter) askSlot(ctx context.Context, a *slotAsked, process string) (*Slot, Decision, error) {
	if a.call.Cost > a.policy.minimum {
		return nil, a.never(a.limits), nil
	}
	a.call.Process = process
	sent := l.slots.now()
	var reply store.SlotReply
	err := l.health.call(a.call.Tag, func() (err error) {
		reply, err = l.store.SlotAcquire(ctx, a.call)
		return err
	})
	if err != nil {
		a.unsure = a.unsure || errors.Is(err, gatekit.ErrUnknownOutcome)
		if hurried(err) {
			l.forgetSlot(a)
			return nil, Decision{}, a.hurried(err)
		}
		return l.degradedSlot(ctx, a, err)
	}
	a.unsure = false
	d := a.slotDecided(a.limits, reply)
	if !d.Allowed {
		return nil, d, nil
	}
	slot := l.newSlot(ctx, a)
	slot.fence = uint64(reply.Fence())
	if !l.slots.add(slot, sent) {
		// This process was frozen for so long that Redis may have given the slot to
		// another, or the limiter was closed meanwhile.
		slot.cancel(ErrSlotLost)
		l.slots.giveBack(a.call)
		d.Allowed, d.SlotsFull, d.RetryAfter = false, true, time.Second
		d.Limits[a.policy.slots.index].RetryAfter = time.Second
		return nil, d, l.slots.refused()
	}
	return slot, d, nil
}

func (l *Limiter) newSlot(ctx context.Context, a *slotAsked) *Slot {
	s := &Slot{keeper: l.slots, policy: a.policy, call: a.call, key: l.store.SlotKey(a.call.Limit, a.call.Tag)}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s
}

// forgetSlot releases, in the background, what Redis may hold for a caller that has left
// or goes on without Redis.
func (l *Limiter) forgetSlot(a *slotAsked) {
	if call := a.call; a.unsure {
		a.unsure = false
		l.slots.later(func() { l.slots.giveBack(call) })
	}
}

// degradedSlot decides by the policy's fail mode.
func (l *Limiter) degradedSlot(ctx context.Context, a *slotAsked, err error) (*Slot, Decision, error) {
	slot := l.newSlot(ctx, a)
	slot.call.ID = "" // Redis does not know it
	d := a.degraded(a.limits, err, func() (bool, time.Duration) {
		if !l.slots.addLocal(slot, max(a.policy.slots.quota/l.local.instances, 1)) {
			return false, time.Second
		}
		var wait time.Duration
		if a.local, wait = l.local.take(a.policy, a.record.call); a.local == nil {
			l.slots.end(slot, context.Canceled)
			return false, wait
		}
		return true, 0
	})
	if !d.Allowed {
		slot.cancel(context.Canceled)
		return nil, d, l.slots.refused()
	}
	if a.policy.fail == FailOpen && !l.slots.addLocal(slot, 0) {
		slot.cancel(context.Canceled)
		return nil, d, l.slots.refused()
	}
	l.forgetSlot(a)
	return slot, d, nil
}

// refused returns why a slot cannot be kept, nil if it is only too late.
func (k *slotKeeper) refused() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return errLimiterClosed
	}
	return nil
}

// slotDecided reads the script's reply.
func (r *record) slotDecided(limits []LimitState, reply store.SlotReply) Decision {
	d := Decision{Limits: limits, Remaining: math.MaxInt64, Source: FromRedis, record: r}
	d.Allowed = reply.Verdict() != store.SlotDenied
	d.Spent = d.Allowed
	d.SlotsFull = !d.Allowed && reply.Wait() > 0
	rates, n := reply.Rates(), 0
	for i := range limits {
		s := &limits[i]
		if s.Algorithm == Concurrent {
			s.Remaining, s.RetryAfter = reply.Free(), reply.Wait()
		} else {
			s.Remaining, s.ResetAfter, s.stamp = rates.Remaining(n), rates.ResetAfter(n), rates.Stamp(n)
			if !d.Allowed {
				s.RetryAfter = rates.RetryAfter(n)
			}
			n++
		}
		d.RetryAfter = max(d.RetryAfter, s.RetryAfter)
		d.Remaining = min(d.Remaining, s.Remaining)
	}
	return d
}
