package ratelimit

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/internal/store"
)

// Options are the options of a [Limiter]. The zero value is ready to use.
type Options struct {
	// Instances is how many processes share the quotas, 1 to 1,000,000; 0 means 1. While
	// Redis does not decide, each process admits its share of a policy with [FailLocal]:
	// the quota divided by Instances, at least 1 permit a window.
	Instances int

	// Observer is called for each decision, and when Redis is lost and regained. Nil
	// costs nothing.
	Observer Observer
}

// An Observer learns what a [Limiter] does, for metrics. Many goroutines call its methods
// at once, and the request waits for them, so they should return soon. Label metrics by
// policy, limit and outcome. A decision does not hold its key, so that keys do not become
// labels.
type Observer interface {
	// Decided is called for each decision, also when Redis did not decide. A [Gate] calls
	// it once it knows which decisions are [Decision.Spent]. The decisions of rules that
	// do not block have [Decision.DryRun].
	Decided(ctx context.Context, d Decision)
	// Degraded is called once when Redis stops deciding.
	Degraded(err error)
	// Recovered is called once when Redis decides again and no call has failed for half a
	// second.
	Recovered()
}

// A Limiter decides whether a call may spend permits. Most programs call [Limiter.Take].
// TakeN is Take with a cost, and Do is Take with all fields of a [Request]. TakeAll
// spends from several keys or from none. TakeMany decides many calls in one round trip,
// each by itself. Refund gives permits back. HTTP services write a [Rule] and mount an
// adapter instead.
//
// When a call to Redis fails, the limiter sends a probe that has the whole budget. If
// Redis answers neither the probe nor another call meanwhile, the policies' fail modes
// decide at once from then on, and the limiter probes at most twice a second until Redis
// is back. On a cluster this holds for each server by itself.
//
// [Limiter.Acquire] asks for a slot of a policy that bounds how much is under way at
// once, [Slots].
//
// A Limiter is safe for concurrent use. It needs no closing; [Limiter.Close] gives back
// at once the slots that are held. It does not close the [gatekit.Redis] that it uses.
type Limiter struct {
	store    *store.Store
	observer Observer
	health   *health
	local    *local
	slots    *slotKeeper
	lines    *slotLines
	alone    bool // each call is sent by itself; benchmarks compare
	suspects *suspects
}

// New returns a limiter that keeps its counts in kv. It does not connect.
func New(kv *gatekit.Redis, opts Options) (*Limiter, error) {
	if opts.Instances == 0 {
		opts.Instances = 1
	}
	if opts.Instances < 1 || opts.Instances > 1e6 {
		return nil, fmt.Errorf("ratelimit: Instances %d: want 1 to 1000000", opts.Instances)
	}
	if err := given.Option("ratelimit: Observer", opts.Observer); err != nil {
		return nil, err
	}
	s := store.Of(kv)
	if s == nil {
		return nil, errors.New("ratelimit: the Redis is nil: open it by gatekit.Open or gatekit.Connect")
	}
	local := newLocal(int64(opts.Instances))
	health := newHealth(s, opts.Observer, s.Logger(), local)
	return &Limiter{
		store:    s,
		observer: opts.Observer,
		health:   health,
		local:    local,
		slots:    newSlotKeeper(s, health),
		lines:    newSlotLines(s),
		suspects: newSuspects(),
	}, nil
}

// A Request is one call to decide, for [Limiter.Do], [Limiter.TakeAll] and
// [Limiter.TakeMany].
type Request struct {
	// Policy has the limits that count the call. Not nil.
	Policy *Policy
	// Key names who is limited: any bytes, not empty. Redis sees only a hash of the key
	// and the policy's name. See [Join] for keys of several parts.
	Key string
	// Cost is how many permits the call needs, 1 to 10^9; at most [MaxLogCost] if the
	// policy has a [SlidingLog]. A cost above a quota is denied with [Never].
	Cost int64
	// Costs asks the limits for different numbers of permits, for example 1 request and
	// 900 tokens: one cost for each limit of the policy, in its order, in the range of
	// Cost, and Cost is 0. A cost of 0 passes if one permit of that limit is free, and
	// spends none; a [SlidingLog] has no such cost. Nil means Cost for all limits.
	Costs []int64
	// CallID names the call for a [SlidingLog]. A call that is repeated with the same id
	// and key is charged at most once. Any bytes. Empty means that nobody repeats the
	// call. Policies without a SlidingLog ignore it.
	CallID string
}

// ErrOtherCost means that a call was repeated with the same CallID but another cost.
var ErrOtherCost = errors.New("ratelimit: CallID was admitted before at another cost")

