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

// Options of a [Limiter]; the zero value is ready to use.
type Options struct {
	// Instances is how many processes share the quotas. While Redis does not decide, a
	// policy with [FailLocal] lets each of them admit its share, at least 1 permit a
	// window. 1 to 1,000,000; 0 means 1.
	Instances int

	// Observer is told of decisions and of losing and regaining Redis. Nil costs nothing.
	Observer Observer
}

// An Observer is told what a [Limiter] does, for metrics. Its methods are called on the
// path of the request, by many goroutines at once: they should return soon. Label by
// policy, limit and outcome; keys are not passed on purpose.
type Observer interface {
	// Decided is called for each decision, degraded ones included: those of a [Gate] once
	// it is known which of them were given back, [Decision.GivenBack]. [Decision.DryRun]
	// tells those that block nothing.
	Decided(ctx context.Context, d Decision)
	// Degraded is called once when Redis stops deciding.
	Degraded(err error)
	// Recovered is called once when Redis decides again, and no call has failed for half
	// a second.
	Recovered()
}

// A Limiter decides whether a call may spend permits. Most programs call [Limiter.Take];
// TakeN and Do are Take with a cost or more, TakeMany decides many calls in one round
// trip, Refund gives permits back. HTTP services use a [Gate], through an adapter.
//
// When a call to Redis fails, the limiter sends a probe of its own with the whole budget.
// If Redis answers neither the probe nor another call, the policies' fail modes answer at
// once, and the limiter probes at most twice a second until Redis is back. On a cluster
// this holds for each server by itself.
//
// A Limiter is safe for concurrent use and needs no closing. The [gatekit.Redis] it is on
// stays the caller's.
type Limiter struct {
	store    *store.Store
	observer Observer
	health   *health
	local    *local
}

// New returns a limiter whose limits are kept in kv. It does not connect.
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
	return &Limiter{
		store:    s,
		observer: opts.Observer,
		health:   newHealth(s, opts.Observer, s.Logger(), local),
		local:    local,
	}, nil
}

// A Request is what a decision is about.
type Request struct {
	// Policy is what applies. Not nil.
	Policy *Policy
	// Key is who is limited: any bytes, not empty. It is hashed together with the
	// policy's name, so that it appears nowhere in Redis. See [Join] for keys of several
	// parts.
	Key string
	// Cost is how many permits the call needs, 1 to 10^9; at most [MaxLogCost] where the
	// policy has a [SlidingLog]. One above a quota is denied with [Never].
	Cost int64
	// CallID names the call for a [SlidingLog]: repeated with the same id and key it is
	// charged at most once. Any bytes. Empty means a call that nobody repeats. Policies
	// without a SlidingLog ignore it.
	CallID string
}

// ErrOtherCost means that a call came again with its CallID and another cost.
var ErrOtherCost = errors.New("ratelimit: CallID was admitted before at another cost")

// Take asks for one permit.
//
// The error is for calls that are wrong in themselves (an empty key, a cost of 0), and
// for those whose ctx has ended, or has a deadline that comes before the budget's and
// before the reply: then it is the context's, and says nothing about Redis, so no fail
// mode answers. Nothing was spent, unless the error is also [gatekit.ErrUnknownOutcome]:
// then the cost was spent once, or not. A Redis that does not decide is not an error but
// a decision of the policy's fail mode, see [Decision.Degraded].
func (l *Limiter) Take(ctx context.Context, p *Policy, key string) (Decision, error) {
	return l.Do(ctx, Request{Policy: p, Key: key, Cost: 1})
}

// TakeN is Take for a cost of n permits: all of them or none.
func (l *Limiter) TakeN(ctx context.Context, p *Policy, key string, n int64) (Decision, error) {
	return l.Do(ctx, Request{Policy: p, Key: key, Cost: n})
}

// Do is Take with all there is to say about a call.
func (l *Limiter) Do(ctx context.Context, req Request) (Decision, error) {
	r, limits, err := l.begin(ctx, req)
	if err != nil {
		return Decision{}, err
	}
	if req.Cost > req.Policy.minimum {
		return l.decided(ctx, r.never(limits)), nil
	}
	var reply store.LimitReply
	err = l.health.call(r.call.Tag, func() (err error) {
		reply, err = l.store.LimitTake(ctx, r.call)
		return err
	})
	return l.conclude(ctx, r, limits, reply, err)
}

