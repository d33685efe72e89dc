package ratelimit

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/limittest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

func localTag(p *Policy, key string) store.Tag { return store.MakeTag("limit", p.name, key) }

func taken(l *local, p *Policy, key string, cost int64) (bool, time.Duration) {
	spent, wait := l.take(p, store.LimitCall{Tag: localTag(p, key), Cost: cost})
	return spent != nil, wait
}

func peeked(l *local, p *Policy, key string) (bool, time.Duration) {
	wait := l.peek(p, store.LimitCall{Tag: localTag(p, key), Cost: 1})
	return wait == 0, wait
}

// The limiter of [FailLocal] follows the same rules as the script of SlidingBuckets. So
// the same model predicts it, to the nanosecond, and the ideal log shows whether it ever
// exceeds its share.
func TestLocalIsSlidingBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, localTrace) })
}

func localTrace(t *rapid.T) {
	instances := rapid.Int64Range(1, 4).Draw(t, "instances")
	var limits []Limit
	var specs []store.LimitSpec
	var shares []int64
	for i := range rapid.IntRange(1, 2).Draw(t, "limits") {
		l := Limit{Name: fmt.Sprint("n", i), Quota: rapid.Int64Range(1, 30).Draw(t, "quota"),
			Window: time.Duration(rapid.Int64Range(1000, 1e6).Draw(t, "window")+int64(i)*1e6) * time.Microsecond}
		limits, shares = append(limits, l), append(shares, max(l.Quota/instances, 1))
		// The model does not depend on the unit: here one of its microseconds is a
		// nanosecond.
		specs = append(specs, store.LimitSpec{Algorithm: 'b', Window: l.Window * 1000})
	}
	p, l, model := MustPolicy("p", limits...), newLocal(instances), limittest.NewModel(specs)
	ideal := make([]limittest.Ideal, len(limits))
	for n := range rapid.IntRange(1, 60).Draw(t, "calls") {
		if rapid.Bool().Draw(t, "wait") {
			time.Sleep(time.Duration(rapid.Int64Range(1, int64(2*limits[0].Window)).Draw(t, "ns")))
		}
		now, cost := int64(time.Since(l.start)), rapid.Int64Range(1, shares[0]).Draw(t, "cost")
		for _, share := range shares {
			cost = min(cost, share)
		}
		call := limittest.Call{Now: now, Cost: cost, Quotas: shares}
		if rapid.IntRange(0, 4).Draw(t, "peek") == 0 {
			call.Cost = 1
			check(t, call, model.Peek)(peeked(l, p, "k"))
			continue
		}
		allowed, _ := check(t, call, model.Take)(taken(l, p, "k", cost))
		for i, share := range shares {
			if live := ideal[i].Live(now, int64(limits[i].Window)); allowed && live+cost > share {
				t.Fatalf("limit %d let %d pass with %d of %d in the window", i, cost, live, share)
			} else if allowed {
				ideal[i].Spend(n, now, cost)
			}
		}
	}
}

// check compares an answer with the model's.
func check(t *rapid.T, call limittest.Call, model func(limittest.Call) (store.Verdict, []limittest.State)) func(bool, time.Duration) (bool, time.Duration) {
	return func(allowed bool, retryAfter time.Duration) (bool, time.Duration) {
		verdict, states := model(call)
		wait := int64(0)
		for _, s := range states {
			wait = max(wait, s.Wait)
		}
		if allowed != (verdict == store.Allowed) || int64(retryAfter) != wait {
			t.Fatalf("at %d, cost %d: %v, %v; want %v, %v", call.Now, call.Cost, allowed, retryAfter, verdict == store.Allowed, time.Duration(wait))
		}
		return allowed, retryAfter
	}
}

func TestLocalShares(t *testing.T) {
	for _, c := range []struct{ quota, instances, want int64 }{
		{10, 1, 10}, {10, 3, 3}, {10, 10, 1}, {10, 11, 1}, {1, 1_000_000, 1}, {MaxLogQuota, 4, 1024},
	} {
		t.Run(fmt.Sprintf("quota %d on %d instances", c.quota, c.instances), func(t *testing.T) {
			l, p, admitted := newLocal(c.instances), MustPolicy("p", PerHour(c.quota)), int64(0)
			for range c.quota + 1 {
				if ok, _ := taken(l, p, "k", 1); ok {
					admitted++
				}
			}
			if admitted != c.want {
				t.Errorf("quota %d on %d instances: this one admits %d, want %d", c.quota, c.instances, admitted, c.want)
			}
		})
	}
}

// A cost above this instance's share is denied, and spends nothing. RetryAfter is not
// Never, because Redis may let it pass when it is back.
func TestLocalCostAboveShare(t *testing.T) {
	l, p := newLocal(4), MustPolicy("p", PerMinute(8), PerHour(800))
	if ok, retry := taken(l, p, "k", 3); ok || retry != time.Minute {
		t.Errorf("cost 3 of a share of 2: %v, %v; want denied for a window", ok, retry)
	}
	if ok, _ := taken(l, p, "k", 2); !ok {
		t.Error("the denial spent something")
	}
}