// Take asks for one permit.
//
// Take returns an error if the call is wrong (an empty key, a cost of 0, a policy with
// slots, which [Limiter.Acquire] takes), or if ctx has
// ended, or if the deadline of ctx comes before the end of the budget and before the
// reply. In the last two cases the error is the context's. It says nothing about Redis,
// so no fail mode decides. Nothing was spent, unless the error is also
// [gatekit.ErrUnknownOutcome]: then the cost was spent once or not at all.
//
// If Redis does not decide, that is no error: the policy's fail mode decides, see
// [Decision.Degraded].
func (l *Limiter) Take(ctx context.Context, p *Policy, key string) (Decision, error) {
	return l.Do(ctx, Request{Policy: p, Key: key, Cost: 1})
}

// TakeN is Take for a cost of n permits: all of them or none.
func (l *Limiter) TakeN(ctx context.Context, p *Policy, key string, n int64) (Decision, error) {
	return l.Do(ctx, Request{Policy: p, Key: key, Cost: n})
}

// Do is Take with all fields of a request: its cost and its CallID.
func (l *Limiter) Do(ctx context.Context, req Request) (Decision, error) {
	r, limits, err := l.begin(ctx, req)
	if err != nil {
		return Decision{}, err
	}
	if r.neverPasses() {
		return l.decided(ctx, r.never(limits)), nil
	}
	var reply store.LimitReply
	var room [1 + 4*mostLimits]int64
	err = l.health.call(r.call.Tag, func() (err error) {
		reply, err = l.take(ctx, r, room[:0])
		return err
	})
	return l.conclude(ctx, r, limits, reply, err)
}

// take asks Redis, together with others for the same key if there are any.
func (l *Limiter) take(ctx context.Context, r *record, room store.LimitReply) (reply store.LimitReply, err error) {
	if l.alone {
		return l.store.LimitTake(ctx, r.call)
	}
	reply, r.merged, err = l.store.LimitTakeMerged(ctx, r.call, room)
	return reply, err
}

// TakeMany decides many requests at once, within one budget. Each is decided by itself.
// Requests with equal keys are decided in the order of reqs. The errors are those of
// [Limiter.Take]. If one request is wrong, none is sent to Redis. If one request ends
// with [ErrOtherCost] or the context's error, its decision is zero, and the decisions of
// the others are returned beside the error.
//
// Up to 256 requests take one round trip to each node of Redis. More are sent in parts of
// 256, one after the other. When the budget ends, the decisions that came are kept, and
// the fail mode decides the rest. A part that was not sent is not charged. Only the part
// that was under way has an unknown outcome, [gatekit.ErrUnknownOutcome]. At most 512
// requests of all TakeMany and RefundMany on one [gatekit.Redis] are under way at once.
// If the budget of a call ends before its turn, it is not sent and not charged.
func (l *Limiter) TakeMany(ctx context.Context, reqs []Request) ([]Decision, error) {
	ds := make([]Decision, len(reqs))
	records, limits := make([]*record, len(reqs)), make([][]LimitState, len(reqs))
	var calls []store.LimitCall
	var asked []int
	for i, req := range reqs {
		r, ls, err := l.begin(ctx, req)
		if err != nil {
			return nil, errtext.Errorf("ratelimit", "request %d: %w", i, err)
		}
		records[i], limits[i] = r, ls
		if r.neverPasses() {
			ds[i] = l.decided(ctx, r.never(ls))
			continue
		}
		calls, asked = append(calls, r.call), append(asked, i)
	}
	replies, errs := l.askMany(ctx, calls)
	var first error
	for n, i := range asked {
		var err error
		ds[i], err = l.conclude(ctx, records[i], limits[i], replies[n], errs[n])
		if err != nil && first == nil {
			first = errtext.Errorf("ratelimit", "request %d: %w", i, err)
		}
	}
	return ds, first
}

// askMany sends the calls whose servers answer, in one round trip to each.
func (l *Limiter) askMany(ctx context.Context, calls []store.LimitCall) ([]store.LimitReply, []error) {
	return callMany(l.health, calls, func(c store.LimitCall) store.Tag { return c.Tag },
		func(calls []store.LimitCall) ([]store.LimitReply, []error) { return l.store.LimitTakeMany(ctx, calls) })
}

// Peek returns the decision that Take would return now, and spends nothing. The errors
// are those of Take.
func (l *Limiter) Peek(ctx context.Context, p *Policy, key string) (Decision, error) {
	r, limits, err := l.begin(ctx, Request{Policy: p, Key: key, Cost: 1})
	if err != nil {
		return Decision{}, err
	}
	r.look = true
	r.refunded.Store(true) // nothing to give back
	var reply store.LimitReply
	err = l.health.call(r.call.Tag, func() (err error) {
		reply, err = l.store.LimitPeek(ctx, r.call)
		return err
	})
	switch {
	case err == nil:
		return r.decided(limits, reply).looked(), nil
	case hurried(err):
		return Decision{}, r.hurried(err)
	}
	return r.degraded(limits, err, func() (bool, time.Duration) {
		wait := l.local.peek(p, r.call)
		return wait == 0, wait
	}).looked(), nil
}

