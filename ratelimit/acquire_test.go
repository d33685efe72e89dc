package ratelimit_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// slotLimiter returns a limiter on the server that is closed at the end of the test.
func slotLimiter(t *testing.T, kv *gatekit.Redis, opts ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	l, err := ratelimit.New(kv, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// openSlots opens the server with a budget that a busy machine keeps.
func openSlots(t *testing.T, srv *redistest.Server, modify ...func(*redis.UniversalOptions)) *gatekit.Redis {
	t.Helper()
	return kvtest.Open(t, srv.Client(t, modify...), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
}

// eachSlots runs f on each server with two limiters that share it.
func eachSlots(t *testing.T, f func(t *testing.T, one, other *ratelimit.Limiter)) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		kv := openSlots(t, srv)
		f(t, slotLimiter(t, kv, ratelimit.Options{}), slotLimiter(t, kv, ratelimit.Options{}))
	})
}

func acquired(t *testing.T, l *ratelimit.Limiter, p *ratelimit.Policy, key string) *ratelimit.Slot {
	t.Helper()
	slot, d, err := l.Acquire(t.Context(), p, key)
	if err != nil || slot == nil || !d.Allowed || d.Degraded != nil {
		t.Fatalf("slot %v, decision %+v, error %v; want a slot", slot, d, err)
	}
	return slot
}

// full returns the decision of a denial because the slots are full.
func full(t *testing.T, l *ratelimit.Limiter, p *ratelimit.Policy, key string) ratelimit.Decision {
	t.Helper()
	slot, d, err := l.Acquire(t.Context(), p, key)
	if err != nil || slot != nil || d.Allowed || !d.SlotsFull || d.RetryAfter <= 0 || d.RetryAfter > time.Second {
		t.Fatalf("slot %v, decision %+v, error %v; want all slots full", slot, d, err)
	}
	return d
}

func TestAcquire(t *testing.T) {
	p := ratelimit.MustPolicy("export", ratelimit.PerMinute(100), ratelimit.Slots(2))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		a, b := acquired(t, one, p, "k"), acquired(t, other, p, "k")
		if b.Fence() <= a.Fence() {
			t.Errorf("fences %d, %d; want the second greater", a.Fence(), b.Fence())
		}
		if d := full(t, other, p, "k"); d.Limits[0].Remaining != 98 || d.Remaining != 0 {
			t.Errorf("%+v, want 98 permits of the rate left", d)
		}
		a.Release()
		a.Release()
		if a.Context().Err() == nil || b.Context().Err() != nil {
			t.Errorf("contexts %v, %v; want that of the first ended", context.Cause(a.Context()), b.Context().Err())
		}
		if c := acquired(t, other, p, "k"); c.Fence() <= b.Fence() {
			t.Errorf("fence %d after %d", c.Fence(), b.Fence())
		}
		full(t, one, p, "k")
		acquired(t, one, p, "another key")
	})
}

// TestAcquireN: a cost is a weight, and what is more than all slots never passes.
func TestAcquireN(t *testing.T) {
	p := ratelimit.MustPolicy("weights", ratelimit.Slots(5))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		slot, d, err := one.AcquireN(t.Context(), p, "k", 3)
		if err != nil || slot == nil || d.Remaining != 2 || d.Cost() != 3 {
			t.Fatalf("slot %v, decision %+v, error %v", slot, d, err)
		}
		if slot, d, err := other.AcquireN(t.Context(), p, "k", 3); err != nil || slot != nil || !d.SlotsFull || d.Remaining != 2 {
			t.Errorf("slot %v, decision %+v, error %v; want full", slot, d, err)
		}
		if slot, d, err := other.AcquireN(t.Context(), p, "k", 2); err != nil || slot == nil {
			t.Errorf("slot %v, decision %+v, error %v; want the last two", slot, d, err)
		}
		if slot, d, err := other.AcquireN(t.Context(), p, "k", 6); err != nil || slot != nil || d.RetryAfter != ratelimit.Never || d.SlotsFull {
			t.Errorf("slot %v, decision %+v, error %v; want Never", slot, d, err)
		}
		if slot, err := other.AcquireWaitN(t.Context(), p, "k", 6); err == nil || slot != nil || !strings.Contains(err.Error(), "cost 6") {
			t.Errorf("slot %v, error %v; want an error at once", slot, err)
		}
	})
}

