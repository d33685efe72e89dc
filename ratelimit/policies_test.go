package ratelimit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// policies returns a set with policies of the name "api", by their names in the set.
func policies(t testing.TB, set map[string]*ratelimit.Policy) *ratelimit.Policies {
	t.Helper()
	s := new(ratelimit.Policies)
	if err := s.Replace(set); err != nil {
		t.Fatal(err)
	}
	return s
}

func apiPerHour(quota int64) *ratelimit.Policy {
	return ratelimit.MustPolicy("api", ratelimit.PerHour(quota))
}

func planNamed(name string) func(*http.Request) string {
	return func(*http.Request) string { return name }
}

// A set is replaced as a whole or not at all.
func TestPoliciesAreReplacedAsAWhole(t *testing.T) {
	set := policies(t, map[string]*ratelimit.Policy{"free": apiPerHour(10), "pro": apiPerHour(100)})
	before, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"free":{"name":"api","limits":[{"name":"hour","quota":10,"window":"1h0m0s","algorithm":"SlidingWindow"}],"fail_mode":"FailLocal"},` +
		`"pro":{"name":"api","limits":[{"name":"hour","quota":100,"window":"1h0m0s","algorithm":"SlidingWindow"}],"fail_mode":"FailLocal"}}`
	if string(before) != want {
		t.Errorf("got %s, want %s", before, want)
	}
	if err := set.Require("free"); err != nil {
		t.Fatal(err)
	}
	good := `{"name": "api", "limits": [{"quota": 7, "window": "1h", "name": "hour"}]}`
	for _, c := range []struct{ name, text, want string }{
		{"a range", `{"free": ` + good + `, "pro": {"name": "api", "limits": [{"quota": 1, "window": "1s"}, {"quota": 0, "window": "1m"}]}}`,
			`policies["pro"].limits[1].quota 0: want 1 to 4096 with SlidingWindow`},
		{"a field", `{"free": ` + good + `, "pro": {"name": "api", "limit": []}}`, `policies["pro"].limit: no such field`},
		{"a name", `{"free": ` + good + `, "p o": ` + good + `}`, `policies: name "p o": want 1 to 32`},
		{"twice", `{"free": ` + good + `, "free": ` + good + `}`, "free: it is there twice"},
		{"null", `{"free": null}`, `policies["free"]: want an object in braces`},
		{"a list", `[` + good + `]`, "want an object in braces"},
		{"none", `{}`, "policies: there are none"},
		{"a required one is gone", `{"pro": ` + good + `}`, `policies: no "free", which the program requires`},
	} {
		if err := set.UnmarshalJSON([]byte(c.text)); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: "+c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	for name, wrong := range map[string]*ratelimit.Policy{
		`policies["free"]: policy is nil`: nil, `policies["free"]: policy is the zero Policy`: {}, `policies["free"]: the Policies have no policy "gone"`: set.Get("gone"),
	} {
		if err := set.Replace(map[string]*ratelimit.Policy{"free": wrong}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
	if after, err := json.Marshal(set); err != nil || string(after) != want {
		t.Errorf("after wrong sets: got %s, %v, want %s", after, err, want)
	}
	mine := map[string]*ratelimit.Policy{"free": apiPerHour(1)}
	if err := set.Replace(mine); err != nil {
		t.Fatal(err)
	}
	mine["pro"] = apiPerHour(2)
	if after, err := json.Marshal(set); err != nil || strings.Contains(string(after), "pro") {
		t.Errorf("the set is the caller's map: %s, %v", after, err)
	}
	if err := json.Unmarshal([]byte(want), set); err != nil || set.Get("pro").Limits()[0].Quota != 100 {
		t.Errorf("read again: %v, %v", set.Get("pro").Limits(), err)
	}
}

func TestRequiredPolicies(t *testing.T) {
	set := new(ratelimit.Policies)
	if err := set.Require("free"); err == nil || err.Error() != `ratelimit: policies: no "free", which the program requires` {
		t.Errorf("of an empty set: got %v", err)
	}
	if err := set.Replace(map[string]*ratelimit.Policy{"pro": apiPerHour(1)}); err != nil {
		t.Errorf("what an error of Require named is not required: %v", err)
	}
	if err := set.Require("pro"); err != nil {
		t.Fatal(err)
	}
	if err := set.Require("free", "gold", "pro"); err == nil || !strings.Contains(err.Error(), `no "free", "gold", which`) {
		t.Errorf("got %v, want both names", err)
	}
	if err := set.Replace(map[string]*ratelimit.Policy{"free": apiPerHour(1)}); err == nil || !strings.Contains(err.Error(), `no "pro", which`) {
		t.Errorf("without a required policy: got %v", err)
	}
	if text, err := json.Marshal(new(ratelimit.Policies)); err != nil || string(text) != "{}" {
		t.Errorf("the empty set: got %s, %v", text, err)
	}
}

// A policy that the set does not have is an error for each call. It never means that
// nothing is limited.
func TestVanishedPolicyIsTold(t *testing.T) {
	var log bytes.Buffer
	limiter, ctx := loggingLimiter(t, redistest.Embedded(t), ratelimit.Options{}, &log), context.Background()
	set := policies(t, map[string]*ratelimit.Policy{"free": apiPerHour(10), "pro": apiPerHour(100)})
	rule := ratelimit.Rule{PolicyFunc: set.Choose(planNamed("pro")), Key: byIP}
	gate := newGate(t, limiter, ratelimit.GateOptions{}, rule)
	rule.DryRun = true
	dry := newGate(t, limiter, ratelimit.GateOptions{}, rule)
	wantStatus(t, gate.Check(apiRequest(), ""), 0)
	if err := set.Replace(map[string]*ratelimit.Policy{"free": apiPerHour(10)}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, gate.Check(apiRequest(), ""), 500)
	if text := `the Policies have no policy \"pro\"`; !strings.Contains(log.String(), text) {
		t.Errorf("logged %s, want %s", log.String(), text)
	}
	wantStatus(t, dry.Check(apiRequest(), ""), 0)
	rule = ratelimit.Rule{PolicyFunc: set.Choose(planNamed("pro")), Key: ratelimit.ByHeader("X-None")}
	wantStatus(t, newGate(t, limiter, ratelimit.GateOptions{}, rule).Check(apiRequest(), ""), 500)
	rule.Key, rule.CallID = byIP, planNamed("id")
	wantStatus(t, newGate(t, limiter, ratelimit.GateOptions{}, rule).Check(apiRequest(), ""), 500)
	gone := set.Get("pro")
	calls := map[string]func() error{
		"Take": func() error { _, err := limiter.Take(ctx, gone, "k"); return err },
		"TakeMany": func() error {
			_, err := limiter.TakeMany(ctx, []ratelimit.Request{{Policy: gone, Key: "k", Cost: 1}})
			return err
		},
		"Peek":  func() error { _, err := limiter.Peek(ctx, gone, "k"); return err },
		"Reset": func() error { return limiter.Reset(ctx, gone, "k") },
		"NewGate": func() error {
			_, err := ratelimit.NewGate(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: gone, Key: byIP})
			return err
		},
		"MarshalJSON": func() error { _, err := json.Marshal(gone); return err },
	}
	for name, call := range calls {
		if err := call(); err == nil || !strings.Contains(err.Error(), `the Policies have no policy "pro"`) {
			t.Errorf("%s: got %v, want an error that names the policy", name, err)
		}
	}
	if _, err := limiter.Take(ctx, new(ratelimit.Policy), "k"); err == nil || !strings.Contains(err.Error(), "zero Policy") {
		t.Errorf("the zero Policy: got %v", err)
	}
	// An empty name means that the rule does not apply.
	gate = newGate(t, limiter, ratelimit.GateOptions{}, ratelimit.Rule{PolicyFunc: set.Choose(planNamed("")), Key: byIP})
	if v := gate.Check(apiRequest(), ""); v.Status != 0 || len(v.Decisions) != 0 {
		t.Errorf("without a name: got %+v", v)
	}
}

