package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// newLimiter returns a limiter under a prefix of its own, with a budget that no loaded
// machine uses up.
func newLimiter(t *testing.T, srv *redistest.Server) (l *ratelimit.Limiter, prefix string) {
	t.Helper()
	prefix = redistest.Prefix(t)
	l, err := ratelimit.New(kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: prefix, Budget: 10 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l, prefix
}

// decide asks the limiter, and fails the test if Redis did not decide.
func decide(t *testing.T, l *ratelimit.Limiter, req ratelimit.Request) ratelimit.Decision {
	t.Helper()
	d, err := l.Do(t.Context(), req)
	if err != nil || d.Degraded != nil {
		t.Fatalf("Do: %v, degraded: %v", err, d.Degraded)
	}
	return d
}

// Any bytes make a key that differs from all others and appears nowhere in Redis.
func TestKeysOfAnyBytes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, prefix := newLimiter(t, srv)
		p := ratelimit.MustPolicy("keys", ratelimit.PerHour(1))
		marker := "MARKER"
		keys := []string{
			marker, marker + "{}", "{" + marker + "}", "{a}" + marker, "}{" + marker, marker + "\x00", "\x00" + marker, marker + "\r\n", marker + " ",
			marker + "\xff\xfe", marker + "\xff", marker + ":", ":" + marker, marker + "*?[a]", strings.Repeat(marker, 64<<10/len(marker)),
			strings.Repeat(marker, 64<<10/len(marker)) + "x", ratelimit.Join(marker, "b"), ratelimit.Join(marker+"b", ""), ratelimit.Join(marker, "", "b"),
		}
		for round, want := range []bool{true, false} {
			for i, key := range keys {
				t.Run(fmt.Sprintf("round %d, key %d, %.20q", round, i, key), func(t *testing.T) {
					if d := decide(t, l, ratelimit.Request{Policy: p, Key: key, Cost: 1}); d.Allowed != want {
						t.Errorf("round %d, key %d (%.20q): allowed %v, want %v: keys mix", round, i, key, d.Allowed, want)
					}
				})
			}
		}
		names := redistest.Keys(t, srv.Client(t), prefix)
		if len(names) != len(keys) {
			t.Errorf("%d keys in Redis, want %d", len(names), len(keys))
		}
		for _, name := range names {
			if strings.Contains(name, marker) || strings.Count(name, "{") != 1 || len(name) > 120 {
				t.Errorf("key name %q: holds the key, or not one hash tag, or is long", name)
			}
		}
	})
}

