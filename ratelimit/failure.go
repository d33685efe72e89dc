package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/gatekit/gatekit/lua"
)

// health knows whether Redis decides. It tells the observer and the log of losing and regaining it, once each, and
// keeps calls from waiting for a server that just let others wait in vain.
type health struct {
	observer Observer
	logger   *slog.Logger
	lost     atomic.Bool
	failed   atomic.Int64 // the last failure, ns since start
	start    time.Time

	// breaker opens after breakAfter failures in a row, and lets one call try every retryEvery. It is nil for a cluster, where
	// the failures of one shard say nothing about the others, and is not asked while all is well.
	breaker *gobreaker.TwoStepCircuitBreaker[any]
}

const (
	breakAfter = 5
	retryEvery = 500 * time.Millisecond

	// settled is how long without a failure makes Redis regained: of a cluster, some shards answer all the time.
	settled = 500 * time.Millisecond
)

func newHealth(observer Observer, logger *slog.Logger, sharded bool) *health {
	h := &health{observer: observer, logger: logger, start: time.Now()}
	if !sharded {
		h.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
			Timeout:     retryEvery,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakAfter },
			// A server that refuses answers.
			IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, lua.ErrRefused) },
			// One whose caller did not wait has shown nothing: neither that it is well nor that it is not.
			IsExcluded: func(err error) bool { return errors.Is(err, errCallerGone) },
		})
	}
	return h
}

var errCallerGone = errors.New("the caller's context ended before the budget")

// ask reports whether Redis is worth asking: nil, or the reason why not, which is [lua.ErrUnavailable]. The outcome of the
// call that follows goes to [asked.report].
func (h *health) ask() (asked, error) {
	if h.breaker == nil || !h.lost.Load() {
		return asked{health: h}, nil
	}
	done, err := h.breaker.Allow()
	if err != nil {
		return asked{}, fmt.Errorf("%w: not asked, the last calls failed", lua.ErrUnavailable)
	}
	return asked{health: h, done: done}, nil
}

// call runs f, a call to Redis, if Redis is worth asking, and returns its error. The place that [health.ask] gave is given
// back also when f panics, in a hook of the client or in the client itself: the breaker lets nobody else try meanwhile.
func (h *health) call(ctx context.Context, f func() error) error {
	asked, err := h.ask()
	if err != nil {
		return err
	}
	err = errPanicked
	defer func() {
		if err == errPanicked && asked.done != nil {
			asked.done(err)
		}
	}()
	err = f()
	asked.report(ctx, err)
	return err
}

// callMany is call for n calls at once, each with its error.
func (h *health) callMany(ctx context.Context, n int, f func() []error) (errs []error) {
	err := h.call(ctx, func() error {
		errs = f()
		return firstError(errs)
	})
	if errs == nil {
		errs = slices.Repeat([]error{err}, n)
	}
	return errs
}

var errPanicked = errors.New("the call panicked")

// asked is a call that was let through.
type asked struct {
	health *health
	done   func(error)
}

func (a asked) report(ctx context.Context, err error) {
	if a.done != nil {
		if err != nil && ctx.Err() != nil {
			a.done(errCallerGone)
		} else {
			a.done(err)
		}
	}
	if err != nil {
		a.health.down(err)
	} else if a.health.lost.Load() {
		a.health.up()
	}
}

func (h *health) down(err error) {
	h.failed.Store(int64(time.Since(h.start)))
	if !h.lost.CompareAndSwap(false, true) {
		return
	}
	h.logger.Warn("gatekit: Redis does not decide, fail modes do", "error", err)
	if h.observer != nil {
		h.observer.Degraded(err)
	}
}

func (h *health) up() {
	if time.Since(h.start)-time.Duration(h.failed.Load()) < settled || !h.lost.CompareAndSwap(true, false) {
		return
	}
	h.logger.Info("gatekit: Redis decides again")
	if h.observer != nil {
		h.observer.Recovered()
	}
}

// local decides for [FailLocal] while Redis does not: SlidingBuckets in this process, each quota divided by the number of
// processes. It starts empty with each outage and forgets nothing early: a key that finds no room shares one counter with
// the others that found none, so that a flood of new keys cannot evict a counted one.
type local struct {
	instances int64
	seed      maphash.Seed
	start     time.Time
	shards    [16]localShard
}

