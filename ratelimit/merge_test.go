package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// sources is an Observer that counts decisions by their source.
type sources struct {
	outages
	mu sync.Mutex
	by map[ratelimit.Source]int
}

func (s *sources) Decided(_ context.Context, d ratelimit.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[ratelimit.Source]int{}
	}
	s.by[d.Source]++
}

func (s *sources) of(source ratelimit.Source) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[source]
}

// crowd asks for one key from many goroutines and returns the decisions.
func crowd(t *testing.T, l *ratelimit.Limiter, p *ratelimit.Policy, goroutines, each int) (ds []ratelimit.Decision) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			for range each {
				d, err := l.Take(context.Background(), p, "key")
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				ds = append(ds, d)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return ds
}

// TestMergeExact: of many callers of one key exactly the quota passes, each of them is
// told another Remaining, and refunds give back one permit each.
func TestMergeExact(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets} {
			t.Run(algorithm.String(), func(t *testing.T) {
				seen := &sources{}
				l, err := ratelimit.New(kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), ratelimit.Options{Observer: seen})
				if err != nil {
					t.Fatal(err)
				}
				p := ratelimit.MustPolicy("hot", ratelimit.Limit{Quota: 500, Window: time.Hour, Algorithm: algorithm},
					ratelimit.Limit{Quota: 700, Window: 2 * time.Hour})
				told := map[int64]int{}
				granted := passed(t, crowd(t, l, p, 100, 10), told)
				if len(granted) != 500 || len(told) != 500 {
					t.Errorf("%d passed and were told %d values of Remaining, want 500 of 500", len(granted), len(told))
				}
				if seen.of(ratelimit.FromMerge) == 0 || seen.of(ratelimit.FromRedis) == 0 || seen.of(ratelimit.FromMerge)+seen.of(ratelimit.FromRedis) != 1000 {
					t.Errorf("the observer saw %v", seen.by)
				}
				rand.Shuffle(len(granted), func(i, j int) { granted[i], granted[j] = granted[j], granted[i] })
				for _, d := range granted[:50] {
					for _, want := range []int{2, 0} { // a second refund finds nothing
						if n, err := l.Refund(t.Context(), d); n != want || err != nil {
							t.Fatalf("refund of %v: %d limits, %v; want %d", d.Source, n, err, want)
						}
					}
				}
				if again := passed(t, crowd(t, l, p, 100, 2), map[int64]int{}); len(again) != 50 {
					t.Errorf("%d passed after 50 refunds", len(again))
				}
			})
		}
	})
}

// passed returns the decisions that let their call pass, and counts what remained.
func passed(t *testing.T, ds []ratelimit.Decision, told map[int64]int) (granted []ratelimit.Decision) {
	t.Helper()
	for _, d := range ds {
		switch {
		case d.Degraded != nil:
			t.Error(d.Degraded)
		case d.Allowed:
			told[d.Limits[0].Remaining]++
			granted = append(granted, d)
			if d.RetryAfter != 0 || d.Limits[1].Remaining-d.Limits[0].Remaining != 200 {
				t.Errorf("allowed: %+v", d)
			}
		case d.RetryAfter <= 0 || d.RetryAfter > 2*time.Hour || d.Remaining != 0:
			t.Errorf("denied: %+v", d)
		}
	}
	return granted
}

// TestMergeLostReplies: with every fifth reply lost no permit is charged twice.
func TestMergeLostReplies(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	l, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("hot", ratelimit.PerHour(4000)).OnFailure(ratelimit.FailClosed)
	proxy.DropReplyEvery(5)
	var allowed, unknown int64
	merged := 0
	for _, d := range crowd(t, l, p, 60, 10) {
		switch {
		case errors.Is(d.Degraded, gatekit.ErrUnknownOutcome):
			unknown++
		case d.Degraded == nil && d.Allowed:
			allowed++
		case d.Degraded == nil:
			t.Errorf("denied: %+v", d)
		}
		if d.Source == ratelimit.FromMerge {
			merged++
		}
	}
	proxy.DropReplyEvery(0)
	var left ratelimit.Decision
	if !eventually(func() bool {
		left, err = l.Peek(t.Context(), p, "key")
		return err == nil && left.Degraded == nil
	}) {
		t.Fatal(err, left.Degraded)
	}
	spent := 4000 - left.Remaining
	t.Logf("%d allowed, %d of them merged, %d unknown, %d permits spent", allowed, merged, unknown, spent)
	if spent < allowed || spent > allowed+unknown || unknown == 0 || merged == 0 {
		t.Error("the permits do not fit the answers")
	}
}