// Reset forgets all that the key spent from the policy's limits. Slots stay held: their
// holders are still under way. The error is [gatekit.ErrUnavailable], or one of those of
// Take.
func (l *Limiter) Reset(ctx context.Context, p *Policy, key string) error {
	r, _, err := l.beginAny(ctx, Request{Policy: p, Key: key, Cost: 1})
	if err != nil {
		return err
	}
	l.local.reset(p, r.call.Tag)
	if p.set.Len() == 0 {
		return nil
	}
	if err := l.store.LimitReset(ctx, r.call); err != nil {
		return errtext.Errorf("ratelimit", "reset: %w", err)
	}
	return nil
}

// begin checks a request and makes its call.
func (l *Limiter) begin(ctx context.Context, req Request) (*record, []LimitState, error) {
	if req.Policy != nil && req.Policy.slots != nil {
		return nil, nil, fmt.Errorf("ratelimit: policy %q: it has a Concurrent limit: use Acquire, AcquireWait or Run, so that somebody releases", req.Policy.name)
	}
	return l.beginAny(ctx, req)
}

// beginAny is begin for policies with slots too.
func (l *Limiter) beginAny(ctx context.Context, req Request) (*record, []LimitState, error) {
	p := req.Policy
	if err := p.usable(); err != nil {
		return nil, nil, errtext.Errorf("ratelimit", "%w", err)
	}
	if req.Key == "" {
		return nil, nil, fmt.Errorf("ratelimit: policy %q: key is empty", p.name)
	}
	r, limits := newRecord(p)
	if err := r.setCosts(req); err != nil {
		return nil, nil, errtext.Errorf("ratelimit", "policy %q: %w", p.name, err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, nil, errtext.Errorf("ratelimit", "policy %q: not asked: %w", p.name, err)
	}
	call := &r.call
	call.Set, call.Tag = p.set, store.MakeTag("limit", p.name, req.Key)
	if p.set.Sticky() {
		if call.Repeatable = req.CallID != ""; call.Repeatable {
			name := store.MakeTag("call", req.CallID)
			call.Name = string(name[:])
		} else {
			call.Name = newCallName()
		}
	}
	return r, limits, nil
}

// conclude makes the decision from the store's reply or error.
func (l *Limiter) conclude(ctx context.Context, r *record, limits []LimitState, reply store.LimitReply, err error) (Decision, error) {
	if err != nil && !hurried(err) && ctx.Err() != nil {
		err = callerLeft(ctx, err)
	}
	if err != nil && hurried(err) {
		return Decision{}, r.hurried(err)
	}
	if err != nil {
		return l.decided(ctx, r.degraded(limits, err, func() (bool, time.Duration) {
			var wait time.Duration
			r.local, wait = l.local.take(r.policy, r.call)
			return r.local != nil, wait
		})), nil
	}
	if reply.Verdict() == store.OtherCost {
		return Decision{}, errtext.Errorf("ratelimit", "policy %q: %w", r.policy.name, ErrOtherCost)
	}
	return l.decided(ctx, r.decided(limits, reply)), nil
}

// degraded is the decision of the policy's fail mode.
func (r *record) degraded(limits []LimitState, err error, local func() (bool, time.Duration)) Decision {
	d := Decision{Remaining: Unknown, Limits: limits, Source: FromFailMode, Degraded: err, record: r}
	switch r.policy.fail {
	case FailOpen:
		d.Allowed = true
	case FailLocal:
		d.Allowed, d.RetryAfter = local()
	}
	d.Spent = d.Allowed
	if !d.Allowed && d.RetryAfter == 0 {
		d.RetryAfter = time.Second
	}
	return d
}

// unobserved returns a copy of the limiter that reports no decisions to the observer.
func (l *Limiter) unobserved() *Limiter {
	quiet := *l
	quiet.observer = nil
	return &quiet
}

func (l *Limiter) decided(ctx context.Context, d Decision) Decision {
	if l.observer != nil {
		l.observer.Decided(ctx, d)
	}
	return d
}

// hurried returns the error of a call that the caller's own deadline or cancellation
// ended.
func (r *record) hurried(err error) error {
	return errtext.Errorf("ratelimit", "policy %q: %w", r.policy.name, err)
}

// callerLeft returns the error of a call that failed, and whose caller's context had
// ended by then: the context's, with what is known of the permits. A caller who left is
// not told the fail mode's yes.
func callerLeft(ctx context.Context, err error) error {
	if errors.Is(err, gatekit.ErrUnknownOutcome) {
		return errtext.Errorf("ratelimit", "the caller left: %w: %w", gatekit.ErrUnknownOutcome, ctx.Err())
	}
	return errtext.Errorf("ratelimit", "the caller left, nothing was done: %w", ctx.Err())
}

// newCallName returns a random name for a call without a CallID. Only the transport can
// repeat such a call.
func newCallName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // does not fail: crypto/rand ends the program first
	return base64.RawURLEncoding.EncodeToString(b[:])
}
