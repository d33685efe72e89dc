package ratelimit

import (
	"cmp"
	"math"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

const (
	// Never is the RetryAfter of a cost above the quota: it cannot pass at any time.
	Never = time.Duration(math.MaxInt64)

	// Unknown is the Remaining of a limit that was not asked: Redis did not decide, or
	// the cost can never pass.
	Unknown = -1
)

// A Decision is the answer to one call. A denial is a decision, not an error. A Decision
// is a value; its copies share the record of what was spent, so a refund happens once.
type Decision struct {
	// Allowed reports whether the policy's limits, or its fail mode, let the call pass.
	Allowed bool

	// Spent reports whether the call went through: the cost was spent, now or before
	// ([Decision.Repeated]), or the fail mode let the call pass. A decision that is
	// Allowed and not Spent is one of [Limiter.Peek], or one of a [Limiter.TakeAll] or a
	// [Gate] in which another request was denied. To count admitted requests, count the
	// decisions that are Spent and not Repeated.
	Spent bool

	// Remaining is the number of permits left in the limit that has the fewest, 0 or
	// more; or [Unknown].
	Remaining int64

	// RetryAfter is how long until this cost can pass, if nobody else spends and nothing
	// is refunded. It is exact: the cost passes at that instant and not a microsecond
	// before. 0 when allowed; [Never] for a cost above a quota. With SlidingBuckets it is
	// exact by the buckets' count. When Redis did not decide it is an estimate.
	RetryAfter time.Duration

	// Limits is the state of each limit of the policy, in its order.
	Limits []LimitState

	// SlotsFull reports that all slots of a [Concurrent] limit were held, or that others
	// wait for them in line. RetryAfter is then a guess of at most a second, or what the
	// rate limits of the policy say, whichever is longer: a slot may be released at any
	// moment, and a holder may keep it for ever.
	SlotsFull bool

	// Repeated reports that the call was admitted before under the same [Request.CallID]
	// and was not charged now. A call without a CallID is Repeated when its reply was
	// lost and a [SlidingLog] let it be sent again.
	Repeated bool

	// Source tells who decided: Redis, the fail mode, or the policy's quotas alone.
	Source Source

	// Degraded is nil when Redis decided. Else it is the reason, and the policy's fail
	// mode decided. If it is [gatekit.ErrUnknownOutcome], Redis may have charged the cost
	// as well.
	Degraded error

	// DryRun reports that the decision is of a rule of a [Gate] that does not block.
	DryRun bool

	// GivenBack reports that the cost was spent and given back at once, because another
	// request of the same [Limiter.TakeAll] or [Gate] was denied. That happens where one
	// script cannot decide them all: on a cluster, and for two requests of one key.
	GivenBack bool

	record *record
}

// LimitState is the state of one limit after a decision.
type LimitState struct {
	Limit

	// Remaining is the number of permits left, 0 or more; or [Unknown].
	Remaining int64
	// RetryAfter is how long this limit, alone, delays the cost; 0 when it does not; or
	// [Never].
	RetryAfter time.Duration
	// ResetAfter is how long until the limit gets its next permit back; 0 when none is
	// spent, and for a [Concurrent] limit, which cannot know.
	ResetAfter time.Duration

	stamp int64
}

// record holds what a refund of the decision needs, and the array behind its Limits.
type record struct {
	policy   *Policy
	call     store.LimitCall
	look     bool // a Peek, which spends nothing
	merged   bool // it was sent together with others, see [FromMerge]
	refunded atomic.Bool
	local    *localSpent // what [FailLocal] spent; nil unless it allowed
	taken    time.Time   // before the call was sent
	room     [2]LimitState
}

// Policy returns the policy of the decision; nil for the zero Decision.
func (d Decision) Policy() *Policy {
	if d.record == nil {
		return nil
	}
	return d.record.policy
}

// Cost returns the cost that was asked for, in permits; the largest of [Request.Costs].
func (d Decision) Cost() int64 {
	if d.record == nil {
		return 0
	}
	return d.record.call.Cost
}

// newRecord returns the record of a request, with the array for its limits.
func newRecord(p *Policy) (*record, []LimitState) {
	r := &record{policy: p, taken: time.Now()}
	limits := r.room[:0]
	for _, l := range p.limits {
		limits = append(limits, LimitState{Limit: l, Remaining: Unknown})
	}
	if p.set.Calendars() {
		p.measure(limits, r.taken)
	}
	return r, limits
}

// decided reads the script's reply.
func (r *record) decided(limits []LimitState, reply store.LimitReply) Decision {
	d := Decision{Limits: limits, Remaining: math.MaxInt64, Source: FromRedis, record: r}
	if r.merged {
		d.Source = FromMerge
	}
	switch reply.Verdict() {
	case store.Allowed:
		d.Allowed, d.Spent = true, true
	case store.AllowedBefore:
		d.Allowed, d.Spent, d.Repeated = true, true, true
	case store.NotSpent:
		d.Allowed = true
		r.refunded.Store(true) // nothing to give back
	}
	for i := range limits {
		s := &limits[i]
		s.Remaining, s.ResetAfter, s.stamp = reply.Remaining(i), reply.ResetAfter(i), reply.Stamp(i)
		if s.Algorithm == CalendarQuota {
			s.Window = cmp.Or(r.policy.set.Length(i, s.stamp), s.Window)
		}
		if !d.Allowed {
			s.RetryAfter = reply.RetryAfter(i)
			d.RetryAfter = max(d.RetryAfter, s.RetryAfter)
		}
		d.Remaining = min(d.Remaining, s.Remaining)
	}
	return d
}

// looked returns the decision as one that spent nothing.
func (d Decision) looked() Decision {
	d.Spent = false
	return d
}

// never is the decision on a cost above a quota; Redis is not asked.
func (r *record) never(limits []LimitState) Decision {
	for i := range limits {
		if r.call.CostOf(i) > limits[i].Quota {
			limits[i].RetryAfter = Never
		}
	}
	return Decision{Limits: limits, Remaining: Unknown, RetryAfter: Never, Source: FromQuota, record: r}
}
