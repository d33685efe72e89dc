package ratelimit

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// local decides for [FailLocal] while Redis does not: SlidingBuckets in this process,
// each quota divided by the number of processes. As in Redis there is one count for each
// key and limit; a limit is identified by its name, window and algorithm, and a calendar
// quota by its calendar and the period of this process's clock.
//
// Its size in bytes is bounded. It never drops a count early, whatever keys clients send.
// A key that finds no room for a count of its own shares cells with others: see
// localSketch.
type local struct {
	instances int64
	seeds     [2]maphash.Seed
	start     time.Time
	wall      func() time.Time // the clock of calendars; time.Now, but for tests
	keep      time.Duration    // after an outage: longer than any call takes
	shards    [localShards]localShard

	recoveries atomic.Int64
}

// localKeep is how long Redis must have decided again before the counts of an outage are
// dropped. It is longer than any budget.
const localKeep = 10 * time.Second

const (
	localShards = 16
	localCounts = 8192 // a shard: 131,072 counts in all, at most 24 MB
	localCells  = 4096 // a row of a shard's sketch: 4 MB in all for each class of windows
)

type localShard struct {
	mu       sync.Mutex // guards what follows
	counts   map[localID]*localCount
	sketches map[int]*localSketch // by class of windows
	born     uint64               // of the newest count: no number is given twice
	drops    uint64               // how often all was forgotten
	sweep    time.Duration        // not before this instant
}

// localID is the hash of a key and a limit, under seeds that no client knows. The key
// itself is not kept.
type localID [2]uint64

// localCount has the permits of one limit by bucket, for the buckets newest-16 .. newest.
type localCount struct {
	window time.Duration
	newest int64
	born   uint64
	spent  [17]uint32
}

// localCell is a count that keys share, in coarser buckets.
type localCell struct {
	newest int64
	spent  [5]uint32
}

// localSketch counts the keys of a shard that found no room, for windows of one class. It
// is a count-min sketch: each key has one cell in each row and shares it with other keys.
// A cell holds at least what each of its keys spent, so the key's smallest cell can deny
// too early but never too late. The windows of a class are rounded up to a power of four
// in ns: 1 s counts as 1.07 s, a minute as 69 s.
type localSketch [2][localCells]localCell

// localSpent records where a decision was charged, so that it can be given back.
type localSpent struct {
	drops uint64
	marks []localMark // of each limit
}

type localMark struct {
	localPlace
	born   uint64 // of the count; 0 for a sketch
	bucket int64
}

// localPlace is where a limit of a key is counted. Each period of a calendar has a count
// of its own, whose window is as long as the period: no permit stops counting in it.
type localPlace struct {
	id     localID
	window time.Duration
	left   time.Duration // of a calendar: until the period ends; else 0
}

func (l *local) place(p *Policy, tag store.Tag, i int) localPlace {
	limit := p.limits[i]
	if limit.Algorithm != CalendarQuota {
		return localPlace{id: l.id(tag, limit, "", 0), window: limit.Window}
	}
	now := l.wall()
	period, start, end := p.set.Period(i, now)
	return localPlace{l.id(tag, limit, limit.Calendar.suffix(), period), end.Sub(start), end.Sub(now)}
}

func newLocal(instances int64) *local {
	return &local{instances: instances, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, start: time.Now(), wall: time.Now, keep: localKeep}
}

func (l *local) shard(tag store.Tag) *localShard {
	return &l.shards[maphash.Comparable(l.seeds[0], tag)%localShards]
}

func (l *local) id(tag store.Tag, limit Limit, calendar string, period int64) localID {
	// Policies that differ in quotas share the count. A zone has a pointer for each time
	// that it was loaded, and one name.
	limit.Quota, limit.Calendar = 0, Calendar{}
	what := struct {
		tag      store.Tag
		limit    Limit
		calendar string
		period   int64
	}{tag, limit, calendar, period}
	return localID{maphash.Comparable(l.seeds[0], what), maphash.Comparable(l.seeds[1], what)}
}

