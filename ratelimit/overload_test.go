package ratelimit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/ratelimit"
)

// tally counts calls by how they ended.
type tally struct{ calls, answered, unsent, unknown, notAsked atomic.Int64 }

func (c *tally) add(t *testing.T, d ratelimit.Decision) {
	c.calls.Add(1)
	switch err := d.Degraded; {
	case err == nil:
		c.answered.Add(1)
	case errors.Is(err, gatekit.ErrUnknownOutcome):
		c.unknown.Add(1)
	case strings.Contains(err.Error(), "not asked"):
		c.notAsked.Add(1)
	case errors.Is(err, gatekit.ErrUnavailable):
		c.unsent.Add(1)
	default:
		t.Errorf("degraded: %v", err)
	}
}

// TestOverload reports how many calls are answered when a process makes more calls than
// the machine can handle. On any machine the counts must agree: answered calls are
// charged, and calls that were not sent are not.
func TestOverload(t *testing.T) {
	redistest.Long(t)
	const key, permits = "everybody", 1_000_000
	policy := ratelimit.MustPolicy("api", ratelimit.Limit{Quota: permits, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets}).OnFailure(ratelimit.FailClosed)
	for _, c := range []struct {
		name           string
		callers, batch int
		pause          time.Duration
	}{
		{"64 callers of TakeMany(100)", 64, 100, 0},
		{"bursts of 500 callers", 500, 1, 20 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := store.Connect(redistest.NewSingle(t).URL(), gatekit.DefaultBudget)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t)}), ratelimit.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var n tally
			call := func() {
				reqs := make([]ratelimit.Request, c.batch)
				for i := range reqs {
					reqs[i] = ratelimit.Request{Policy: policy, Key: key, Cost: 1}
				}
				ds := make([]ratelimit.Decision, 1)
				var err error
				if c.batch == 1 {
					ds[0], err = limiter.Take(context.Background(), policy, key)
				} else {
					ds, err = limiter.TakeMany(context.Background(), reqs)
				}
				if err != nil {
					t.Error(err)
				}
				for _, d := range ds {
					n.add(t, d)
				}
			}
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(c.pause) {
				var burst sync.WaitGroup
				for range c.callers {
					burst.Go(func() {
						for again := true; again; again = c.pause == 0 && time.Now().Before(end) {
							call()
						}
					})
				}
				burst.Wait()
			}
			calls, answered, unsent, unknown, notAsked := n.calls.Load(), n.answered.Load(), n.unsent.Load(), n.unknown.Load(), n.notAsked.Load()
			t.Logf("%d calls: %.1f %% answered, %.1f %% not sent, %.1f %% unknown, %.1f %% not asked", calls, share(answered, calls),
				share(unsent, calls), share(unknown, calls), share(notAsked, calls))
			if answered+unsent+unknown+notAsked != calls {
				t.Errorf("of %d calls %d ended in some way", calls, answered+unsent+unknown+notAsked)
			}
			left := int64(ratelimit.Unknown)
			if !eventually(func() bool {
				d, err := limiter.Peek(context.Background(), policy, key)
				left = d.Remaining
				return err == nil && d.Degraded == nil
			}) {
				t.Fatal("Redis is not asked again")
			}
			if spent := permits - left; spent < answered || spent > answered+unknown {
				t.Errorf("%d permits are spent by %d answered calls and %d of unknown outcome", spent, answered, unknown)
			}
		})
	}
}

// held is a hook of a client that holds pipelines back and never sends them.
type held struct{ free chan struct{} }

func (h *held) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *held) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *held) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "evalsha" { // a connection is set up
			return next(ctx, cmds)
		}
		select {
		case <-ctx.Done():
		case <-h.free:
		}
		for _, cmd := range cmds {
			cmd.SetErr(context.DeadlineExceeded)
		}
		return context.DeadlineExceeded
	}
}

// TestBusyProcessIsNoOutage: batches that get no turn, or are held up in the process, are
// not charged. They do not open the breaker, so other calls still ask Redis.
func TestBusyProcessIsNoOutage(t *testing.T) {
	const callers, batch = 16, 100
	client, err := store.Connect(redistest.NewSingle(t).URL(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	hook := &held{free: make(chan struct{})}
	client.AddHook(hook)
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 2 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(4096)).OnFailure(ratelimit.FailClosed)
	var n tally
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			ds, err := limiter.TakeMany(context.Background(), slices.Repeat([]ratelimit.Request{{Policy: policy, Key: "key", Cost: 1}}, batch))
			if err != nil {
				t.Error(err)
			}
			for _, d := range ds {
				n.add(t, d)
			}
		})
	}
	wg.Wait()
	close(hook.free) // ends the calls that go on in the background
	if got := n.unsent.Load(); got != callers*batch {
		t.Errorf("%d of %d calls are known to be unsent; %d unknown, %d not asked", got, callers*batch, n.unknown.Load(), n.notAsked.Load())
	}
	for i := range int64(20) {
		if d, err := limiter.Take(context.Background(), policy, "key"); err != nil || d.Degraded != nil || d.Remaining != 4095-i {
			t.Fatalf("take %d after that: %d left, %v, %v", i, d.Remaining, d.Degraded, err)
		}
	}
}

// TestLeavingTheQueueIsNoOutage: a caller that cancels while its batch waits for its turn
// gets the context's error. No fail mode decides.
func TestLeavingTheQueueIsNoOutage(t *testing.T) {
	client, err := store.Connect(redistest.NewSingle(t).URL(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	hook, seen := &held{free: make(chan struct{})}, &outages{}
	client.AddHook(hook)
	kv := kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	limiter, err := ratelimit.New(kv, ratelimit.Options{Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(4096)).OnFailure(ratelimit.FailOpen)
	reqs := slices.Repeat([]ratelimit.Request{{Policy: policy, Key: "key", Cost: 1}}, 256)
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 4)
	for range cap(ended) { // two are under way, two wait
		go func() {
			ds, err := limiter.TakeMany(ctx, reqs)
			if errors.Is(err, context.Canceled) && len(ds) > 0 && ds[0].Allowed {
				t.Error("the fail mode lets pass what its caller gave up")
			}
			ended <- err
		}()
	}
	time.AfterFunc(100*time.Millisecond, leave)
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, gatekit.ErrUnavailable) {
			t.Errorf("left the queue: %v, want context.Canceled, and not ErrUnavailable", err)
		}
	}
	if lost := seen.lost.Load(); lost != 0 {
		t.Errorf("the observer was told %d times of losing Redis", lost)
	}
	close(hook.free)
	for range 2 {
		<-ended
	}
}

func share(n, of int64) float64 { return 100 * float64(n) / float64(max(of, 1)) }