// TestRatesOfSlots: a denial by the slots charges no rate. A denial by the rate is exact,
// and takes no slot. A refund gives the rate back and leaves the slot.
func TestRatesOfSlots(t *testing.T) {
	p := ratelimit.MustPolicy("rates", ratelimit.Slots(1), ratelimit.PerHour(2))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		slot, first, err := one.Acquire(t.Context(), p, "k")
		if err != nil || slot == nil {
			t.Fatal(first, err)
		}
		for range 5 {
			full(t, other, p, "k")
		}
		slot.Release()
		acquired(t, other, p, "k").Release()
		slot, d, err := one.Acquire(t.Context(), p, "k")
		if err != nil || slot != nil || d.SlotsFull || d.RetryAfter < 59*time.Minute {
			t.Fatalf("slot %v, %+v, error %v; want a denial by the rate", slot, d, err)
		}
		if n, err := one.Refund(t.Context(), first); n != 1 || err != nil {
			t.Errorf("refunded in %d limits, error %v; want 1", n, err)
		}
		acquired(t, one, p, "k")
		if err := one.Reset(t.Context(), p, "k"); err != nil {
			t.Error(err)
		}
		full(t, other, p, "k")
	})
}

// TestRun releases when f returns and when it panics, and does not call f when denied.
func TestRun(t *testing.T) {
	p := ratelimit.MustPolicy("run", ratelimit.Slots(1))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		broken := errors.New("broken")
		d, err := one.Run(t.Context(), p, "k", func(ctx context.Context) error {
			if d, err := other.Run(ctx, p, "k", func(context.Context) error { t.Error("called without a slot"); return nil }); err != nil || !d.SlotsFull {
				t.Errorf("%+v, %v; want full", d, err)
			}
			return broken
		})
		if !d.Allowed || err != broken {
			t.Errorf("%+v, %v; want the error of f", d, err)
		}
		func() {
			defer func() {
				if recover() != "panic" {
					t.Error("the panic of f is gone")
				}
			}()
			_, _ = other.Run(t.Context(), p, "k", func(context.Context) error { panic("panic") })
		}()
		acquired(t, one, p, "k")
	})
}

// TestSlotsLive: holders are prolonged, so that nobody else gets their slots however long
// they hold them. What a process that ends without a word held runs out.
func TestSlotsLive(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		if srv.Name() == "embedded" {
			t.Skip("its clock is that of the process: the single server says as much")
		}
		t.Parallel()
		kv := openSlots(t, srv)
		p := ratelimit.ShortSlots(ratelimit.MustPolicy("live", ratelimit.Slots(3)), 3*time.Second)
		one, other := slotLimiter(t, kv, ratelimit.Options{}), slotLimiter(t, kv, ratelimit.Options{})
		for range 3 {
			acquired(t, one, p, "k")
		}
		still := redistest.WatchStandstill(t)
		start := time.Now()
		for ; time.Since(start) < 7*time.Second; time.Sleep(100 * time.Millisecond) {
			slot, _, err := other.Acquire(t.Context(), p, "k")
			n, _ := one.SlotsKept()
			switch {
			case n < 3 && still.Since(start) > time.Second:
				t.Skip("the machine stood still for too long to prolong a slot")
			case n < 3:
				t.Fatal("a slot was lost")
			case slot != nil || err != nil:
				t.Fatalf("slot %v, error %v, although three hold", slot, err)
			}
		}
	})
}

// TestSlotLost: a slot that Redis has given up, and one whose process was suspended, end
// with ErrSlotLost.
func TestSlotLost(t *testing.T) {
	srv := redistest.Single(t)
	client := srv.Client(t)
	for _, c := range []struct {
		name string
		lose func(t *testing.T, l *ratelimit.Limiter, prefix string)
	}{
		{"taken away", func(t *testing.T, _ *ratelimit.Limiter, prefix string) {
			for _, key := range redistest.Keys(t, client, prefix) {
				client.Del(t.Context(), key)
			}
		}},
		{"suspended", func(_ *testing.T, l *ratelimit.Limiter, _ string) { l.ShiftWallClock(time.Hour) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			prefix := redistest.Prefix(t)
			kv := kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: prefix, Budget: 10 * time.Second})
			l := slotLimiter(t, kv, ratelimit.Options{})
			p := ratelimit.ShortSlots(ratelimit.MustPolicy("lost", ratelimit.Slots(2)), 3*time.Second)
			d, err := l.Run(t.Context(), p, "k", func(ctx context.Context) error {
				c.lose(t, l, prefix)
				<-ctx.Done()
				return context.Cause(ctx)
			})
			if !d.Allowed || !errors.Is(err, ratelimit.ErrSlotLost) {
				t.Errorf("%+v, %v; want ErrSlotLost", d, err)
			}
			_, err = l.Run(t.Context(), p, "k", func(ctx context.Context) error {
				l.ShiftWallClock(-time.Hour)
				<-ctx.Done()
				return nil // the work was done, by two perhaps
			})
			if !errors.Is(err, ratelimit.ErrSlotLost) {
				t.Errorf("%v; want ErrSlotLost", err)
			}
		})
	}
}

