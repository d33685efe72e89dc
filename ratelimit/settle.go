package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// Settle says what an admitted call really used: actual permits of each limit, where the
// take reserved [Decision.Cost] or [Request.Costs]. Reserve an estimate before the work,
// and settle after it. What was not used comes back, as by [Limiter.Refund]: the counts
// are then as if the call had asked for actual permits. What was used beyond the
// reservation is a debt. It is spent at once and never refused, because it was used
// already.
//
// A debt counts in full for one window from its own instant. Meanwhile more permits than
// the quota may count. Remaining is then 0, and RetryAfter is the instant at which the
// cost fits again. Nothing is carried over: a debt of 1,000 permits on a quota of 10
// blocks for one window, not for 100.
//
// actual is 0 to 10^9 permits, and at most [MaxLogCost] if the policy has a
// [SlidingLog]. For usage that differs by limit, see [Limiter.SettleEach].
//
// settled is false, without an error, if there is nothing to settle: the decision is a
// denial, a Peek, or one that [FailOpen] made, or it was settled or refunded before, also
// through a copy. A decision that [FailLocal] made is settled in the count of this
// process.
//
// A call with a CallID is settled or refunded once within the longest Window of the
// policy's SlidingLog limits: the first of its repeats that does so counts, and the
// others change nothing. From then on a repeat is allowed at any cost, and charged
// nothing.
//
// There is no time limit. When all windows of the reservation have passed, it has come
// back by itself, and only a debt is still spent.
//
// The error is [gatekit.ErrUnavailable] or, if ctx ended first, the context's. Unless it
// is also [gatekit.ErrUnknownOutcome], nothing was changed and you may call Settle again.
// With it, the decision was settled once or not at all, and further calls return false.
func (l *Limiter) Settle(ctx context.Context, d Decision, actual int64) (settled bool, err error) {
	return l.SettleEach(ctx, d, d.each(actual))
}

// each returns n for each limit.
func (d Decision) each(n int64) []int64 {
	all := make([]int64, len(d.Limits))
	for i := range all {
		all[i] = n
	}
	return all
}

// SettleEach is Settle with the permits that the call used of each limit, in the order of
// [Decision.Limits]: 0 to 10^9, and at most [MaxLogCost] of a [SlidingLog]. The value of
// a [Concurrent] limit has no effect: a slot is released.
func (l *Limiter) SettleEach(ctx context.Context, d Decision, actual []int64) (settled bool, err error) {
	if d.record == nil {
		return false, nil
	}
	if err := d.record.policy.checkActual(actual); err != nil {
		return false, errtext.Errorf("ratelimit", "settle: policy %q: %w", d.record.policy.name, err)
	}
	if err := context.Cause(ctx); err != nil {
		return false, errtext.Errorf("ratelimit", "settle: policy %q: not asked: %w", d.record.policy.name, err)
	}
	settle, send, settled := l.beginSettle(d, actual)
	if !send {
		return settled, nil
	}
	var reply store.LimitSettled
	err = l.health.call(settle.Call.Tag, func() (err error) {
		reply, err = l.store.LimitSettle(ctx, settle)
		return err
	})
	if err != nil {
		d.record.unrefund(err)
		return false, errtext.Errorf("ratelimit", "settle: policy %q: %w", d.record.policy.name, err)
	}
	return reply.Settled(), nil
}

// settleMany settles many decisions, each to its actual permits, in one round trip to
// each node.
func (l *Limiter) settleMany(ctx context.Context, ds []Decision, actual []int64) error {
	var settles []store.LimitSettleCall
	var records []*record
	for i, d := range ds {
		if settle, send, _ := l.beginSettle(d, d.each(actual[i])); send {
			settles, records = append(settles, settle), append(records, d.record)
		}
	}
	if len(settles) == 0 {
		return nil
	}
	_, errs := callMany(l.health, settles, func(c store.LimitSettleCall) store.Tag { return c.Call.Tag },
		func(settles []store.LimitSettleCall) ([]store.LimitSettled, []error) {
			return l.store.LimitSettleMany(ctx, settles)
		})
	for i, err := range errs {
		if err != nil {
			records[i].unrefund(err)
		}
	}
	return errors.Join(errs...)
}

// checkActual refuses usage that is out of range.
func (p *Policy) checkActual(actual []int64) error {
	if len(actual) != len(p.limits) {
		return fmt.Errorf("actual has %d values: want one for each of its %d limits", len(actual), len(p.limits))
	}
	for i, n := range actual {
		if n < 0 || n > MaxBucketQuota {
			return fmt.Errorf("actual %d: want 0 to %d", n, int64(MaxBucketQuota))
		}
		if l := p.limits[i]; l.Algorithm == SlidingLog && n > MaxLogCost {
			return fmt.Errorf("actual %d: want at most %d of limit %q, a SlidingLog", n, MaxLogCost, l.Name)
		}
	}
	return nil
}

// beginSettle claims the decision, so that it is settled once. It returns the call to
// send, or send false and whether the decision is settled without one.
func (l *Limiter) beginSettle(d Decision, actual []int64) (settle store.LimitSettleCall, send, settled bool) {
	r := d.record
	if !d.Allowed || d.Degraded != nil && r.local == nil || !r.refunded.CompareAndSwap(false, true) {
		return settle, false, false
	}
	if r.local != nil {
		l.local.settle(r.policy, r.call, r.local, actual)
		return settle, false, true
	}
	settle = store.LimitSettleCall{Call: r.call, Stamps: d.settleStamps(actual), Actual: d.withoutSlots(actual)}
	for i, n := range settle.Actual {
		unused := n < r.call.CostOf(i) && settle.Stamps[i] > 0
		send = send || unused || n > r.call.CostOf(i)
	}
	// A call that may be repeated is sent anyway, so that no repeat settles it again.
	send = send || r.call.Repeatable && time.Since(r.taken) <= longestWindow(d.Limits)
	return settle, send, true
}

// settleStamps returns the stamp of each limit. Where permits would be given back that
// may no longer count it is 0. The name of a debt has the stamp at any age.
func (d Decision) settleStamps(actual []int64) []int64 {
	stamps, _ := d.stamps()
	at := 0
	for i, s := range d.Limits {
		if s.Algorithm == Concurrent {
			continue
		}
		if actual[i] > d.record.call.CostOf(i) {
			stamps[at] = s.stamp
		}
		at++
	}
	return stamps
}

// withoutSlots returns the values of the limits that count permits.
func (d Decision) withoutSlots(actual []int64) (counted []int64) {
	for i, s := range d.Limits {
		if s.Algorithm != Concurrent {
			counted = append(counted, actual[i])
		}
	}
	return counted
}

func longestWindow(limits []LimitState) (longest time.Duration) {
	for _, s := range limits {
		longest = max(longest, s.Window)
	}
	return longest
}