// TakeMany decides many requests at once, within one budget. Each is decided by itself,
// in their order where keys are equal. An error is as for [Limiter.Take]. For a request
// that is wrong none was asked; [ErrOtherCost] and the context's error come with the
// decisions of the others, in place of a decision that is zero.
//
// Up to 256 requests take one round trip to each node of Redis. More go out in parts of
// 256, one after the other; when the budget ends, what was answered stands, and the fail
// mode decides the rest, which was not sent and is not charged: only of the part that was
// under way the outcome is unknown, [gatekit.ErrUnknownOutcome]. No more than 512
// requests of all TakeMany of a limiter are under way at once; a call whose budget ends
// before its turn is not sent either.
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
		if req.Cost > req.Policy.minimum {
			ds[i] = l.decided(ctx, r.never(ls))
			continue
		}
		calls, asked = append(calls, r.call), append(asked, i)
	}
	replies, errs := callMany(l.health, calls, func(c store.LimitCall) store.Tag { return c.Tag },
		func(calls []store.LimitCall) ([]store.LimitReply, []error) { return l.store.LimitTakeMany(ctx, calls) })
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

// Peek reports what Take would answer now, and spends nothing. Errors are those of Take.
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
		return r.decided(limits, reply), nil
	case hurried(err):
		return Decision{}, r.hurried(err)
	}
	return r.degraded(limits, err, func() (bool, time.Duration) {
		wait := l.local.peek(p, r.call.Tag)
		return wait == 0, wait
	}), nil
}

// Reset forgets all that the key spent by the policy. The error is
// [gatekit.ErrUnavailable], or as for Take.
func (l *Limiter) Reset(ctx context.Context, p *Policy, key string) error {
	r, _, err := l.begin(ctx, Request{Policy: p, Key: key, Cost: 1})
	if err != nil {
		return err
	}
	l.local.reset(p, r.call.Tag)
	if err := l.store.LimitReset(ctx, r.call); err != nil {
		return errtext.Errorf("ratelimit", "reset: %w", err)
	}
	return nil
}

// begin checks a request and makes its call.
func (l *Limiter) begin(ctx context.Context, req Request) (*record, []LimitState, error) {
	p := req.Policy
	if p == nil {
		return nil, nil, errtext.Errorf("ratelimit", "%w", errNilPolicy)
	}
	if req.Key == "" {
		return nil, nil, fmt.Errorf("ratelimit: policy %q: key is empty", p.name)
	}
	if err := p.checkCost(req.Cost); err != nil {
		return nil, nil, errtext.Errorf("ratelimit", "policy %q: %w", p.name, err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, nil, errtext.Errorf("ratelimit", "policy %q: not asked: %w", p.name, err)
	}
	call := store.LimitCall{Set: p.set, Tag: store.MakeTag("limit", p.name, req.Key), Cost: req.Cost}
	if p.set.Sticky() {
		if call.Repeatable = req.CallID != ""; call.Repeatable {
			name := store.MakeTag("call", req.CallID)
			call.Name = string(name[:])
		} else {
			call.Name = newCallName()
		}
	}
	r, limits := newRecord(p, call)
	return r, limits, nil
}

// conclude makes a decision of what the store said.
func (l *Limiter) conclude(ctx context.Context, r *record, limits []LimitState, reply store.LimitReply, err error) (Decision, error) {
	if err != nil && hurried(err) {
		return Decision{}, r.hurried(err)
	}
	if err != nil {
		return l.decided(ctx, r.degraded(limits, err, func() (bool, time.Duration) {
			var wait time.Duration
			r.local, wait = l.local.take(r.policy, r.call.Tag, r.call.Cost)
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
	d := Decision{Remaining: Unknown, Limits: limits, Degraded: err, record: r}
	switch r.policy.fail {
	case FailOpen:
		d.Allowed = true
	case FailLocal:
		d.Allowed, d.RetryAfter = local()
	}
	if !d.Allowed && d.RetryAfter == 0 {
		d.RetryAfter = time.Second
	}
	return d
}

// unobserved returns the limiter without its observer of decisions.
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

// hurried is the error of a call that its caller's deadline ended.
func (r *record) hurried(err error) error {
	return errtext.Errorf("ratelimit", "policy %q: %w", r.policy.name, err)
}

// newCallName names a call that nobody repeats but the transport.
func newCallName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // does not fail: crypto/rand ends the program first
	return base64.RawURLEncoding.EncodeToString(b[:])
}