// A swap forgets nothing if name, window and algorithm stay. Otherwise the limit starts
// empty.
func TestSwapKeepsWhatWasSpent(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		limiter, ctx := gateLimiter(t, s, ratelimit.Options{}), context.Background()
		set := policies(t, map[string]*ratelimit.Policy{"plan": apiPerHour(10)})
		swap := func(p *ratelimit.Policy) {
			t.Helper()
			if err := set.Replace(map[string]*ratelimit.Policy{"plan": p}); err != nil {
				t.Fatal(err)
			}
		}
		// takeAll takes until it is denied, and returns how often it was not.
		takeAll := func() (n int64) {
			for {
				d, err := limiter.Take(ctx, set.Get("plan"), "k")
				if err != nil || d.Degraded != nil {
					t.Fatal(d, err)
				}
				if !d.Allowed {
					return n
				}
				n++
			}
		}
		first, err := limiter.TakeN(ctx, set.Get("plan"), "k", 5)
		if err != nil || !first.Allowed {
			t.Fatal(first, err)
		}
		for _, step := range []struct{ quota, left int64 }{{8, 3}, {20, 15}, {4, 0}, {10, 5}} {
			swap(apiPerHour(step.quota))
			wantLeft(t, limiter, set.Get("plan"), "k", step.left)
		}
		if n := takeAll(); n != 5 {
			t.Errorf("%d passed after the quota was 10 again, want 5", n)
		}
		swap(apiPerHour(8))
		if n, err := limiter.Refund(ctx, first); n != 1 || err != nil {
			t.Errorf("the refund of a decision under an old set: got %d, %v", n, err)
		}
		if n := takeAll(); n != 3 {
			t.Errorf("%d passed after the refund, want 3 of 8", n)
		}
		wide := ratelimit.MustPolicy("api", ratelimit.Limit{Name: "hour", Quota: 6, Window: 2 * time.Hour})
		swap(wide)
		if n := takeAll(); n != 6 {
			t.Errorf("%d passed in another window, want its whole quota of 6", n)
		}
		swap(ratelimit.MustPolicy("api", ratelimit.Limit{Name: "hour", Quota: 7, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets}))
		if n := takeAll(); n != 7 {
			t.Errorf("%d passed under another algorithm, want its whole quota of 7", n)
		}
		swap(wide)
		if n := takeAll(); n != 0 {
			t.Errorf("%d passed after the swap back, want 0: its permits stayed spent", n)
		}
	})
}

