package ratelimit

import (
	"context"
	"errors"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// Refund gives back what a decision spent: the permits it was given, and no others, so
// that the log is as if it had not been. It returns in how many of the policy's limits
// they still counted; 0 is no error, they had come back by themselves. A decision is
// refunded once: later calls, also with a copy of it, return 0. The error is
// [gatekit.ErrUnavailable]; unless it is also [gatekit.ErrUnknownOutcome], nothing was
// given back and Refund may be tried again.
//
// With a CallID the call stays admitted: repeated, it is allowed and not charged again.
// One that was [Decision.Repeated] spent nothing, so its refund returns 0; the decision
// on the first call gives back what that spent.
//
// What this process let pass alone, by [FailLocal], is given back to its own count, while
// Redis does not decide.
func (l *Limiter) Refund(ctx context.Context, d Decision) (limits int, err error) {
	if limits, ok := l.refundLocal(d); ok {
		return limits, nil
	}
	refund, ok := d.refund()
	if !ok {
		return 0, nil
	}
	var given []int64
	err = l.health.call(refund.Call.Tag, func() (err error) {
		given, err = l.store.LimitRefund(ctx, refund.Call, refund.Stamps)
		return err
	})
	if err != nil {
		d.record.unrefund(err)
		return 0, errtext.Errorf("ratelimit", "refund: %w", err)
	}
	return refundedLimits(given), nil
}

// RefundMany is Refund for many decisions in one round trip to each node. The error joins
// those of the single refunds.
func (l *Limiter) RefundMany(ctx context.Context, ds []Decision) (limits int, err error) {
	var refunds []store.LimitRefundCall
	var records []*record
	for _, d := range ds {
		if n, ok := l.refundLocal(d); ok {
			limits += n
		} else if refund, ok := d.refund(); ok {
			refunds, records = append(refunds, refund), append(records, d.record)
		}
	}
	if len(refunds) == 0 {
		return limits, nil
	}
	given, errs := callMany(l.health, refunds, func(c store.LimitRefundCall) store.Tag { return c.Call.Tag },
		func(refunds []store.LimitRefundCall) ([][]int64, []error) {
			return l.store.LimitRefundMany(ctx, refunds)
		})
	for i, err := range errs {
		if err != nil {
			records[i].unrefund(err)
		}
	}
	for _, g := range given {
		limits += refundedLimits(g)
	}
	if err := errors.Join(errs...); err != nil {
		return limits, errtext.Errorf("ratelimit", "refund: %w", err)
	}
	return limits, nil
}

// repeats reports whether another call was charged for this one. Without a CallID it was
// this one, sent again.
func (d Decision) repeats() bool { return d.Repeated && d.record.call.Repeatable }

// refund returns the call that gives back what the decision spent, once.
func (d Decision) refund() (store.LimitRefundCall, bool) {
	r := d.record
	if r == nil || !d.Allowed || d.repeats() || d.Degraded != nil || !r.refunded.CompareAndSwap(false, true) {
		return store.LimitRefundCall{}, false
	}
	longest := time.Duration(0)
	stamps := make([]int64, len(d.Limits))
	age := time.Since(r.taken)
	for i, s := range d.Limits {
		// What is older than a window counts in it no more, and a bucket of its number
		// might by then be another's.
		if longest = max(longest, s.Window); age <= s.Window+s.Window/4 {
			stamps[i] = s.stamp
		}
	}
	if age > longest+longest/4 {
		return store.LimitRefundCall{}, false
	}
	return store.LimitRefundCall{Call: r.call, Stamps: stamps}, true
}

// refundLocal gives back what a decision spent in this process alone, once; ok tells
// whether it is one.
func (l *Limiter) refundLocal(d Decision) (limits int, ok bool) {
	r := d.record
	if r == nil || r.local == nil {
		return 0, false
	}
	if !r.refunded.CompareAndSwap(false, true) {
		return 0, true
	}
	return l.local.refund(r.policy, r.call.Tag, r.call.Cost, r.local), true
}

// unrefund lets a refund that did not happen be tried again.
func (r *record) unrefund(err error) {
	if !errors.Is(err, gatekit.ErrUnknownOutcome) {
		r.refunded.Store(false)
	}
}

func refundedLimits(given []int64) (limits int) {
	for _, n := range given {
		if n > 0 {
			limits++
		}
	}
	return limits
}
