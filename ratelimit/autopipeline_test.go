package ratelimit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/lua"
	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/ratelimit"
)

// With the auto-pipeline the rules are the same: exactly the quota, and one script a decision.
func TestAutoPipelineAdmitsTheQuota(t *testing.T) {
	luatest.Each(t, func(t *testing.T, srv *luatest.Server) {
		l, err := ratelimit.New(srv.Client(t), ratelimit.Options{Prefix: luatest.Prefix(t), Budget: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		p := ratelimit.MustPolicy("auto", ratelimit.PerHour(500))
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for range 25 {
					d, err := l.Take(t.Context(), p, "k")
					if err != nil || d.Degraded != nil {
						t.Errorf("Take: %v, degraded %v", err, d.Degraded)
						return
					}
					if d.Allowed {
						admitted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := admitted.Load(); got != 500 {
			t.Errorf("admitted %d of 800, want the quota, 500", got)
		}
	})
}

// Only one form of the auto-pipeline honours a deadline; the others wait for seconds on a frozen server.
func TestAutoPipelineKeepsTheBudget(t *testing.T) {
	srv := luatest.NewSingle(t)
	opts, err := lua.RecommendedOptions(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	opts.ReadTimeout = 10 * time.Second // for who ignores the deadline
	client := redis.NewUniversalClient(opts)
	defer func() { _ = client.Close() }()
	const budget = 100 * time.Millisecond
	l, err := ratelimit.New(client, ratelimit.Options{Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("auto", ratelimit.PerHour(500)).OnFailure(ratelimit.FailClosed)
	if d, err := l.Take(t.Context(), p, "k"); err != nil || !d.Allowed {
		t.Fatalf("Take: %+v, %v", d, err)
	}
	srv.Freeze(t)
	defer srv.Thaw(t)
	var wg sync.WaitGroup
	var slowest atomic.Int64
	for range 64 { // most of them share a connection
		wg.Go(func() {
			start := time.Now()
			d, err := l.Take(context.Background(), p, "k")
			if err != nil || d.Allowed || d.Degraded == nil {
				t.Errorf("on a frozen server: %+v, %v; want a degraded denial", d, err)
			}
			for took := int64(time.Since(start)); ; {
				if was := slowest.Load(); took <= was || slowest.CompareAndSwap(was, took) {
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Duration(slowest.Load())
	t.Logf("the slowest took %v of a budget of %v", took, budget)
	if took > 10*budget {
		t.Errorf("took %v, budget %v", took, budget)
	}
}