// A wrong argument returns an error that names the field and its range, before Redis is
// asked.
func TestRefusals(t *testing.T) {
	ok := ratelimit.PerSecond(10)
	for _, c := range []struct {
		name   string
		limits []ratelimit.Limit
		policy string
		want   []string
	}{
		{"policy name", []ratelimit.Limit{ok}, "a b", []string{"name", "1 to 32"}},
		{"no policy name", []ratelimit.Limit{ok}, "", []string{"name", "1 to 32"}},
		{"no limits", nil, "p", []string{"0 limits", "1 to 8"}},
		{"limit name", []ratelimit.Limit{{Name: "{x}", Quota: 1, Window: time.Second}}, "p", []string{"Name", "{x}"}},
		{"quota 0", []ratelimit.Limit{{Window: time.Second}}, "p", []string{"Quota 0", "1 to 4096"}},
		{"quota below 0", []ratelimit.Limit{{Quota: -1, Window: time.Second}}, "p", []string{"Quota -1", "1 to 4096"}},
		{"quota of a list", []ratelimit.Limit{{Quota: 4097, Window: time.Second}}, "p", []string{"Quota 4097", "1 to 4096", "SlidingBuckets"}},
		{"quota of a log", []ratelimit.Limit{{Quota: 4097, Window: time.Second, Algorithm: ratelimit.SlidingLog}}, "p", []string{"Quota 4097", "1 to 4096"}},
		{"quota of buckets", []ratelimit.Limit{{Quota: 1e9 + 1, Window: time.Second, Algorithm: ratelimit.SlidingBuckets}}, "p", []string{"Quota 1000000001", "1 to 1000000000"}},
		{"window 0", []ratelimit.Limit{{Quota: 1}}, "p", []string{"Window 0s", "1ms to 9600h"}},
		{"window short", []ratelimit.Limit{{Quota: 1, Window: ratelimit.MinWindow - 1}}, "p", []string{"Window", "1ms to 9600h"}},
		{"window long", []ratelimit.Limit{{Quota: 1, Window: ratelimit.MaxWindow + 1}}, "p", []string{"Window", "1ms to 9600h"}},
		{"window of nanoseconds", []ratelimit.Limit{{Quota: 1, Window: time.Second + 1}}, "p", []string{"Window", "whole microseconds"}},
		{"algorithm", []ratelimit.Limit{{Quota: 1, Window: time.Second, Algorithm: 9}}, "p", []string{"Algorithm 9"}},
		{"name twice", []ratelimit.Limit{ok, {Name: "second", Quota: 1, Window: time.Hour}}, "p", []string{`Name "second" twice`}},
		{"window twice", []ratelimit.Limit{ok, {Name: "other", Quota: 5, Window: time.Second}}, "p", []string{"Window 1s", "twice"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ratelimit.NewPolicy(c.policy, c.limits...)
			if err == nil {
				t.Errorf("accepted")
				return
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}

	srv := redistest.NewSingle(t)
	client := srv.Client(t)
	for _, c := range []struct {
		opts ratelimit.Options
		want string
	}{
		{ratelimit.Options{Instances: -1}, "Instances -1: want 1 to 1000000"},
	} {
		if _, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{}), c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.opts, err, c.want)
		}
	}
	if _, err := ratelimit.New(nil, ratelimit.Options{}); err == nil || !strings.Contains(err.Error(), "gatekit.Open") {
		t.Errorf("no client: %v", err)
	}

	l, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(1000))
	named := ratelimit.MustPolicy("named", ratelimit.Limit{Quota: 1000, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	commands := redistest.Commands(t, client, func() {
		for _, c := range []struct {
			ctx  context.Context
			req  ratelimit.Request
			want string
		}{
			{t.Context(), ratelimit.Request{Key: "k", Cost: 1}, "policy is nil"},
			{t.Context(), ratelimit.Request{Policy: p, Cost: 1}, "key is empty"},
			{t.Context(), ratelimit.Request{Policy: p, Key: "k"}, "cost 0: want 1 to 1000000000"},
			{t.Context(), ratelimit.Request{Policy: p, Key: "k", Cost: -5}, "cost -5: want 1 to 1000000000"},
			{t.Context(), ratelimit.Request{Policy: named, Key: "k", Cost: ratelimit.MaxLogCost + 1}, "cost 101: want at most 100"},
			{ended, ratelimit.Request{Policy: p, Key: "k", Cost: 1}, "context canceled"},
		} {
			t.Run(c.want, func(t *testing.T) {
				if d, err := l.Do(c.ctx, c.req); err == nil || !strings.Contains(err.Error(), c.want) || d.Allowed {
					t.Errorf("%+v: %v, want %q", c.req, err, c.want)
				}
				if _, err := l.TakeMany(c.ctx, []ratelimit.Request{{Policy: p, Key: "k", Cost: 1}, c.req}); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("TakeMany %+v: %v, want %q", c.req, err, c.want)
				}
			})
		}
		// A cost above the quota is an answer, and Redis need not give it.
		d, err := l.TakeN(t.Context(), p, "k", 1001)
		if err != nil || d.Allowed || d.RetryAfter != ratelimit.Never || d.Remaining != ratelimit.Unknown {
			t.Errorf("cost above the quota: %+v, %v; want denied for ever", d, err)
		}
	})
	if commands.Total() != 0 {
		t.Errorf("refusals sent %v to Redis, want nothing", commands)
	}
}