func TestLocalTellsKeysAndPoliciesApart(t *testing.T) {
	l := newLocal(1)
	for _, name := range []string{"a", "b"} {
		for _, key := range []string{"k", "l", "", "\x00"} {
			p := MustPolicy(name, PerHour(1))
			for _, want := range []bool{true, false} {
				if ok, _ := taken(l, p, key, 1); ok != want {
					t.Errorf("policy %s, key %q: %v, want %v", name, key, ok, want)
				}
			}
		}
	}
	p := MustPolicy("a", PerHour(1))
	l.reset(p, localTag(p, "k"))
	if ok, _ := peeked(l, p, "k"); !ok {
		t.Error("denied after a reset")
	}
	if ok, _ := peeked(l, p, "l"); ok {
		t.Error("the reset of one key freed another")
	}
}

// A flood of keys frees no counted key, and no key passes more often than its share,
// wherever it is counted. Keys that come when there is no room get their share too, as
// long as their shared cells are not full.
func TestLocalUnderAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const share = 5
		l, p := newLocal(1), MustPolicy("p", PerMinute(share))
		time.Sleep(time.Second)
		spend := func(key string) (n int) {
			for range 2 * share {
				if ok, _ := taken(l, p, key, 1); ok {
					n++
				}
			}
			return n
		}
		if n := spend("victim"); n != share {
			t.Fatalf("admitted %d of %d", n, share)
		}
		const room = localShards * localCounts
		for i := range room + room/16 { // shards fill up unevenly
			taken(l, p, fmt.Sprint("flood", i), 1)
		}
		late := 0
		for i := range 1000 {
			n := spend(fmt.Sprint("late", i))
			if late += n; n > share {
				t.Errorf("a key without room was admitted %d times, its share is %d", n, share)
			}
		}
		if late < 1000*share*9/10 {
			t.Errorf("1000 keys without room got %d permits, want nearly %d", late, 1000*share)
		}
		for i := range 2 * room { // until the cells are full
			taken(l, p, fmt.Sprint("wave", i), 1)
		}
		if n := spend("victim"); n != 0 {
			t.Errorf("the flood freed %d permits of a counted key", n)
		}
		if n := counted(l); n != room {
			t.Errorf("%d keys are counted, want %d, as many as there is room for", n, room)
		}
		// When the flood's permits have come back, its keys make room.
		time.Sleep(3 * time.Minute)
		const after = 1000 // enough for each shard, wherever the hash puts them, to get one
		for i := range after {
			if n := spend(fmt.Sprint("after", i)); n != share {
				t.Fatalf("key %d after the flood: admitted %d of %d", i, n, share)
			}
		}
		if n := counted(l); n != after {
			t.Errorf("%d keys are still counted, want the %d of after the flood", n, after)
		}
	})
}

func counted(l *local) (n int) {
	for i := range l.shards {
		n += len(l.shards[i].counts)
	}
	return n
}

// A key that was counted in shared cells and gets a count of its own, because room came,
// starts with what it spent.
func TestLocalCarriesOverFromSharedCells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newLocal(1), MustPolicy("p", PerMinute(5))
		short := MustPolicy("short", PerSecond(1)) // its counts make room before those of the others do
		time.Sleep(time.Second)
		for i := range localShards * localCounts * 17 / 16 {
			taken(l, short, fmt.Sprint("flood", i), 1)
		}
		keys := make([]string, 200)
		for i := range keys {
			keys[i] = fmt.Sprint("late", i)
			if ok, _ := taken(l, p, keys[i], 3); !ok {
				t.Fatalf("key %d was denied its first 3 of 5", i)
			}
		}
		before := counted(l)
		time.Sleep(3 * time.Second)
		for i, key := range keys {
			if ok, _ := taken(l, p, key, 3); ok {
				t.Errorf("key %d got 6 of 5", i)
			}
			if ok, _ := taken(l, p, key, 2); !ok {
				t.Errorf("key %d was denied the last 2 of 5", i)
			}
			if ok, _ := taken(l, p, key, 1); ok {
				t.Errorf("key %d got more than 5", i)
			}
		}
		if after := counted(l); after >= before || after != len(keys) {
			t.Errorf("%d keys have counts of their own, before there were %d; want the %d of late", after, before, len(keys))
		}
	})
}