// TestMergeWhileFrozen: callers of one key of a server that stands still each get the
// error of their own context, or else the fail mode's answer.
func TestMergeWhileFrozen(t *testing.T) {
	srv := redistest.NewSingle(t)
	l, err := ratelimit.New(kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 300 * time.Millisecond}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("hot", ratelimit.PerHour(4000)).OnFailure(ratelimit.FailOpen)
	srv.Nodes()[0].Freeze(t)
	var allowed, hurried, possible atomic.Int64
	var all sync.WaitGroup
	for caller := range 200 {
		all.Go(func() {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if caller%2 == 0 {
				ctx, cancel = context.WithTimeout(ctx, time.Duration(1+caller)*time.Millisecond)
			}
			defer cancel()
			d, err := l.Take(ctx, p, "key")
			switch {
			case err == nil && d.Source == ratelimit.FromFailMode && d.Allowed:
				allowed.Add(1)
			case errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, gatekit.ErrUnavailable) && caller%2 == 0:
				hurried.Add(1)
			default:
				t.Errorf("%+v, %v", d, err)
			}
			if errors.Is(err, gatekit.ErrUnknownOutcome) || errors.Is(d.Degraded, gatekit.ErrUnknownOutcome) {
				possible.Add(1)
			}
		})
	}
	all.Wait()
	srv.Nodes()[0].Thaw(t)
	var left ratelimit.Decision
	if !eventually(func() bool {
		left, err = l.Peek(t.Context(), p, "key")
		return err == nil && left.Degraded == nil
	}) {
		t.Fatal(err, left.Degraded)
	}
	t.Logf("%d by the fail mode, %d by their contexts; %d permits spent of %d that are in doubt", allowed.Load(), hurried.Load(), 4000-left.Remaining, possible.Load())
	if 4000-left.Remaining > possible.Load() {
		t.Error("permits are spent that nobody doubts")
	}
}

// TestCallerLeftWhileRedisIsAway: a caller whose context has ended does not get the fail
// mode's yes.
func TestCallerLeftWhileRedisIsAway(t *testing.T) {
	limiter := awayLimiter(t)
	p := ratelimit.MustPolicy("hot", ratelimit.PerHour(10)).OnFailure(ratelimit.FailOpen)
	ctx, cancel := context.WithCancel(t.Context())
	took := leavesWhileAsking{ctx, cancel}
	d, err := limiter.Take(took, p, "key")
	if d.Allowed || !errors.Is(err, context.Canceled) || errors.Is(err, gatekit.ErrUnavailable) {
		t.Errorf("%+v, %v; want the context's error", d, err)
	}
}

// leavesWhileAsking is the context of a caller who cancels when the call is under way.
type leavesWhileAsking struct {
	context.Context
	cancel context.CancelFunc
}

// Deadline is asked for when the call begins.
func (l leavesWhileAsking) Deadline() (time.Time, bool) {
	defer l.cancel()
	return l.Context.Deadline()
}

// TestMergedHistoriesAreLinearizable: concurrent calls of cost 1, their refunds and peeks
// have the results of some order of the calls, although most are merged.
func TestMergedHistoriesAreLinearizable(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	proxy.DelayReplies(time.Millisecond) // so that calls meet
	seen := &sources{}
	l, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), ratelimit.Options{Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets} {
		for h := range 20 {
			r := &recorder{t: t, l: l, started: time.Now(), takes: map[string][]taken{}}
			r.policy = ratelimit.MustPolicy(fmt.Sprintf("merged%d-%d", algorithm, h), ratelimit.Limit{Quota: historyQuota, Window: time.Hour, Algorithm: algorithm})
			var clients sync.WaitGroup
			for c := range 8 {
				clients.Go(func() {
					random := rand.New(rand.NewPCG(uint64(h), uint64(c)))
					for range 6 {
						switch random.IntN(4) {
						case 0:
							r.refund(c, "key", random)
						default:
							r.take(c, "key", 1)
						}
					}
				})
			}
			clients.Wait()
			if result := porcupine.CheckOperationsTimeout(limitModel, r.history, 30*time.Second); result != porcupine.Ok {
				for _, op := range r.history {
					t.Logf("client %d, %d to %d: %s", op.ClientId, op.Call, op.Return, limitModel.DescribeOperation(op.Input, op.Output))
				}
				t.Fatalf("%v, history %d: %v", algorithm, h, result)
			}
		}
	}
	if seen.of(ratelimit.FromMerge) < seen.of(ratelimit.FromRedis) {
		t.Errorf("the decisions came from %v, want most from merges", seen.by)
	}
}

// TestSources: each decision says who made it.
func TestSources(t *testing.T) {
	l, err := ratelimit.New(kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("api", ratelimit.PerHour(10))
	one, err := l.Take(t.Context(), p, "key")
	if err != nil {
		t.Fatal(err)
	}
	dear, err := l.TakeN(t.Context(), p, "key", 11)
	if err != nil {
		t.Fatal(err)
	}
	peek, err := l.Peek(t.Context(), p, "key")
	if err != nil {
		t.Fatal(err)
	}
	many, err := l.TakeMany(t.Context(), []ratelimit.Request{{Policy: p, Key: "key", Cost: 1}})
	if err != nil {
		t.Fatal(err)
	}
	away := takeDegraded(t, awayLimiter(t), p, "key", 1)
	for _, c := range []struct {
		name string
		got  ratelimit.Source
		want ratelimit.Source
		text string
	}{
		{"no decision", ratelimit.Decision{}.Source, ratelimit.FromNobody, "nobody"},
		{"Take", one.Source, ratelimit.FromRedis, "redis"},
		{"Peek", peek.Source, ratelimit.FromRedis, "redis"},
		{"TakeMany", many[0].Source, ratelimit.FromRedis, "redis"},
		{"a cost above the quota", dear.Source, ratelimit.FromQuota, "quota"},
		{"Redis is away", away.Source, ratelimit.FromFailMode, "failmode"},
		{"merged", ratelimit.FromMerge, ratelimit.FromMerge, "merge"},
		{"a later version's", ratelimit.Source(99), ratelimit.Source(99), "Source(99)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got != c.want || c.got.String() != c.text {
				t.Errorf("%v, want %v, printed as %q", c.got, c.want, c.text)
			}
		})
	}
}