// Values at the ends of the ranges work like values in the middle.
func TestExtremes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, prefix := newLimiter(t, srv)
		for _, c := range []struct {
			limit ratelimit.Limit
			cost  int64
		}{
			{ratelimit.Limit{Quota: 1, Window: 400 * 24 * time.Hour}, 1},
			{ratelimit.Limit{Quota: 4096, Window: 400 * 24 * time.Hour}, 4096},
			{ratelimit.Limit{Quota: 4096, Window: 400 * 24 * time.Hour}, 1365},
			{ratelimit.Limit{Quota: 1, Window: 400 * 24 * time.Hour, Algorithm: ratelimit.SlidingBuckets}, 1},
			{ratelimit.Limit{Quota: 1e9, Window: 400 * 24 * time.Hour, Algorithm: ratelimit.SlidingBuckets}, 1e9},
			{ratelimit.Limit{Quota: 1e9, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets}, 333_333_333},
			{ratelimit.Limit{Quota: 1, Window: 400 * 24 * time.Hour, Algorithm: ratelimit.SlidingLog}, 1},
			{ratelimit.Limit{Quota: 100, Window: time.Hour, Algorithm: ratelimit.SlidingLog}, 100},
		} {
			name := fmt.Sprintf("%v quota %d window %v cost %d", c.limit.Algorithm, c.limit.Quota, c.limit.Window, c.cost)
			t.Run(name, func(t *testing.T) {
				p := ratelimit.MustPolicy("extreme", c.limit)
				left := c.limit.Quota
				for left >= c.cost {
					d := decide(t, l, ratelimit.Request{Policy: p, Key: name, Cost: c.cost})
					if left -= c.cost; !d.Allowed || d.Remaining != left {
						t.Fatalf("%s: allowed %v, remaining %d, want %d", name, d.Allowed, d.Remaining, left)
					}
				}
				d := decide(t, l, ratelimit.Request{Policy: p, Key: name, Cost: c.cost})
				if d.Allowed || d.Remaining != left || d.RetryAfter <= 0 || d.RetryAfter > c.limit.Window+c.limit.Window/8 {
					t.Errorf("%s, quota used up: %+v", name, d)
				}
			})
		}
		redistest.NoImmortalKeys(t, srv.Client(t), prefix)
	})
}

// A window of a millisecond lets its quota pass and is whole again a millisecond later,
// and its keys do not stay.
func TestShortestWindow(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, prefix := newLimiter(t, srv)
		for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets, ratelimit.SlidingLog} {
			p := ratelimit.MustPolicy("short", ratelimit.Limit{Quota: 3, Window: time.Millisecond, Algorithm: algorithm})
			for i := range 20 {
				d := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 3})
				if d.RetryAfter > 2*time.Millisecond {
					t.Errorf("%v: RetryAfter %v in a window of 1ms", algorithm, d.RetryAfter)
				}
				time.Sleep(d.RetryAfter)
				if i > 0 && d.RetryAfter > 0 {
					if d := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 3}); !d.Allowed {
						t.Errorf("%v: denied after its RetryAfter", algorithm)
					}
				}
			}
		}
		redistest.NoImmortalKeys(t, srv.Client(t), prefix)
	})
}