// take spends the call's cost from the share of every limit of the policy. If one has too
// little left it spends nothing and returns how long to wait.
func (l *local) take(p *Policy, call store.LimitCall) (spent *localSpent, retryAfter time.Duration) {
	now := time.Since(l.start) // monotonic
	sh := l.shard(call.Tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if retryAfter = l.waitLocked(sh, p, call, now); retryAfter > 0 {
		return nil, retryAfter
	}
	spent = &localSpent{drops: sh.drops}
	for i, limit := range p.limits {
		mark := localMark{}
		if cost := call.CostOf(i); cost > 0 && limit.Algorithm != Concurrent { // the slotKeeper counts that
			mark = sh.spendLocked(l.place(p, call.Tag, i), cost, now)
		}
		spent.marks = append(spent.marks, mark)
	}
	return spent, 0
}

// peek returns how long until the call passes; 0 means now.
func (l *local) peek(p *Policy, call store.LimitCall) (retryAfter time.Duration) {
	sh := l.shard(call.Tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return l.waitLocked(sh, p, call, time.Since(l.start))
}

// waitLocked makes no counts, so a denied request leaves nothing in memory.
func (l *local) waitLocked(sh *localShard, p *Policy, call store.LimitCall, now time.Duration) (longest time.Duration) {
	for i, limit := range p.limits {
		if limit.Algorithm == Concurrent {
			continue
		}
		share, cost, at := max(limit.Quota/l.instances, 1), max(call.CostOf(i), 1), l.place(p, call.Tag, i)
		if cost > share {
			return cmp.Or(at.left, at.window)
		}
		wait := time.Duration(0)
		if c := sh.counts[at.id]; c != nil {
			wait = c.buckets().wait(now, share, cost)
		} else if least := sh.leastLocked(at.id, at.window, now); least.spent != nil {
			wait = least.wait(now, share, cost)
		}
		if wait > 0 && at.left > 0 {
			wait = at.left
		}
		longest = max(longest, wait)
	}
	return longest
}

// refund gives back what a decision spent, where it still counts. It returns the number
// of limits in which it did.
func (l *local) refund(p *Policy, call store.LimitCall, spent *localSpent) (limits int) {
	now := time.Since(l.start)
	sh := l.shard(call.Tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if spent.drops != sh.drops {
		return 0
	}
	for i, limit := range p.limits {
		if limit.Algorithm == Concurrent {
			continue
		}
		if cost := call.CostOf(i); cost > 0 && sh.refundLocked(spent.marks[i], cost, now) {
			limits++
		}
	}
	return limits
}

// settle gives back what a decision spent and its call did not use of each limit, where
// it still counts, and spends what the call used besides.
func (l *local) settle(p *Policy, call store.LimitCall, spent *localSpent, actual []int64) {
	now := time.Since(l.start)
	sh := l.shard(call.Tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i, limit := range p.limits {
		switch {
		case limit.Algorithm == Concurrent: // a slot is released, not settled
		case actual[i] > call.CostOf(i):
			sh.spendLocked(l.place(p, call.Tag, i), actual[i]-call.CostOf(i), now)
		case actual[i] < call.CostOf(i) && spent.drops == sh.drops:
			sh.refundLocked(spent.marks[i], call.CostOf(i)-actual[i], now)
		}
	}
}

// refundLocked gives back n permits to the bucket that was charged, and reports whether
// they still counted.
func (sh *localShard) refundLocked(mark localMark, n int64, now time.Duration) (given bool) {
	if mark.born > 0 {
		c := sh.counts[mark.id]
		return c != nil && c.born == mark.born && c.buckets().refund(now, mark.bucket, n)
	}
	for _, cell := range sh.cellsLocked(mark.id, mark.window) {
		given = cell.refund(now, mark.bucket, n) || given
	}
	return given
}

// reset forgets the counts of a key. Shared cells stay as they are, because nobody knows
// how much of them is the key's.
func (l *local) reset(p *Policy, tag store.Tag) {
	sh := l.shard(tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range p.limits {
		delete(sh.counts, l.place(p, tag, i).id)
	}
}

// forgetLater drops all counts when Redis has decided for localKeep. Dropping them at
// once would be too early: calls that began in the outage are still under way, and a
// Redis that comes and goes would give each key a new share each time. lost reports
// whether Redis is away again.
func (l *local) forgetLater(lost func() bool) {
	recovery := l.recoveries.Add(1)
	time.AfterFunc(l.keep, func() {
		if l.recoveries.Load() == recovery && !lost() {
			l.drop()
		}
	})
}

// drop forgets all. The next outage starts empty.
func (l *local) drop() {
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		sh.counts, sh.sketches, sh.drops = nil, nil, sh.drops+1
		sh.mu.Unlock()
	}
}

func (sh *localShard) spendLocked(at localPlace, cost int64, now time.Duration) localMark {
	c := sh.counts[at.id]
	if c == nil && sh.roomLocked(now) {
		c = sh.newCountLocked(at.id, at.window, now)
	}
	if c != nil {
		return localMark{at, c.born, c.buckets().spend(now, cost)}
	}
	mark := localMark{localPlace: at}
	if sh.sketches == nil {
		sh.sketches = map[int]*localSketch{}
	}
	if n := class(at.window); sh.sketches[n] == nil {
		sh.sketches[n] = &localSketch{}
	}
	for _, cell := range sh.cellsLocked(at.id, at.window) {
		mark.bucket = cell.spend(now, cost)
	}
	return mark
}

// newCountLocked starts a count. It begins with what the key may have spent in shared
// cells, while there was no room.
func (sh *localShard) newCountLocked(id localID, window, now time.Duration) *localCount {
	if sh.counts == nil {
		sh.counts = map[localID]*localCount{}
	}
	sh.born++
	c := &localCount{window: window, born: sh.born}
	if least := sh.leastLocked(id, window, now); least.spent != nil {
		c.buckets().spend(now, least.live(now))
	}
	sh.counts[id] = c
	return c
}

func (sh *localShard) roomLocked(now time.Duration) bool {
	if len(sh.counts) >= localCounts && now >= sh.sweep {
		sh.sweep = now + time.Second // it looks at every count
		for id, c := range sh.counts {
			if c.buckets().live(now) == 0 {
				delete(sh.counts, id)
			}
		}
	}
	return len(sh.counts) < localCounts
}

// class is n for windows up to 2^n ns: n is even, so that a class spans a factor of four.
func class(window time.Duration) int {
	n := bits.Len64(uint64(window - 1))
	return n + n%2
}

// cellsLocked returns the cells of a key, or none while every key found room.
func (sh *localShard) cellsLocked(id localID, window time.Duration) (cells []localBuckets) {
	n := class(window)
	if s := sh.sketches[n]; s != nil {
		for row := range s {
			cell := &s[row][id[row]%localCells]
			cells = append(cells, newLocalBuckets(1<<n, &cell.newest, cell.spent[:]))
		}
	}
	return cells
}

// leastLocked returns the cell of the key in which least is spent.
func (sh *localShard) leastLocked(id localID, window, now time.Duration) (least localBuckets) {
	for _, cell := range sh.cellsLocked(id, window) {
		if least.spent == nil || cell.live(now) < least.live(now) {
			least = cell
		}
	}
	return least
}

func (c *localCount) buckets() localBuckets {
	return newLocalBuckets(c.window, &c.newest, c.spent[:])
}

// localBuckets is a count with its window: a ring of n+1 buckets, each an nth of the
// window long. A permit counts for one window after the end of its bucket.
type localBuckets struct {
	span   time.Duration // of a bucket
	newest *int64
	spent  []uint32
}

func newLocalBuckets(window time.Duration, newest *int64, spent []uint32) localBuckets {
	n := time.Duration(len(spent) - 1)
	return localBuckets{(window + n - 1) / n, newest, spent}
}

func (b localBuckets) at(index int64) *uint32 { return &b.spent[index%int64(len(b.spent))] }

// oldest returns the index of the first bucket that still counts.
func (b localBuckets) oldest() int64 { return max(*b.newest-int64(len(b.spent))+1, 0) }

// advance clears the buckets that no longer count.
func (b localBuckets) advance(now time.Duration) {
	was, index := *b.newest, int64(now/b.span)
	if index <= was {
		return
	}
	*b.newest = index
	for j := max(was+1, b.oldest()); j <= index; j++ {
		*b.at(j) = 0
	}
}

func (b localBuckets) live(now time.Duration) (n int64) {
	b.advance(now)
	for _, spent := range b.spent {
		n += int64(spent)
	}
	return n
}

// localFull is above every quota. A bucket that reaches it has stopped counting, so
// nothing can be given back to it.
const localFull = 4 * MaxBucketQuota

// spend adds to the newest bucket and returns it.
func (b localBuckets) spend(now time.Duration, cost int64) (bucket int64) {
	b.advance(now)
	*b.at(*b.newest) = uint32(min(int64(*b.at(*b.newest))+cost, localFull))
	return *b.newest
}

// refund takes the cost from a bucket, if that still counts.
func (b localBuckets) refund(now time.Duration, bucket, cost int64) bool {
	b.advance(now)
	spent := b.at(bucket)
	if bucket < b.oldest() || *spent == localFull || int64(*spent) < cost {
		return false
	}
	*spent -= uint32(cost)
	return true
}

// wait returns how long until the cost passes; 0 means now.
func (b localBuckets) wait(now time.Duration, quota, cost int64) (wait time.Duration) {
	excess := b.live(now) + cost - quota
	for j := b.oldest(); j <= *b.newest && excess > 0; j++ {
		excess -= int64(*b.at(j))
		wait = time.Duration(j+int64(len(b.spent)))*b.span - now
	}
	return wait
}