// TestSlotsNeedBeats: without Redis a holder ends by its own deadline, and not before.
func TestSlotsNeedBeats(t *testing.T) {
	srv := redistest.Single(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	kv := kvtest.Open(t, srv.Client(t, redistest.Through(proxy)), gatekit.Options{Prefix: redistest.Prefix(t)})
	l := slotLimiter(t, kv, ratelimit.Options{})
	p := ratelimit.ShortSlots(ratelimit.MustPolicy("cut", ratelimit.Slots(1)), 3*time.Second).OnFailure(ratelimit.FailClosed)
	slot, d, err := l.Acquire(t.Context(), p, "k")
	if err != nil || slot == nil {
		t.Skip("the machine is too slow for the budget", d.Degraded, err)
	}
	proxy.BlackHole(true)
	<-slot.Context().Done()
	if !errors.Is(context.Cause(slot.Context()), ratelimit.ErrSlotLost) {
		t.Errorf("%v, want ErrSlotLost", context.Cause(slot.Context()))
	}
	proxy.BlackHole(false)
	slot.Release()
}

// TestSlotsClose gives the slots back and ends their contexts and the goroutine.
func TestSlotsClose(t *testing.T) {
	p := ratelimit.MustPolicy("close", ratelimit.Slots(150))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		var slots []*ratelimit.Slot
		for range 150 {
			slots = append(slots, acquired(t, one, p, "k"))
		}
		full(t, other, p, "k")
		if n, running := one.SlotsKept(); n != 150 || !running {
			t.Errorf("%d kept, running %v; want 150", n, running)
		}
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
		for _, slot := range slots {
			if slot.Context().Err() == nil {
				t.Fatal("the context of a slot goes on after Close")
			}
			slot.Release()
		}
		if n, running := one.SlotsKept(); n != 0 || running {
			t.Errorf("%d kept, running %v; want none", n, running)
		}
		if slot, _, err := other.AcquireN(t.Context(), p, "k", 150); slot == nil || err != nil {
			t.Errorf("slot %v, %v; want all free", slot, err)
		}
		if slot, _, err := one.Acquire(t.Context(), p, "k2"); slot != nil || err == nil {
			t.Errorf("slot %v, %v after Close; want an error", slot, err)
		}
		if _, err := one.AcquireWait(t.Context(), p, "k2"); err == nil {
			t.Error("AcquireWait after Close; want an error")
		}
		if err := one.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestKeeperEndsWithTheLastSlot: nothing runs when nothing is held.
func TestKeeperEndsWithTheLastSlot(t *testing.T) {
	l := slotLimiter(t, openSlots(t, redistest.Single(t)), ratelimit.Options{})
	p := ratelimit.MustPolicy("keeper", ratelimit.Slots(5))
	for range 3 {
		var wg sync.WaitGroup
		for range 5 {
			slot := acquired(t, l, p, "k")
			wg.Go(slot.Release)
		}
		wg.Wait()
		if !eventually(func() bool { n, running := l.SlotsKept(); return n == 0 && !running }) {
			t.Error("the goroutine of the keeper goes on")
		}
	}
}

// TestLostReplyOfAcquire: the script is sent again, finds its id, and charges nothing
// twice.
func TestLostReplyOfAcquire(t *testing.T) {
	srv := redistest.Single(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	kv := openSlots(t, srv, redistest.Through(proxy), func(o *redis.UniversalOptions) { o.ReadTimeout = 300 * time.Millisecond })
	l := slotLimiter(t, kv, ratelimit.Options{})
	p := ratelimit.MustPolicy("resent", ratelimit.Slots(5), ratelimit.PerHour(10)).OnFailure(ratelimit.FailClosed)
	acquired(t, l, p, "warm").Release()
	proxy.DropReply(1, "evalsha")
	slot, d, err := l.Acquire(t.Context(), p, "k")
	if err != nil || slot == nil || d.Degraded != nil {
		t.Fatalf("slot %v, %+v, %v", slot, d, err)
	}
	if d.Limits[0].Remaining != 4 || d.Limits[1].Remaining != 9 {
		t.Errorf("%+v, want one slot and one permit taken", d.Limits)
	}
	if n, err := l.Refund(t.Context(), d); n != 1 || err != nil {
		t.Errorf("refunded in %d limits, %v; want 1", n, err)
	}
}

// TestSlotsInOutage: the fail modes, while Redis does not answer.
func TestSlotsInOutage(t *testing.T) {
	srv := redistest.Single(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	proxy.Refuse(true)
	kv := kvtest.Open(t, srv.Client(t, redistest.Through(proxy)), gatekit.Options{Prefix: redistest.Prefix(t)})
	l := slotLimiter(t, kv, ratelimit.Options{Instances: 2})
	p := ratelimit.MustPolicy("outage", ratelimit.Slots(4), ratelimit.PerHour(8))
	for _, c := range []struct {
		mode ratelimit.FailMode
		want int
	}{{ratelimit.FailClosed, 0}, {ratelimit.FailOpen, 10}, {ratelimit.FailLocal, 2}} {
		t.Run(c.mode.String(), func(t *testing.T) {
			p := p.OnFailure(c.mode)
			var slots []*ratelimit.Slot
			for range 10 {
				slot, d, err := l.Acquire(t.Context(), p, c.mode.String())
				if err != nil || d.Degraded == nil || d.Allowed != (slot != nil) {
					t.Fatalf("slot %v, %+v, %v", slot, d, err)
				}
				if slot != nil {
					slots = append(slots, slot)
					if slot.Fence() != 0 || slot.Context().Err() != nil {
						t.Errorf("fence %d, %v; want none and a context that goes on", slot.Fence(), slot.Context().Err())
					}
				}
			}
			if len(slots) != c.want {
				t.Errorf("%d slots, want %d", len(slots), c.want)
			}
			for _, slot := range slots {
				slot.Release()
			}
			slot, _, err := l.Acquire(t.Context(), p, c.mode.String())
			if (slot != nil) != (c.want > 0) || err != nil {
				t.Errorf("slot %v, %v after the release of all", slot, err)
			}
		})
	}
}

// TestSlotMistakes: each is refused, and says what to do.
func TestSlotMistakes(t *testing.T) {
	l := slotLimiter(t, openSlots(t, redistest.Embedded(t)), ratelimit.Options{})
	slots, plain := ratelimit.MustPolicy("slots", ratelimit.Slots(1)), ratelimit.MustPolicy("plain", ratelimit.PerHour(1))
	want := func(err error, part string) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), "ratelimit: ") || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want one with %q", err, part)
		}
	}
	_, err := l.Take(t.Context(), slots, "k")
	want(err, "use Acquire")
	_, err = l.TakeMany(t.Context(), []ratelimit.Request{{Policy: slots, Key: "k", Cost: 1}})
	want(err, "use Acquire")
	_, err = l.Peek(t.Context(), slots, "k")
	want(err, "use Acquire")
	_, _, err = l.Acquire(t.Context(), plain, "k")
	want(err, "use Take")
	_, err = l.AcquireWait(t.Context(), plain, "k")
	want(err, "use Take")
	_, _, err = l.Acquire(t.Context(), nil, "k")
	want(err, "policy is nil")
	_, _, err = l.Acquire(t.Context(), slots, "")
	want(err, "key is empty")
	_, _, err = l.AcquireN(t.Context(), slots, "k", 0)
	want(err, "cost 0")
	_, err = ratelimit.NewGate(l, ratelimit.GateOptions{}, ratelimit.Rule{Policy: slots, Key: ratelimit.Everyone()})
	want(err, "call Limiter.Run in the handler")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = l.Acquire(ended, slots, "k")
	want(err, "not asked")
	for part, limits := range map[string][]ratelimit.Limit{
		"Window 9s: want 10s to 10m0s": {{Name: "s", Quota: 1, Window: 9 * time.Second, Algorithm: ratelimit.Concurrent}},
		"Window 11m0s":                 {{Name: "s", Quota: 1, Window: 11 * time.Minute, Algorithm: ratelimit.Concurrent}},
		"Quota 4097: want 1 to 4096":   {ratelimit.Slots(4097)},
		"a second Concurrent limit":    {ratelimit.Slots(1), {Name: "s", Quota: 1, Window: 20 * time.Second, Algorithm: ratelimit.Concurrent}},
		"a SlidingLog beside":          {ratelimit.Slots(1), {Quota: 1, Window: time.Minute, Algorithm: ratelimit.SlidingLog}},
	} {
		_, err := ratelimit.NewPolicy("p", limits...)
		want(err, part)
	}
}