// A quota that changes while the program runs keeps what was spent; a window that changes
// is another limit.
func TestChangesWhileRunning(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets, ratelimit.SlidingLog} {
			l, _ := newLimiter(t, srv)
			plan := func(quota int64, window time.Duration) *ratelimit.Policy {
				return ratelimit.MustPolicy("plan", ratelimit.Limit{Name: "main", Quota: quota, Window: window, Algorithm: algorithm})
			}
			take := func(t *testing.T, p *ratelimit.Policy) ratelimit.Decision {
				return decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 1})
			}
			for range 5 {
				take(t, plan(5, time.Hour))
			}
			for i, step := range []struct {
				quota     int64
				allowed   bool
				remaining int64
			}{{5, false, 0}, {3, false, 0}, {7, true, 1}, {7, true, 0}, {7, false, 0}, {4, false, 0}, {10, true, 2}} {
				t.Run(fmt.Sprintf("%v, step %d, quota %d", algorithm, i, step.quota), func(t *testing.T) {
					if d := take(t, plan(step.quota, time.Hour)); d.Allowed != step.allowed || d.Remaining != step.remaining {
						t.Errorf("%v, quota now %d: allowed %v with %d left, want %v with %d",
							algorithm, step.quota, d.Allowed, d.Remaining, step.allowed, step.remaining)
					}
				})
			}
			if d := take(t, plan(10, 2*time.Hour)); !d.Allowed || d.Remaining != 9 {
				t.Errorf("%v, another window: %+v, want an empty limit", algorithm, d)
			}
		}
	})
}

// A decision is refunded once, however many goroutines try, and gives back what it took.
func TestRefundOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, _ := newLimiter(t, srv)
		p := ratelimit.MustPolicy("refund",
			ratelimit.Limit{Name: "w", Quota: 10, Window: time.Hour},
			ratelimit.Limit{Name: "b", Quota: 10, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets},
			ratelimit.Limit{Name: "l", Quota: 10, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
		decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 3})
		d := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 4})
		var given atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			copied := d
			wg.Go(func() {
				n, err := l.Refund(t.Context(), copied)
				if err != nil {
					t.Errorf("Refund: %v", err)
				}
				given.Add(int64(n))
			})
		}
		wg.Wait()
		if given.Load() != 3 {
			t.Errorf("refunded in %d limits, want each of 3 once", given.Load())
		}
		peek, err := l.Peek(t.Context(), p, "k")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range peek.Limits {
			if s.Remaining != 7 {
				t.Errorf("%s: %d left after the refund, want 7", s.Name, s.Remaining)
			}
		}
		for _, nothing := range []ratelimit.Decision{{}, peek, decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 8})} {
			if n, err := l.Refund(t.Context(), nothing); n != 0 || err != nil {
				t.Errorf("refund of what spent nothing: %d, %v", n, err)
			}
		}
	})
}

// A call with an id is charged once. An admission is remembered, a denial is not. After a
// refund a repeat is free. Another cost is an error.
func TestCallID(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, prefix := newLimiter(t, srv)
		p := ratelimit.MustPolicy("calls", ratelimit.Limit{Quota: 3, Window: time.Hour, Algorithm: ratelimit.SlidingLog})
		call := func(id string, cost int64) (ratelimit.Decision, error) {
			return l.Do(t.Context(), ratelimit.Request{Policy: p, Key: "k", Cost: cost, CallID: id})
		}
		first, err := call("a", 2)
		if err != nil || !first.Allowed || first.Repeated || first.Remaining != 1 {
			t.Fatalf("first: %+v, %v", first, err)
		}
		again, err := call("a", 2)
		if err != nil || !again.Allowed || !again.Repeated || again.Remaining != 1 {
			t.Errorf("again: %+v, %v; want allowed, repeated, nothing spent", again, err)
		}
		for _, cost := range []int64{1, 3} {
			if _, err := call("a", cost); !errors.Is(err, ratelimit.ErrOtherCost) {
				t.Errorf("again at cost %d: %v, want ErrOtherCost", cost, err)
			}
		}
		if d, err := call("b", 2); err != nil || d.Allowed {
			t.Errorf("over the quota: %+v, %v", d, err)
		}
		if n, err := l.Refund(t.Context(), first); n != 1 || err != nil {
			t.Errorf("Refund: %d, %v", n, err)
		}
		if d, err := call("b", 2); err != nil || !d.Allowed || d.Repeated {
			t.Errorf("a denial was sticky: %+v, %v", d, err)
		}
		if d, err := call("a", 2); err != nil || !d.Allowed || !d.Repeated || d.Remaining != 1 {
			t.Errorf("after the refund: %+v, %v; want allowed and free", d, err)
		}
		redistest.NoImmortalKeys(t, srv.Client(t), prefix)
		if err := l.Reset(t.Context(), p, "k"); err != nil {
			t.Error(err)
		}
		if d, err := call("a", 2); err != nil || !d.Allowed || d.Repeated || d.Remaining != 1 {
			t.Errorf("after Reset: %+v, %v; want a fresh limit", d, err)
		}
	})
}