// Swaps while many take, on servers where nothing else decides: never more than the
// larger quota, and no call is without a limit.
func TestSwapWhileManyTake(t *testing.T) {
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets, ratelimit.SlidingLog} {
		t.Run(algorithm.String(), func(t *testing.T) { swapWhileManyTake(t, algorithm) })
	}
}

func swapWhileManyTake(t *testing.T, algorithm ratelimit.Algorithm) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		const small, large, takers, takes = 60, 150, 64, 10
		limiter, ctx := gateLimiter(t, s, ratelimit.Options{}), context.Background()
		set := func(quota int64) map[string]*ratelimit.Policy {
			return map[string]*ratelimit.Policy{"plan": ratelimit.MustPolicy("api", ratelimit.Limit{Quota: quota, Window: time.Hour, Algorithm: algorithm})}
		}
		sets := []map[string]*ratelimit.Policy{set(small), set(large)}
		plans := policies(t, sets[0])
		var net, quotas atomic.Int64
		done := make(chan struct{})
		var swapper, group sync.WaitGroup
		swapper.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := plans.Replace(sets[i%2]); err != nil {
					t.Error(err)
				}
				if err := plans.UnmarshalJSON([]byte(`{"plan": {"name": "api", "limits": []}}`)); err == nil {
					t.Error("a wrong set came into force")
				}
				time.Sleep(time.Millisecond)
			}
		})
		for taker := range takers {
			group.Go(func() {
				for range takes {
					d, err := limiter.Take(ctx, plans.Get("plan"), "k")
					if err != nil || d.Degraded != nil || len(d.Limits) != 1 {
						t.Errorf("%+v, %v", d, err)
						continue
					}
					if quota := d.Limits[0].Quota; quota != small && quota != large {
						t.Errorf("decided by a quota of %d", quota)
					} else {
						quotas.Or(1 << (quota / large))
					}
					if !d.Allowed {
						continue
					}
					if n := net.Add(1); taker%8 == 0 { // gives back, under whatever set is in force by now
						net.Add(-1)
						if got, err := limiter.Refund(ctx, d); got != 1 || err != nil {
							t.Errorf("refund %d: got %d, %v", n, got, err)
						}
					}
				}
			})
		}
		group.Wait()
		close(done)
		swapper.Wait()
		if n := net.Load(); n > large || n < small {
			t.Errorf("%d passed, want %d to %d", n, small, large)
		}
		if err := plans.Replace(sets[1]); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, limiter, plans.Get("plan"), "k", large-net.Load())
		if quotas.Load() != 3 {
			t.Log("the swaps came too late to be seen: only one of the quotas decided")
		}
	})
}

// Without Redis the process counts on across a swap.
func TestSwapWithoutRedis(t *testing.T) {
	limiter := awayLimiter(t)
	set := policies(t, map[string]*ratelimit.Policy{"plan": apiPerHour(3)})
	for want, quota := range []int64{3, 5, 4, 1} {
		if err := set.Replace(map[string]*ratelimit.Policy{"plan": apiPerHour(quota)}); err != nil {
			t.Fatal(err)
		}
		d := takeDegraded(t, limiter, set.Get("plan"), "k", 1)
		if allowed := want < 3; d.Allowed != allowed {
			t.Errorf("permit %d of %d: allowed is %v, want %v", want+1, quota, d.Allowed, allowed)
		}
	}
}
