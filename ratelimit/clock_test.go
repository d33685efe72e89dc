package ratelimit_test

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// The clock of a real server steps back an hour. A client that spent its quota waits its
// window and the lead at most, not an hour, however often it asks meanwhile.
func TestServerClockStepsBack(t *testing.T) {
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets, ratelimit.SlidingLog} {
		t.Run(algorithm.String(), func(t *testing.T) {
			srv, clock := redistest.NewSingleWithClock(t)
			client, prefix := srv.Client(t), redistest.Prefix(t)
			l, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: prefix, Budget: 5 * time.Second}), ratelimit.Options{})
			if err != nil {
				t.Fatal(err)
			}
			const window = time.Minute
			most := window + min(window/4, 5*time.Second)
			if algorithm == ratelimit.SlidingBuckets {
				most = window + window/8
			}
			p := ratelimit.MustPolicy("clock", ratelimit.Limit{Quota: 5, Window: window, Algorithm: algorithm})
			take := func() ratelimit.Decision {
				t.Helper()
				d, err := l.Take(t.Context(), p, "k")
				if err != nil || d.Degraded != nil {
					t.Fatalf("Take: %v, degraded: %v", err, d.Degraded)
				}
				redistest.NoImmortalKeys(t, client, prefix)
				return d
			}
			for range 5 {
				if d := take(); !d.Allowed {
					t.Fatalf("denied below the quota: %+v", d)
				}
			}
			clock.Step(-time.Hour)
			waited, back := time.Duration(0), time.Now()
			for {
				before := time.Now()
				peek, err := l.Peek(t.Context(), p, "k")
				if err != nil {
					t.Fatal(err)
				}
				d := take()
				if d.Allowed {
					break
				}
				between := time.Since(before) + time.Millisecond // the times in replies are whole milliseconds
				if diff := peek.RetryAfter - d.RetryAfter; diff < 0 || diff > between {
					t.Errorf("Peek says %v, and Take %v, %v later", peek.RetryAfter, d.RetryAfter, between)
				}
				if d.RetryAfter > most {
					t.Fatalf("after a step back, RetryAfter is %v, want at most %v", d.RetryAfter, most)
				}
				if waited += 5 * time.Second; waited > most+5*time.Second {
					t.Fatalf("still denied after %v, RetryAfter %v", waited, d.RetryAfter)
				}
				clock.Step(5 * time.Second)
			}
			if waited+time.Since(back) < window-5*time.Second {
				t.Errorf("admitted after %v: the step back brought permits", waited)
			}
			t.Logf("window %v, admitted %v after the step back", window, waited)
			// Forward again: time that passed.
			clock.Step(time.Hour)
			if d := take(); !d.Allowed {
				t.Errorf("denied after a step forward: %+v", d)
			}
		})
	}
}

// After the clock stepped back, the permits of a refund may have been moved. Then nothing
// is given back, and never a permit of another call.
func TestRefundAcrossAStepBack(t *testing.T) {
	srv, clock := redistest.NewSingleWithClock(t)
	l, err := ratelimit.New(kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets} {
		p := ratelimit.MustPolicy("back", ratelimit.Limit{Quota: 2, Window: time.Minute, Algorithm: algorithm})
		first, err := l.Take(t.Context(), p, "k")
		if err != nil || !first.Allowed {
			t.Fatalf("%+v, %v", first, err)
		}
		clock.Step(-time.Hour)
		if d, err := l.Take(t.Context(), p, "k"); err != nil || !d.Allowed {
			t.Fatalf("%+v, %v", d, err)
		}
		if n, err := l.Refund(t.Context(), first); n != 0 || err != nil {
			t.Errorf("%v: refund of a shifted permit: %d, %v; want 0", algorithm, n, err)
		}
		if d, err := l.Take(t.Context(), p, "k"); err != nil || d.Allowed {
			t.Errorf("%v: a third permit of 2: %+v, %v", algorithm, d, err)
		}
	}
}
