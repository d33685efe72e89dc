package ratelimit

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// health tells the observer and the log of losing and regaining Redis, once each.
type health struct {
	observer Observer
	logger   *slog.Logger
	lost     atomic.Bool
}

func (h *health) down(err error) {
	if !h.lost.CompareAndSwap(false, true) {
		return
	}
	h.logger.Warn("gatekit: Redis does not decide, fail modes do", "error", err)
	if h.observer != nil {
		h.observer.Degraded(err)
	}
}

func (h *health) up() {
	if !h.lost.Load() || !h.lost.CompareAndSwap(true, false) {
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
