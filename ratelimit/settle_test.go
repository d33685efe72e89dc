package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/limittest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/ratelimit"
)

// account is what many goroutines reserve and settle of one key: the bounds of the
// permits that count in the end. They differ where a reply was lost.
type account struct {
	t            *testing.T
	limiter      *ratelimit.Limiter
	policy       *ratelimit.Policy
	least, most  atomic.Int64
	lost, denied atomic.Int64
}

func (a *account) add(least, most int64) {
	a.least.Add(least)
	a.most.Add(most)
}

// work reserves, uses more or less than that, and settles.
func (a *account) work() {
	cost, actual := 1+rand.Int64N(5), rand.Int64N(10)
	d, err := a.limiter.TakeN(a.t.Context(), a.policy, "k", cost)
	switch {
	case err != nil:
		a.t.Error(err)
		return
	case errors.Is(d.Degraded, gatekit.ErrUnknownOutcome):
		a.lost.Add(1)
		a.add(0, cost)
		return
	case !d.Allowed:
		a.denied.Add(1)
		return
	}
	settled, err := a.limiter.Settle(a.t.Context(), d, actual)
	switch {
	case errors.Is(err, gatekit.ErrUnknownOutcome):
		a.lost.Add(1)
		a.add(min(cost, actual), max(cost, actual))
	case err != nil: // nothing was changed
		a.add(cost, cost)
		return
	case !settled:
		a.t.Error("an admitted decision was not settled")
	default:
		a.add(actual, actual)
	}
	// Whatever became of it, it does not happen twice.
	if settled, err := a.limiter.Settle(a.t.Context(), d, 99); settled || err != nil {
		a.t.Errorf("the second Settle: %v, %v; want false", settled, err)
	}
	if limits, err := a.limiter.Refund(a.t.Context(), d); limits != 0 || err != nil {
		a.t.Errorf("Refund after Settle: %d, %v; want 0", limits, err)
	}
}

// Many goroutines reserve, work and settle. What counts in the end is the sum of what
// they used, to the permit. With lost replies it lies between the sums without and with
// the calls whose outcome is unknown.
func TestSettleAccounts(t *testing.T) {
	const hour = time.Hour
	buckets := ratelimit.Limit{Name: "b", Quota: 1e6, Window: hour, Algorithm: ratelimit.SlidingBuckets}
	log := ratelimit.Limit{Name: "l", Quota: 4096, Window: hour, Algorithm: ratelimit.SlidingLog}
	policies := []*ratelimit.Policy{
		ratelimit.MustPolicy("window", ratelimit.PerHour(4096)), ratelimit.MustPolicy("buckets", buckets),
		ratelimit.MustPolicy("log", log), ratelimit.MustPolicy("both", ratelimit.PerHour(4096), buckets),
	}
	for _, lossy := range []bool{false, true} {
		for _, p := range policies {
			t.Run(fmt.Sprintf("%s/lossy=%v", p.Name(), lossy), func(t *testing.T) {
				t.Parallel()
				proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
				kv := kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
				limiter, err := ratelimit.New(kv, ratelimit.Options{})
				if err != nil {
					t.Fatal(err)
				}
				a := &account{t: t, limiter: limiter, policy: p.OnFailure(ratelimit.FailClosed)}
				a.work() // loads the scripts
				if lossy {
					proxy.DropReplyEvery(9)
				}
				var wg sync.WaitGroup
				for range 16 {
					wg.Go(func() {
						for range 15 {
							a.work()
						}
					})
				}
				wg.Wait()
				proxy.DropReplyEvery(0)
				d, err := limiter.Peek(t.Context(), p, "k")
				for err == nil && d.Degraded != nil { // until the breaker closes
					d, err = limiter.Peek(t.Context(), p, "k")
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range d.Limits {
					if used := s.Quota - s.Remaining; used < a.least.Load() || used > a.most.Load() {
						t.Errorf("%v: %d permits count, want %d to %d", s.Algorithm, used, a.least.Load(), a.most.Load())
					}
				}
				if lossy == (a.lost.Load() == 0) {
					t.Errorf("%d replies were lost", a.lost.Load())
				}
				t.Logf("%d to %d permits, %d replies lost, %d denied", a.least.Load(), a.most.Load(), a.lost.Load(), a.denied.Load())
			})
		}
	}
}

// A debt counts in full, whatever the quota, for one window. A refund of permits that
// were there before it makes no room beyond it: lists are not cut to their quota. The
// World checks each reply, and each RetryAfter from both sides.
func TestOverdraft(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		for _, letter := range []byte("wbl") {
			t.Run(string(letter), func(t *testing.T) {
				const window = 64_000_000
				quota := int64(10)
				w := limittest.NewWorld(t, srv.Client(t), redistest.Prefix(t), 1_790_000_000_000_000,
					store.LimitSpec{Name: "n", Algorithm: letter, Quota: quota, Window: window * time.Microsecond})
				take := func(cost int64, name string, want store.Verdict) *limittest.Decision {
					t.Helper()
					w.Advance(1)
					if got := w.Take(cost, name, false); got != want {
						t.Fatalf("take %d: verdict %d, want %d", cost, got, want)
					}
					if all := w.Decisions(); want == store.Allowed {
						return all[len(all)-1]
					}
					return nil
				}
				first, other := take(5, "first", store.Allowed), take(4, "other", store.Allowed)
				w.Advance(window / 4)
				used := int64(1_000_000_000)
				if letter == 'l' {
					used = ratelimit.MaxLogCost
				}
				w.Settle(first, []int64{used})
				take(1, "a", store.Denied)
				w.Advance(1)
				w.Refund(other)
				take(1, "b", store.Denied)
				w.Advance(window - window/16)
				take(1, "c", store.Denied)
				w.Advance(window / 4) // a bucket counts to its end
				take(quota, "d", store.Allowed)
				if n := w.Tally().Debts; n != 1 {
					t.Errorf("%d debts, want 1", n)
				}
			})
		}
	})
}