// What was spent in shared cells is given back there; what others spent there stays.
func TestLocalRefundInSharedCells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newLocal(1), MustPolicy("p", PerMinute(5))
		flood := func() {
			for i := range localShards * localCounts * 17 / 16 {
				taken(l, p, fmt.Sprint("flood", i), 1)
			}
		}
		flood()
		for i := range 200 {
			tag := localTag(p, fmt.Sprint("late", i))
			for range 20 {
				spent, _ := l.take(p, store.LimitCall{Tag: tag, Cost: 3})
				if spent == nil {
					t.Fatalf("key %d was denied, although all before was given back", i)
				}
				if n := l.refund(p, store.LimitCall{Tag: tag, Cost: 3}, spent); n != 1 {
					t.Fatalf("key %d: a refund gave back in %d limits", i, n)
				}
			}
		}
		spent, _ := l.take(p, store.LimitCall{Tag: localTag(p, "late0"), Cost: 1})
		time.Sleep(3 * time.Minute)
		if n := l.refund(p, store.LimitCall{Tag: localTag(p, "late0"), Cost: 1}, spent); n != 0 {
			t.Errorf("the refund of what counts no more gave back in %d limits", n)
		}
		flood()
		spent, _ = l.take(p, store.LimitCall{Tag: localTag(p, "late0"), Cost: 1})
		l.drop()
		flood()
		l.take(p, store.LimitCall{Tag: localTag(p, "late0"), Cost: 1})
		if n := l.refund(p, store.LimitCall{Tag: localTag(p, "late0"), Cost: 1}, spent); n != 0 || spent == nil {
			t.Errorf("what was spent before all was forgotten was given back in %d limits of what is spent since", n)
		}
	})
}

// Whatever clients send, the local limiter keeps a bounded number of bytes during an
// outage, and none afterwards.
func TestLocalIsBoundedInBytes(t *testing.T) {
	l, before := newLocal(1), heapBytes()
	policies := []*Policy{MustPolicy("a", PerSecond(5), PerMinute(10)), MustPolicy("b", PerHour(1000), PerDay(2000))}
	for i := range 200_000 {
		taken(l, policies[i%2], fmt.Sprintf("%0100d", i), 1)
	}
	kept := heapBytes() - before
	t.Logf("%d counts: %d KB", counted(l), kept>>10)
	if kept > 40<<20 {
		t.Errorf("400,000 counts of four windows keep %d KB, want at most 40 MB", kept>>10)
	}
	l.drop()
	if kept := heapBytes() - before; kept > 1<<20 {
		t.Errorf("%d KB are kept after the outage", kept>>10)
	}
	runtime.KeepAlive(l)
}

func heapBytes() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestLocalAdmitsItsShareToManyAtOnce(t *testing.T) {
	l, p := newLocal(2), MustPolicy("p", PerHour(500), PerDay(4000))
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				if ok, _ := taken(l, p, "k", 1); ok {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := admitted.Load(); got != 250 {
		t.Errorf("admitted %d, want the share, 250", got)
	}
}

// When Redis has decided again for a while, this process forgets its counts. It does not
// do so at once, because calls from the outage still end, and not if Redis failed again
// meanwhile.
func TestLocalIsForgottenAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := newLocal(1), MustPolicy("p", PerHour(5))
		var lost atomic.Bool
		time.Sleep(time.Second)
		spend := func() bool {
			ok, _ := taken(l, p, "k", 5)
			return ok
		}
		regain := func() {
			lost.Store(false)
			l.forgetLater(lost.Load)
		}
		if !spend() {
			t.Fatal("5 of 5 do not pass")
		}
		regain()
		time.Sleep(localKeep - time.Second)
		if spend() {
			t.Error("a call that ended late got another share")
		}
		lost.Store(true)
		time.Sleep(2 * time.Second)
		if spend() {
			t.Error("Redis came and went, and the key got another share")
		}
		regain()
		time.Sleep(localKeep - time.Second)
		regain() // it was away in between
		time.Sleep(2 * time.Second)
		if spend() {
			t.Error("the counts were dropped by the recovery before the last")
		}
		spent, _ := l.take(p, store.LimitCall{Tag: localTag(p, "other"), Cost: 1})
		time.Sleep(localKeep)
		synctest.Wait()
		if n := counted(l); n != 0 {
			t.Errorf("%d keys are counted after the outage", n)
		}
		if n := l.refund(p, store.LimitCall{Tag: localTag(p, "other"), Cost: 1}, spent); n != 0 || !spend() {
			t.Errorf("after the outage a refund gave back in %d limits; want 0, and an empty start", n)
		}
	})
}

// A Limiter forgets its local counts when it regains Redis.
func TestLimiterForgetsAfterAnOutage(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	l, err := New(kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t)}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.local.keep = time.Millisecond
	p, ctx := MustPolicy("p", PerHour(5)), t.Context()
	proxy.Refuse(true)
	if d, err := l.Take(ctx, p, "k"); err != nil || d.Degraded == nil {
		t.Fatalf("%+v, %v", d, err)
	}
	kept := func() (n int) {
		for i := range l.local.shards {
			sh := &l.local.shards[i]
			sh.mu.Lock()
			n += len(sh.counts)
			sh.mu.Unlock()
		}
		return n
	}
	if kept() != 1 {
		t.Fatal("nothing is counted in the outage")
	}
	proxy.Refuse(false)
	for kept() > 0 {
		if _, err := l.Peek(ctx, p, "k"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}
