package ratelimit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gatekit/gatekit/lua"
	"github.com/gatekit/gatekit/ratelimit/ratelimittest"
)

// The limiter of [FailLocal] is SlidingBuckets by the same rules as the script, so the same model predicts it, to the
// nanosecond, and the ideal log tells whether its share is ever exceeded.
func TestLocalIsSlidingBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, localTrace) })
}

func localTrace(t *rapid.T) {
	instances := rapid.Int64Range(1, 4).Draw(t, "instances")
	var limits []Limit
	var specs []lua.LimitSpec
	var shares []int64
	for i := range rapid.IntRange(1, 2).Draw(t, "limits") {
		l := Limit{Name: fmt.Sprint("n", i), Quota: rapid.Int64Range(1, 30).Draw(t, "quota"),
			Window: time.Duration(rapid.Int64Range(1000, 1e6).Draw(t, "window")+int64(i)*1e6) * time.Microsecond}
		limits, shares = append(limits, l), append(shares, max(l.Quota/instances, 1))
		// The model counts in whatever unit: here one of its microseconds is a nanosecond.
		specs = append(specs, lua.LimitSpec{Algorithm: 'b', Window: l.Window * 1000})
	}
	p, l, model := MustPolicy("p", limits...), newLocal(instances), ratelimittest.NewModel(specs)
	ideal := make([]ratelimittest.Ideal, len(limits))
	for n := range rapid.IntRange(1, 60).Draw(t, "calls") {
		if rapid.Bool().Draw(t, "wait") {
			time.Sleep(time.Duration(rapid.Int64Range(1, int64(2*limits[0].Window)).Draw(t, "ns")))
		}
		now, cost := int64(time.Since(l.start)), rapid.Int64Range(1, shares[0]).Draw(t, "cost")
		for _, share := range shares {
			cost = min(cost, share)
		}
		call := ratelimittest.Call{Now: now, Cost: cost, Quotas: shares}
		if rapid.IntRange(0, 4).Draw(t, "peek") == 0 {
			call.Cost = 1
			check(t, call, model.Peek)(l.peek(p, "k"))
			continue
		}
		allowed, _ := check(t, call, model.Take)(l.take(p, "k", cost))
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
func check(t *rapid.T, call ratelimittest.Call, model func(ratelimittest.Call) (lua.Verdict, []ratelimittest.State)) func(bool, time.Duration) (bool, time.Duration) {
	return func(allowed bool, retryAfter time.Duration) (bool, time.Duration) {
		verdict, states := model(call)
		wait := int64(0)
		for _, s := range states {
			wait = max(wait, s.Wait)
		}
		if allowed != (verdict == lua.Allowed) || int64(retryAfter) != wait {
			t.Fatalf("at %d, cost %d: %v, %v; want %v, %v", call.Now, call.Cost, allowed, retryAfter, verdict == lua.Allowed, time.Duration(wait))
		}
		return allowed, retryAfter
	}
}

func TestLocalShares(t *testing.T) {
	for _, c := range []struct{ quota, instances, want int64 }{
		{10, 1, 10}, {10, 3, 3}, {10, 10, 1}, {10, 11, 1}, {1, 1_000_000, 1}, {MaxLogQuota, 4, 1024},
	} {
		l, p, admitted := newLocal(c.instances), MustPolicy("p", PerHour(c.quota)), int64(0)
		for range c.quota + 1 {
			if ok, _ := l.take(p, "k", 1); ok {
				admitted++
			}
		}
		if admitted != c.want {
			t.Errorf("quota %d on %d instances: this one admits %d, want %d", c.quota, c.instances, admitted, c.want)
		}
	}
}

// A cost above this instance's share is denied, and spends nothing. It is not never: Redis may let it pass when it is back.
func TestLocalCostAboveShare(t *testing.T) {
	l, p := newLocal(4), MustPolicy("p", PerMinute(8), PerHour(800))
	if ok, retry := l.take(p, "k", 3); ok || retry != time.Minute {
		t.Errorf("cost 3 of a share of 2: %v, %v; want denied for a window", ok, retry)
	}
	if ok, _ := l.take(p, "k", 2); !ok {
		t.Error("the denial spent something")
	}
}

func TestLocalTellsKeysAndPoliciesApart(t *testing.T) {
	l := newLocal(1)
	for _, name := range []string{"a", "b"} {
		for _, key := range []string{"k", "l", "", "\x00"} {
			p := MustPolicy(name, PerHour(1))
			for _, want := range []bool{true, false} {
				if ok, _ := l.take(p, key, 1); ok != want {
					t.Errorf("policy %s, key %q: %v, want %v", name, key, ok, want)
				}
			}
		}
	}
	p := MustPolicy("a", PerHour(1))
	l.reset(p, "k")
	if ok, _ := l.peek(p, "k"); !ok {
		t.Error("denied after a reset")
	}
	if ok, _ := l.peek(p, "l"); ok {
		t.Error("the reset of one key freed another")
	}
}

// A flood of keys costs bounded memory, frees no counted key, and gets the share of one key on each of the 16 shards.
func TestLocalUnderAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const share = 5
		l, p := newLocal(1), MustPolicy("p", PerMinute(share))
		time.Sleep(time.Second)
		counted := func() (n int) {
			for i := range l.shards {
				n += len(l.shards[i].counters)
			}
			return n
		}
		spend := func(key string) (n int) {
			for range 2 * share {
				if ok, _ := l.take(p, key, 1); ok {
					n++
				}
			}
			return n
		}
		if n := spend("victim"); n != share {
			t.Fatalf("admitted %d of %d", n, share)
		}
		const room = 16 * localKeys
		for i := range 2 * room { // shards fill up unevenly
			l.take(p, fmt.Sprint("flood", i), 1)
		}
		if n := counted(); n > room+16 {
			t.Errorf("%d keys are counted, want at most %d and one shared by the rest of each shard", n, room)
		}
		rest := 0
		for i := range 1000 {
			rest += spend(fmt.Sprint("late", i))
		}
		if rest > 16*share {
			t.Errorf("keys without room got %d permits, want at most %d on each of 16 shards", rest, share)
		}
		if n := spend("victim"); n != 0 {
			t.Errorf("the flood freed %d permits of a counted key", n)
		}
		// When the flood's permits have come back, its keys make room.
		time.Sleep(2 * time.Minute)
		const after = 1000 // enough for each shard, wherever the hash puts them, to get one
		for i := range after {
			if n := spend(fmt.Sprint("after", i)); n != share {
				t.Fatalf("key %d after the flood: admitted %d of %d", i, n, share)
			}
		}
		if n := counted(); n > after+16 {
			t.Errorf("%d keys are still counted, want the %d of after the flood", n, after)
		}
	})
}

func TestLocalAdmitsItsShareToManyAtOnce(t *testing.T) {
	l, p := newLocal(2), MustPolicy("p", PerHour(500), PerDay(4000))
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				if ok, _ := l.take(p, "k", 1); ok {
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