func TestSettle(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, _ := newLimiter(t, srv)
		p := ratelimit.MustPolicy("p", ratelimit.PerHour(100), ratelimit.Limit{Name: "b", Quota: 50, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets})
		settle := func(d ratelimit.Decision, want bool, actual ...int64) {
			t.Helper()
			if settled, err := l.SettleEach(t.Context(), d, actual); settled != want || err != nil {
				t.Fatalf("settled %v, %v; want %v", settled, err, want)
			}
		}
		left := func(want ...int64) {
			t.Helper()
			d, err := l.Peek(t.Context(), p, "k")
			if err != nil || d.Limits[0].Remaining != want[0] || d.Limits[1].Remaining != want[1] {
				t.Fatalf("%d and %d remain, %v; want %v", d.Limits[0].Remaining, d.Limits[1].Remaining, err, want)
			}
		}
		d := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 5})
		settle(d, true, 2, 2)
		left(98, 48)
		settle(d, false, 0, 0)
		again := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 5})
		copied := again
		settle(again, true, 5, 5)
		settle(copied, false, 1, 1)
		left(93, 43)
		mixed := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 5})
		settle(mixed, true, 0, 12)
		left(93, 31)
		refunded := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 5})
		if n, err := l.Refund(t.Context(), refunded); n != 2 || err != nil {
			t.Fatalf("refund: %d, %v", n, err)
		}
		settle(refunded, false, 9, 9)
		over := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 1})
		settle(over, true, 1, 1000)
		left(92, 0)
		denied := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 1})
		if denied.Allowed || denied.RetryAfter < time.Hour {
			t.Errorf("overdrawn: allowed %v, retry after %v", denied.Allowed, denied.RetryAfter)
		}
		settle(denied, false, 7, 7)
		peeked, err := l.Peek(t.Context(), p, "other")
		if err != nil {
			t.Fatal(err)
		}
		settle(peeked, false, 7, 7)
		if settled, err := l.Settle(t.Context(), ratelimit.Decision{}, 1); settled || err != nil {
			t.Errorf("the zero Decision: %v, %v", settled, err)
		}
		// A reset forgets what was reserved, and not what is used beyond it.
		before := decide(t, l, ratelimit.Request{Policy: p, Key: "other", Cost: 5})
		if err := l.Reset(t.Context(), p, "other"); err != nil {
			t.Fatal(err)
		}
		if settled, err := l.Settle(t.Context(), before, 8); !settled || err != nil {
			t.Fatal(settled, err)
		}
		wantLeft(t, l, p, "other", 47)
	})
}