const (
	localKeys    = 4096 // a shard; 64 k keys in all, at most 20 MB with two limits each
	localBuckets = 16
)

type localShard struct {
	mu       sync.Mutex // guards what follows
	counters map[localKey][]localCount
	swept    time.Duration
}

type localKey struct{ policy, key string }

// localCount is the state of one limit: permits by bucket, for the buckets newest-16 .. newest.
type localCount struct {
	window time.Duration
	newest int64
	spent  [localBuckets + 1]int64
}

func newLocal(instances int64) *local {
	l := &local{instances: instances, seed: maphash.MakeSeed(), start: time.Now()}
	for i := range l.shards {
		l.shards[i].counters = map[localKey][]localCount{}
	}
	return l
}

func (l *local) take(p *Policy, key string, cost int64) (bool, time.Duration) {
	return l.decide(p, key, cost, true)
}

func (l *local) peek(p *Policy, key string) (bool, time.Duration) {
	return l.decide(p, key, 1, false)
}

func (l *local) reset(p *Policy, key string) {
	k := localKey{p.name, key}
	sh := l.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.counters, k)
}

func (l *local) shard(k localKey) *localShard {
	return &l.shards[maphash.Comparable(l.seed, k)%uint64(len(l.shards))]
}

func (l *local) decide(p *Policy, key string, cost int64, spend bool) (allowed bool, retryAfter time.Duration) {
	now := time.Since(l.start) // monotonic
	k := localKey{p.name, key}
	sh := l.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	counts := sh.countsLocked(k, p, now)
	for i := range counts {
		counts[i].advance(now)
		share := max(p.limits[i].Quota/l.instances, 1)
		if cost > share {
			return false, p.limits[i].Window
		}
		retryAfter = max(retryAfter, counts[i].wait(now, share, cost))
	}
	if retryAfter > 0 {
		return false, retryAfter
	}
	if spend {
		for i := range counts {
			counts[i].spent[counts[i].newest%(localBuckets+1)] += cost
		}
	}
	return true, 0
}

// countsLocked returns the counters of the key, or those shared by all keys that found no room.
func (sh *localShard) countsLocked(k localKey, p *Policy, now time.Duration) []localCount {
	counts, ok := sh.counters[k]
	if !ok && len(sh.counters) >= localKeys {
		sh.sweepLocked(now)
		if len(sh.counters) >= localKeys {
			k = localKey{policy: p.name} // no key of a caller is empty
			counts, ok = sh.counters[k]
		}
	}
	if ok && sameWindows(counts, p) {
		return counts
	}
	counts = make([]localCount, len(p.limits))
	for i, limit := range p.limits {
		counts[i].window = limit.Window
	}
	sh.counters[k] = counts
	return counts
}

func sameWindows(counts []localCount, p *Policy) bool {
	if len(counts) != len(p.limits) {
		return false
	}
	for i := range counts {
		if counts[i].window != p.limits[i].Window {
			return false
		}
	}
	return true
}

// sweepLocked drops what counts no more, at most once a second: it looks at every key.
func (sh *localShard) sweepLocked(now time.Duration) {
	if now-sh.swept < time.Second && sh.swept > 0 {
		return
	}
	sh.swept = now
	for k, counts := range sh.counters {
		spent := false
		for i := range counts {
			counts[i].advance(now)
			for _, n := range counts[i].spent {
				spent = spent || n > 0
			}
		}
		if !spent {
			delete(sh.counters, k)
		}
	}
}

func (c *localCount) span() time.Duration { return (c.window + localBuckets - 1) / localBuckets }

// advance forgets the buckets that count no more.
func (c *localCount) advance(now time.Duration) {
	index := int64(now / c.span())
	for j := max(c.newest+1, index-localBuckets); j <= index; j++ {
		c.spent[j%(localBuckets+1)] = 0
	}
	c.newest = max(c.newest, index)
}

// wait returns how long until the cost passes; 0 means now.
func (c *localCount) wait(now time.Duration, quota, cost int64) time.Duration {
	excess := cost - quota
	for _, n := range c.spent {
		excess += n
	}
	wait := time.Duration(0)
	for j := c.newest - localBuckets; j <= c.newest && excess > 0; j++ {
		if j < 0 {
			continue
		}
		excess -= c.spent[j%(localBuckets+1)]
		wait = time.Duration(j+localBuckets+1)*c.span() - now
	}
	return wait
}
