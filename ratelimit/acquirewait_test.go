package ratelimit_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// waitFor starts an AcquireWait and returns where its result comes. It returns when the
// caller is in the queue behind the others.
func waitFor(t *testing.T, ctx context.Context, l *ratelimit.Limiter, p *ratelimit.Policy, key string) <-chan *ratelimit.Slot {
	t.Helper()
	before := l.SlotsWaiting()
	got := make(chan *ratelimit.Slot, 1)
	go func() {
		slot, err := l.AcquireWait(ctx, p, key)
		if err != nil && ctx.Err() == nil {
			t.Errorf("AcquireWait: %v", err)
		}
		got <- slot
	}()
	if !eventually(func() bool { return l.SlotsWaiting() > before }) {
		t.Fatal("the caller does not wait")
	}
	return got
}

// TestReleaseWakes: a release in another process wakes the one that waits, and an acquire
// that leaves room wakes the next. Nobody asks by itself here.
func TestReleaseWakes(t *testing.T) {
	p := ratelimit.MustPolicy("wake", ratelimit.Slots(2))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		for _, l := range []*ratelimit.Limiter{one, other} {
			l.AskInLineEvery(time.Hour)
		}
		slot, _, err := one.AcquireN(t.Context(), p, "k", 2)
		if err != nil {
			t.Fatal(err)
		}
		first, second := waitFor(t, t.Context(), other, p, "k"), waitFor(t, t.Context(), one, p, "k")
		if !eventually(func() bool { return other.Listening() && one.Listening() }) {
			t.Fatal("nobody listens")
		}
		slot.Release()
		(<-first).Release()
		(<-second).Release()
	})
}

// TestWaitInOrder: the callers of a process are served in the order in which they came,
// and one that leaves makes room for the next.
func TestWaitInOrder(t *testing.T) {
	p := ratelimit.MustPolicy("order", ratelimit.Slots(1))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		slot := acquired(t, other, p, "k")
		leaves, leave := context.WithCancel(t.Context())
		gone := waitFor(t, leaves, one, p, "k")
		alsoGone := waitFor(t, leaves, one, p, "k")
		first, second := waitFor(t, t.Context(), one, p, "k"), waitFor(t, t.Context(), one, p, "k")
		leave()
		if <-gone != nil || <-alsoGone != nil {
			t.Error("a slot for a caller that left")
		}
		slot.Release()
		a := <-first
		select {
		case <-second:
			t.Fatal("two hold one slot")
		default:
		}
		a.Release()
		b := <-second
		if b.Fence() <= a.Fence() {
			t.Errorf("fences %d, %d", a.Fence(), b.Fence())
		}
		if one.SlotsWaiting() != 0 {
			t.Errorf("%d still wait", one.SlotsWaiting())
		}
	})
}

// TestWaitEnds with the context, and leaves nothing in line that holds others up.
func TestWaitEnds(t *testing.T) {
	p := ratelimit.MustPolicy("ends", ratelimit.Slots(1))
	eachSlots(t, func(t *testing.T, one, other *ratelimit.Limiter) {
		slot := acquired(t, one, p, "k")
		broken := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error, 1)
		go func() { _, err := other.AcquireWait(ctx, p, "k"); errs <- err }()
		if !eventually(other.Listening) { // so it was denied once
			t.Fatal("nobody waits")
		}
		cancel(broken)
		if err := <-errs; !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "ratelimit: ") {
			t.Errorf("%v, want the cause of the context", err)
		}
		slot.Release()
		if !eventually(func() bool { s, _, _ := one.Acquire(t.Context(), p, "k"); return s != nil }) {
			t.Error("the one that left still stands in line")
		}
	})
}

// TestWaitForRates: who waits is let through when the rates allow it too.
func TestWaitForRates(t *testing.T) {
	l := slotLimiter(t, openSlots(t, redistest.Single(t)), ratelimit.Options{})
	p := ratelimit.MustPolicy("rates", ratelimit.Slots(5), ratelimit.Per(1, 200*time.Millisecond))
	for range 4 {
		slot, err := l.AcquireWait(t.Context(), p, "k")
		if err != nil {
			t.Fatal(err)
		}
		slot.Release()
	}
}

// TestWaitersShare: many callers of several limiters, never more than the slots, and all
// are served.
func TestWaitersShare(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		const slots, limiters, callers, turns = 3, 3, 6, 4
		kv := openSlots(t, srv)
		p := ratelimit.MustPolicy("share", ratelimit.Slots(slots))
		var live, served atomic.Int64
		var wg sync.WaitGroup
		for range limiters {
			l := slotLimiter(t, kv, ratelimit.Options{})
			for range callers {
				wg.Go(func() {
					for range turns {
						slot, err := l.AcquireWait(t.Context(), p, "k")
						if err != nil {
							t.Error(err)
							return
						}
						if n := live.Add(1); n > slots && slot.Context().Err() == nil {
							t.Errorf("%d of %d under way", n, slots)
						}
						time.Sleep(time.Millisecond)
						live.Add(-1)
						slot.Release()
						served.Add(1)
					}
				})
			}
		}
		wg.Wait()
		if n := served.Load(); n != limiters*callers*turns {
			t.Errorf("%d served, want %d", n, limiters*callers*turns)
		}
	})
}

// TestCloseEndsWaiting: nobody waits for a limiter that is closed.
func TestCloseEndsWaiting(t *testing.T) {
	l := slotLimiter(t, openSlots(t, redistest.Single(t)), ratelimit.Options{})
	p := ratelimit.MustPolicy("closing", ratelimit.Slots(1))
	acquired(t, l, p, "k")
	errs := make(chan error, 3)
	for range 3 {
		go func() { _, err := l.AcquireWait(context.Background(), p, "k"); errs <- err }()
	}
	if !eventually(func() bool { return l.SlotsWaiting() == 3 }) {
		t.Fatal("they do not wait")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%v, want that the limiter is closed", err)
		}
	}
}

// TestWaitInOutage: FailOpen passes, FailLocal waits for the share of the process,
// FailClosed waits until the context ends.
func TestWaitInOutage(t *testing.T) {
	srv := redistest.Single(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	proxy.Refuse(true)
	l := slotLimiter(t, openSlots(t, srv, redistest.Through(proxy)), ratelimit.Options{})
	p := ratelimit.MustPolicy("outage", ratelimit.Slots(1))
	for _, mode := range []ratelimit.FailMode{ratelimit.FailOpen, ratelimit.FailLocal} {
		slot, err := l.AcquireWait(t.Context(), p.OnFailure(mode), mode.String())
		if err != nil {
			t.Fatalf("%v: %v", mode, err)
		}
		next := waitFor(t, t.Context(), l, p.OnFailure(ratelimit.FailLocal), mode.String())
		slot.Release()
		(<-next).Release()
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := waitFor(t, ctx, l, p.OnFailure(ratelimit.FailClosed), "closed")
	cancel()
	if <-gone != nil {
		t.Error("FailClosed gave a slot")
	}
	back := waitFor(t, t.Context(), l, p.OnFailure(ratelimit.FailClosed), "back")
	proxy.Refuse(false)
	(<-back).Release()
}