// Of several limits none is spent unless all pass, and the decision says what each has
// left.
func TestAllOrNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, _ := newLimiter(t, srv)
		p := ratelimit.MustPolicy("both",
			ratelimit.Limit{Name: "wide", Quota: 100, Window: time.Hour},
			ratelimit.Limit{Name: "narrow", Quota: 2, Window: 2 * time.Hour},
			ratelimit.Limit{Name: "buckets", Quota: 50, Window: 3 * time.Hour, Algorithm: ratelimit.SlidingBuckets})
		for i := range 6 {
			d := decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 1})
			spent := min(int64(i+1), 2)
			if d.Allowed != (i < 2) {
				t.Fatalf("call %d: allowed %v", i, d.Allowed)
			}
			for n, want := range []int64{100 - spent, 2 - spent, 50 - spent} {
				if got := d.Limits[n].Remaining; got != want {
					t.Errorf("call %d, %s: %d left, want %d: a denial was charged", i, d.Limits[n].Name, got, want)
				}
			}
			if !d.Allowed && (d.Limits[0].RetryAfter != 0 || d.Limits[1].RetryAfter != d.RetryAfter || d.RetryAfter <= 0) {
				t.Errorf("call %d: RetryAfter %v of %v", i, d.RetryAfter, d.Limits)
			}
		}
	})
}

// TakeMany decides in order where keys are equal, and each request by itself.
func TestTakeMany(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, _ := newLimiter(t, srv)
		small := ratelimit.MustPolicy("small", ratelimit.PerHour(2))
		large := ratelimit.MustPolicy("large", ratelimit.PerHour(100), ratelimit.PerDay(1000))
		var reqs []ratelimit.Request
		for i := range 30 {
			reqs = append(reqs,
				ratelimit.Request{Policy: small, Key: "same", Cost: 1},
				ratelimit.Request{Policy: large, Key: fmt.Sprint("other ", i), Cost: 10},
				ratelimit.Request{Policy: small, Key: "never", Cost: 3})
		}
		ds, err := l.TakeMany(t.Context(), reqs)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range ds {
			var want bool
			switch i % 3 {
			case 0:
				want = i/3 < 2
			case 1:
				want = true
			case 2:
				if d.RetryAfter != ratelimit.Never {
					t.Errorf("request %d: RetryAfter %v, want Never", i, d.RetryAfter)
				}
			}
			if d.Allowed != want || d.Degraded != nil {
				t.Errorf("request %d: %+v, want allowed %v", i, d, want)
			}
		}
		if n, err := l.RefundMany(t.Context(), ds); err != nil || n != 2+2*30 {
			t.Errorf("RefundMany: %d limits, %v; want %d", n, err, 2+2*30)
		}
		if ds, err := l.TakeMany(t.Context(), nil); err != nil || len(ds) != 0 {
			t.Errorf("TakeMany of nothing: %v, %v", ds, err)
		}
	})
}

