package dropin

import (
	"context"
	"errors"
	"time"

	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/ratelimit"
)

// A Result is the answer to one call.
type Result struct {
	// Limit is the limit that the caller asked for.
	Limit Limit

	// Allowed is how many events may happen now; 0 when none.
	Allowed int

	// Remaining is how many more may happen now. 0 while Redis does not decide.
	Remaining int

	// RetryAfter is the exact time until all events of the call may happen, if nobody
	// else spends. It is -1 when they may happen now or the call asked for none, and
	// [ratelimit.Never] when the limit never has that many. After [Limiter.AllowAtMost]
	// it is the time until one event may happen.
	RetryAfter time.Duration

	// ResetAfter is the time until nothing is spent, if nobody spends. It is exact after
	// events were allowed, and when nothing or a single event is spent; otherwise it is
	// the window, an upper bound. 0 while Redis does not decide.
	ResetAfter time.Duration
}

// LimiterOptions of a [Limiter]; the zero value is ready to use.
type LimiterOptions struct {
	// Name keeps the limiter's keys apart from those of other limiters and policies. 1 to
	// 32 of A-Z a-z 0-9 . _ -, the first a letter or digit. Empty means "redis_rate".
	Name string

	// FailMode decides while Redis does not. The zero value is
	// [ratelimit.FailLocal]: this process admits its share. With [ratelimit.FailClosed] a
	// call returns the error, as redis_rate does.
	FailMode ratelimit.FailMode

	// Limits are the limits that other processes use, so that [Limiter.Reset] knows them
	// from the start. A Limiter remembers the limits of its own calls.
	Limits []Limit
}

// A Limiter has the methods of a limiter of go-redis/redis_rate. With the import of that
// package replaced by
//
//	redis_rate "github.com/gatekit/gatekit/adapters/dropin"
//
// a program changes one call: NewLimiter takes a [ratelimit.Limiter] in place of the
// Redis client. [Limit] says how the two kits count differently. A key has one count for
// each window: limits of different windows don't add up.
//
// It is safe for concurrent use.
type Limiter struct {
	limiter  *ratelimit.Limiter
	policies policies
}

// NewLimiter returns a limiter. It panics when limiter is nil or an option is out of
// range.
func NewLimiter(limiter *ratelimit.Limiter, opts LimiterOptions) *Limiter {
	given.Must(limiter)
	if opts.Name == "" {
		opts.Name = "redis_rate"
	}
	l := &Limiter{limiter: limiter, policies: policies{name: opts.Name, fail: opts.FailMode, known: map[Limit]*ratelimit.Policy{}}}
	_, err := PerSecond(1).policy(opts.Name, opts.FailMode) // a wrong name shows now, and not with the first call
	for _, limit := range opts.Limits {
		if err == nil {
			_, err = l.policies.get(limit)
		}
	}
	if err != nil {
		panic(err)
	}
	return l
}

// Allow is AllowN for one event.
func (l *Limiter) Allow(ctx context.Context, key string, limit Limit) (*Result, error) {
	return l.AllowN(ctx, key, limit, 1)
}

// AllowN lets n events happen, or none. With n = 0 it looks and spends nothing. It
// returns an error for a limit out of range, for n < 0 and for a ctx that has ended. With
// [ratelimit.FailClosed] it returns one when Redis does not decide.
func (l *Limiter) AllowN(ctx context.Context, key string, limit Limit, n int) (*Result, error) {
	c, err := l.begin(ctx, key, limit, n)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		d, err := c.look()
		if err != nil {
			return nil, err
		}
		return c.result(d, 0, -1), nil
	}
	d, err := c.take(int64(n))
	if err != nil {
		return nil, err
	}
	if d.Allowed {
		return c.result(d, n, -1), nil
	}
	wait := d.RetryAfter
	if wait == ratelimit.Never {
		if d, err = c.look(); err != nil { // take asks Redis nothing if n can never pass
			return nil, err
		}
	}
	return c.result(d, 0, wait), nil
}

// atMostTries is how often AllowAtMost asks at most, while others spend from the same
// key.
const atMostTries = 4

// AllowAtMost lets as many events happen as may, n at most. Result.Allowed says how many.
// It asks for n; if they don't pass, it asks for as many as the answer said are left. So
// it never lets too many pass. While others spend from the same key, it may let fewer
// pass than there was room for, or none. The errors are those of [Limiter.AllowN].
func (l *Limiter) AllowAtMost(ctx context.Context, key string, limit Limit, n int) (*Result, error) {
	c, err := l.begin(ctx, key, limit, n)
	if err != nil {
		return nil, err
	}
	ask := int64(n)
	for _, limit := range c.policy.Limits() {
		ask = min(ask, limit.Quota)
	}
	for try := 0; ask > 0 && try < atMostTries; try++ {
		d, err := c.take(ask)
		if err != nil {
			return nil, err
		}
		if d.Allowed {
			return c.result(d, int(ask), -1), nil
		}
		if d.Degraded != nil {
			ask /= 2 // a decision of this process doesn't say how many are left
			continue
		}
		ask = min(ask-1, d.Remaining)
	}
	d, err := c.look()
	if err != nil {
		return nil, err
	}
	if n == 0 || d.Allowed {
		return c.result(d, 0, -1), nil
	}
	return c.result(d, 0, d.RetryAfter), nil
}

// Reset gives the key its whole quota back, for the latest 256 limits of this Limiter's
// calls and of its options. The error is [gatekit.ErrUnavailable], or that of a ctx that
// has ended.
func (l *Limiter) Reset(ctx context.Context, key string) error {
	if err := context.Cause(ctx); err != nil { // even if there is no limit yet to reset
		return err
	}
	for _, policy := range l.policies.distinct() {
		if err := l.limiter.Reset(ctx, policy, ratelimit.Join(key)); err != nil {
			return err
		}
	}
	return nil
}

// call is one call for one key.
type call struct {
	ctx     context.Context
	limiter *ratelimit.Limiter
	policy  *ratelimit.Policy
	limit   Limit
	key     string
}

func (l *Limiter) begin(ctx context.Context, key string, limit Limit, n int) (*call, error) {
	if n < 0 {
		return nil, errors.New("dropin: a negative number of events")
	}
	policy, err := l.policies.get(limit)
	if err != nil {
		return nil, err
	}
	return &call{ctx, l.limiter, policy, limit, ratelimit.Join(key)}, nil
}

func (c *call) take(n int64) (ratelimit.Decision, error) {
	return c.judge(c.limiter.TakeN(c.ctx, c.policy, c.key, n))
}

func (c *call) look() (ratelimit.Decision, error) {
	return c.judge(c.limiter.Peek(c.ctx, c.policy, c.key))
}

func (c *call) judge(d ratelimit.Decision, err error) (ratelimit.Decision, error) {
	if err == nil && d.Degraded != nil && c.policy.FailMode() == ratelimit.FailClosed {
		err = &undecided{d.Degraded}
	}
	return d, err
}

func (c *call) result(d ratelimit.Decision, allowed int, retryAfter time.Duration) *Result {
	r := &Result{Limit: c.limit, Allowed: allowed, RetryAfter: retryAfter}
	if d.Degraded != nil {
		return r
	}
	r.Remaining = int(d.Remaining)
	for _, l := range d.Limits {
		switch spent := l.Quota - l.Remaining; {
		case spent == 0:
		case spent == 1:
			r.ResetAfter = max(r.ResetAfter, l.ResetAfter)
		default:
			r.ResetAfter = max(r.ResetAfter, l.Window)
		}
	}
	return r
}