// Whoever repeats a call under its CallID, it is settled once, and allowed ever after: at
// any cost, since it no longer bears the one that it was admitted at.
func TestSettleOfRepeatedCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, _ := newLimiter(t, srv)
		p := ratelimit.MustPolicy("pay", ratelimit.Limit{Quota: 50, Window: time.Hour, Algorithm: ratelimit.SlidingLog}, ratelimit.PerDay(100))
		ask := func(id string, cost int64) ratelimit.Decision {
			return decide(t, l, ratelimit.Request{Policy: p, Key: id, Cost: cost, CallID: id})
		}
		settle := func(d ratelimit.Decision, want bool, actual int64) {
			t.Helper()
			if settled, err := l.Settle(t.Context(), d, actual); settled != want || err != nil {
				t.Fatalf("settled %v, %v; want %v", settled, err, want)
			}
		}
		left := func(key string, log, window int64) {
			t.Helper()
			d, err := l.Peek(t.Context(), p, key)
			if err != nil || d.Limits[0].Remaining != log || d.Limits[1].Remaining != window {
				t.Errorf("%s: %d and %d remain, %v; want %d and %d", key, d.Limits[0].Remaining, d.Limits[1].Remaining, err, log, window)
			}
		}
		for _, actual := range []int64{0, 2, 5, 8} {
			t.Run(fmt.Sprintf("first settles to %d", actual), func(t *testing.T) {
				id := fmt.Sprint("first", actual)
				first, repeat := ask(id, 5), ask(id, 5)
				settle(first, true, actual)
				left(id, 50-actual, 100-actual)
				settle(repeat, false, 9) // its own flag lets it try, and Redis remembers the first
				left(id, 50-actual, 100-actual)
				for _, cost := range []int64{5, 1, 40} {
					if d := ask(id, cost); !d.Allowed || !d.Repeated {
						t.Errorf("repeated at cost %d: %+v", cost, d)
					}
				}
				left(id, 50-actual, 100-actual)
			})
		}
		t.Run("a repeat settles", func(t *testing.T) {
			first, repeat := ask("debt", 5), ask("debt", 5)
			settle(repeat, true, 8)
			left("debt", 42, 92)
			settle(first, false, 0)
			if n, err := l.Refund(t.Context(), ask("debt", 5)); n != 0 || err != nil {
				t.Errorf("refund of a repeat: %d, %v", n, err)
			}
			left("debt", 42, 92)
		})
		t.Run("a repeat settles, the first is refunded", func(t *testing.T) {
			first, repeat := ask("both", 5), ask("both", 5)
			settle(repeat, true, 2) // the window's permits are the first call's: only the log gives back
			left("both", 48, 95)
			if n, err := l.Refund(t.Context(), first); n != 0 || err != nil {
				t.Errorf("refund after a repeat settled: %d limits, %v", n, err)
			}
			left("both", 48, 95)
		})
	})
}

// What is wrong with the usage is said before Redis is asked, and the decision can still
// be settled.
func TestSettleRefusesWrongUsage(t *testing.T) {
	l, _ := newLimiter(t, redistest.Embedded(t))
	p := ratelimit.MustPolicy("p", ratelimit.Limit{Name: "b", Quota: 50, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets},
		ratelimit.Limit{Name: "log", Quota: 50, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
	d := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 1})
	for _, c := range []struct {
		actual []int64
		want   string
	}{
		{[]int64{-1, 0}, "actual -1: want 0 to 1000000000"},
		{[]int64{1_000_000_001, 0}, "actual 1000000001: want 0 to 1000000000"},
		{[]int64{7, 101}, `actual 101: want at most 100 of limit "log", a SlidingLog`},
		{[]int64{7}, "actual has 1 values: want one for each of its 2 limits"},
	} {
		settled, err := l.SettleEach(t.Context(), d, c.actual)
		if want := `ratelimit: settle: policy "p": ` + c.want; settled || err == nil || err.Error() != want {
			t.Errorf("%v: %v, %v; want %s", c.actual, settled, err, want)
		}
	}
	if settled, err := l.SettleEach(t.Context(), d, []int64{1_000_000_000, 100}); !settled || err != nil {
		t.Error(settled, err)
	}
}

// In an outage the share of this process is settled here, and what FailOpen allowed not
// at all.
func TestSettleInAnOutage(t *testing.T) {
	l := awayLimiter(t)
	p := ratelimit.MustPolicy("login", ratelimit.PerHour(5))
	for range 20 { // "count only failures" does not spend successes
		d := takeDegraded(t, l, p, "right", 1)
		if settled, err := l.Settle(t.Context(), d, 0); !d.Allowed || !settled || err != nil {
			t.Fatalf("allowed %v, settled %v, %v", d.Allowed, settled, err)
		}
	}
	d := takeDegraded(t, l, p, "wrong", 2)
	if settled, err := l.Settle(t.Context(), d, 5); !settled || err != nil {
		t.Fatal(settled, err)
	}
	if settled, err := l.Settle(t.Context(), d, 0); settled || err != nil {
		t.Errorf("settled twice: %v, %v", settled, err)
	}
	if takeDegraded(t, l, p, "wrong", 1).Allowed {
		t.Error("a debt does not count")
	}
	open := takeDegraded(t, l, p.OnFailure(ratelimit.FailOpen), "open", 1)
	if settled, err := l.Settle(t.Context(), open, 3); settled || err != nil {
		t.Errorf("what FailOpen allowed: settled %v, %v", settled, err)
	}
}

// A settlement that did not happen can be tried again; one that may have happened cannot.
func TestSettleAfterErrors(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	kv := kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	l, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(100))
	d := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 5})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	settled, err := l.Settle(ended, d, 9)
	if settled || !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), `ratelimit: settle: policy "p": `) {
		t.Fatalf("with an ended context: %v, %v", settled, err)
	}
	proxy.DropReply(1)
	if settled, err := l.Settle(t.Context(), d, 9); settled || !errors.Is(err, gatekit.ErrUnknownOutcome) {
		t.Fatalf("without a reply: %v, %v", settled, err)
	}
	if settled, err := l.Settle(t.Context(), d, 9); settled || err != nil {
		t.Errorf("after an unknown outcome: %v, %v; want false", settled, err)
	}
	wantLeft(t, l, p, "k", 91)
}
