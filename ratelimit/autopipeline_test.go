package ratelimit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// With the auto-pipeline the rules are the same: exactly the quota, and one script a
// decision.
func TestAutoPipelineAdmitsTheQuota(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l, err := ratelimit.New(kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
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

// A pipeline that waits for a frozen server keeps no caller beyond the budget.
func TestAutoPipelineKeepsTheBudget(t *testing.T) {
	srv := redistest.NewSingle(t)
	opts, err := gatekit.RecommendedOptions(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	opts.ReadTimeout = 2 * time.Minute // for a form that would ignore the deadline
	client := redis.NewUniversalClient(opts)
	defer func() { _ = client.Close() }()
	const budget = 100 * time.Millisecond
	l, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Budget: budget}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := ratelimit.MustPolicy("auto", ratelimit.PerHour(500)).OnFailure(ratelimit.FailClosed)
	// These calls set up a connection, which may take long on a busy machine.
	for end := time.Now().Add(time.Minute); ; {
		d, err := l.Take(t.Context(), p, "k")
		if err == nil && d.Allowed {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("Take: %+v, %v", d, err)
		}
	}
	srv.Freeze(t)
	defer srv.Thaw(t)
	var wg sync.WaitGroup
	still := redistest.WatchStandstill(t)
	for range 64 { // most of them share a connection
		wg.Go(func() {
			start := time.Now()
			d, err := l.Take(context.Background(), p, "k")
			if err != nil || d.Allowed || d.Degraded == nil {
				t.Errorf("on a frozen server: %+v, %v; want a degraded denial", d, err)
			}
			still.Within(t, "a call on a frozen server", start, 2*budget)
		})
	}
	wg.Wait()
}