// Policies of one name share what they count; policies of different names do not.
func TestPolicyNames(t *testing.T) {
	l, _ := newLimiter(t, redistest.Single(t))
	one := func(name string) *ratelimit.Policy { return ratelimit.MustPolicy(name, ratelimit.PerHour(1)) }
	for _, c := range []struct {
		name, key string
		allowed   bool
	}{{"a", "k", true}, {"a", "k", false}, {"b", "k", true}, {"a", "k2", true}, {"ak", "2", true}} {
		t.Run(c.name, func(t *testing.T) {
			if d := decide(t, l, ratelimit.Request{Policy: one(c.name), Key: c.key, Cost: 1}); d.Allowed != c.allowed {
				t.Errorf("policy %q, key %q: allowed %v, want %v", c.name, c.key, d.Allowed, c.allowed)
			}
		})
	}
}

// The memory of one key in Redis, by MEMORY USAGE.
func TestMemory(t *testing.T) {
	redistest.Long(t)
	srv := redistest.NewSingle(t)
	client := srv.Client(t)
	l, prefix := newLimiter(t, srv)
	for _, c := range []struct {
		algorithm ratelimit.Algorithm
		quota     int64
		most      int64
	}{
		{ratelimit.SlidingWindow, 100, 1300},
		{ratelimit.SlidingWindow, 1000, 11 << 10},
		{ratelimit.SlidingWindow, 4000, 45 << 10},
		{ratelimit.SlidingBuckets, 1e9, 1 << 10},
	} {
		const window = 1700 * time.Millisecond
		p := ratelimit.MustPolicy("memory", ratelimit.Limit{Name: fmt.Sprint("n", c.quota), Quota: c.quota, Window: time.Hour, Algorithm: c.algorithm})
		if c.algorithm == ratelimit.SlidingBuckets {
			p = ratelimit.MustPolicy("memory", ratelimit.Limit{Name: "buckets", Quota: c.quota, Window: window, Algorithm: c.algorithm})
			for range 40 { // all of its buckets
				decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: c.quota / 100})
				time.Sleep(window / 34)
			}
		} else {
			reqs := make([]ratelimit.Request, c.quota)
			for i := range reqs {
				reqs[i] = ratelimit.Request{Policy: p, Key: "k", Cost: 1}
			}
			if _, err := l.TakeMany(t.Context(), reqs); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range redistest.Keys(t, client, prefix) {
			used, err := client.MemoryUsage(t.Context(), name).Result()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v, quota %d: %d bytes", c.algorithm, c.quota, used)
			if used > c.most {
				t.Errorf("%v, quota %d: %d bytes, want at most %d", c.algorithm, c.quota, used, c.most)
			}
		}
		if err := l.Reset(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
	}
}

// A lost reply is never charged twice, and the decision says that it may have been
// charged once.
func TestLostReplyIsChargedOnce(t *testing.T) {
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Addrs()[0])
	l, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("lost", ratelimit.PerHour(100)).OnFailure(ratelimit.FailClosed)
	decide(t, l, ratelimit.Request{Policy: p, Key: "k", Cost: 1}) // loads the script
	const lost = 10
	spent := int64(1)
	for unknown := 0; unknown < lost; spent++ {
		proxy.DropReply(1)
		d, err := l.Take(t.Context(), p, "k")
		switch {
		case err != nil || d.Degraded != nil && (d.Allowed || !errors.Is(d.Degraded, gatekit.ErrUnknownOutcome)):
			t.Fatalf("lost reply: %+v, %v; want a degraded denial of unknown outcome", d, err)
		case d.Degraded != nil:
			unknown++
		case spent > 5*lost:
			t.Fatalf("%d of %d replies were lost, want %d", unknown, spent, lost)
		}
		// If the decision is not Degraded, the proxy dropped the reply to a probe of the
		// breaker, which started after an earlier lost reply.
	}
	d, err := l.Peek(t.Context(), p, "k")
	if err != nil || d.Remaining != 100-spent {
		t.Errorf("%d left of 100 after %d calls, %d replies lost; want %d", d.Remaining, spent, lost, 100-spent)
	}
}
