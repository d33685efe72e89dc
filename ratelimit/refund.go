package ratelimit

import (
	"context"
	"errors"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// Refund gives back the permits that a decision spent, and no others: afterwards the
// counts are as if the call had not been made. It returns the number of the policy's
// limits in which the permits still counted. 0 is no error: the permits had come back by
// themselves. A decision is refunded once: later calls return 0, also with a copy of the
// decision. The error is [gatekit.ErrUnavailable]. Unless it is also
// [gatekit.ErrUnknownOutcome], nothing was given back and you may call Refund again.
//
// A call with a CallID stays admitted after its refund: if it is repeated, it is allowed
// and not charged again. A decision that is [Decision.Repeated] spent nothing, so its
// refund returns 0. Refund the decision on the first call instead.
//
// If [FailLocal] decided in this process alone, the permits go back to the count of this
// process, which is kept until Redis has decided again for 10 s.
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

// repeats reports whether an earlier call with the same CallID was charged, and this one
// was not. A call without a CallID that is Repeated was itself charged, when it was first
// sent.
func (d Decision) repeats() bool { return d.Repeated && d.record.call.Repeatable }

// refund returns the call that gives back what the decision spent. It returns false the
// second time, and if there is nothing to give back.
func (d Decision) refund() (store.LimitRefundCall, bool) {
	r := d.record
	if r == nil || !d.Allowed || d.repeats() || d.Degraded != nil || !r.refunded.CompareAndSwap(false, true) {
		return store.LimitRefundCall{}, false
	}
	stamps, counts := d.stamps()
	if !counts {
		return store.LimitRefundCall{}, false
	}
	return store.LimitRefundCall{Call: r.call, Stamps: stamps}, true
}

// stamps returns the stamp of each limit in which what the decision spent may still
// count, 0 for the others, and whether there is any. Slots have none: they are released.
// The permits no longer count after the window, or with SlidingBuckets a 16th of it
// later. Another bucket may have the same number by then.
func (d Decision) stamps() (stamps []int64, counts bool) {
	stamps = make([]int64, 0, len(d.Limits))
	age := time.Since(d.record.taken)
	for _, s := range d.Limits {
		if s.Algorithm == Concurrent {
			continue
		}
		stamp := int64(0)
		if age <= s.Window+s.Window/8 {
			stamp, counts = s.stamp, true
		}
		stamps = append(stamps, stamp)
	}
	return stamps, counts
}

// refundLocal gives back, once, what a decision spent in this process alone. ok reports
// whether the decision is one that this process made alone.
func (l *Limiter) refundLocal(d Decision) (limits int, ok bool) {
	r := d.record
	if r == nil || r.local == nil {
		return 0, false
	}
	if !r.refunded.CompareAndSwap(false, true) {
		return 0, true
	}
	return l.local.refund(r.policy, r.call, r.local), true
}

// unrefund allows another refund after one that did not happen.
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
