package ratelimit_test

import (
	"context"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// A call that was repeated under its CallID spent nothing, so its refund gives nothing
// back of what the first call spent.
func TestRefundOfARepeatGivesNothingBack(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		limiter, ctx := gateLimiter(t, s, ratelimit.Options{}), context.Background()
		p := ratelimit.MustPolicy("pay", ratelimit.Limit{Quota: 2, Window: time.Hour, Algorithm: ratelimit.SlidingLog}, ratelimit.PerDay(5))
		req := ratelimit.Request{Policy: p, Key: "k", Cost: 1, CallID: "order 7"}
		first, err := limiter.Do(ctx, req)
		if err != nil || !first.Allowed || first.Repeated {
			t.Fatalf("first call: %+v, %v", first, err)
		}
		again, err := limiter.Do(ctx, req)
		if err != nil || !again.Allowed || !again.Repeated {
			t.Fatalf("second call: %+v, %v", again, err)
		}
		if n, err := limiter.RefundMany(ctx, []ratelimit.Decision{again}); n != 0 || err != nil {
			t.Errorf("RefundMany of the repeat gave back in %d limits, %v; want 0", n, err)
		}
		if n, err := limiter.Refund(ctx, again); n != 0 || err != nil {
			t.Errorf("Refund of the repeat gave back in %d limits, %v; want 0", n, err)
		}
		wantLeft(t, limiter, p, "k", 1)
		if n, err := limiter.Refund(ctx, first); n != 2 || err != nil {
			t.Errorf("the refund of the first call gave back in %d limits, %v; want 2", n, err)
		}
		wantLeft(t, limiter, p, "k", 2)
	})
}

// A client that one rule denies and that makes up a key for another leaves nothing in
// Redis.
func TestRefundThatLeavesNothingDeletes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		client, prefix, ctx := s.Client(t), redistest.Prefix(t), context.Background()
		limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: prefix, Budget: 5 * time.Second}), ratelimit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingBuckets, ratelimit.SlidingWindow, ratelimit.SlidingLog} {
			p := ratelimit.MustPolicy("p", ratelimit.Limit{Quota: 50, Window: 24 * time.Hour, Algorithm: algorithm})
			key := "made up " + algorithm.String()
			var spent []ratelimit.Decision
			for range 3 {
				d, err := limiter.TakeN(ctx, p, key, 2)
				if err != nil || !d.Allowed {
					t.Fatalf("%v: %+v, %v", algorithm, d, err)
				}
				spent = append(spent, d)
			}
			if n := len(redistest.Keys(t, client, prefix)); n != 1 {
				t.Fatalf("%v: %d keys while permits are spent, want 1", algorithm, n)
			}
			for _, d := range spent {
				if n, err := limiter.Refund(ctx, d); n != 1 || err != nil {
					t.Fatalf("%v: refund gave back in %d limits, %v", algorithm, n, err)
				}
			}
			if keys := redistest.Keys(t, client, prefix); len(keys) != 0 {
				t.Errorf("%v: all was given back and %d keys are left", algorithm, len(keys))
			}
		}
	})
}
