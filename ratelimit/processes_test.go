package ratelimit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
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

// hammer is the task of one of several processes. The process reads it as JSON from its
// environment.
type hammer struct {
	Addrs      []string
	Cluster    bool
	Prefix     string
	Key        string
	Algorithm  ratelimit.Algorithm
	Quota      int64
	Limits     int
	Goroutines int
	Calls      int // of each goroutine
}

const hammerEnv = "GATEKIT_TEST_HAMMER"

func (h hammer) policy() *ratelimit.Policy {
	limits := []ratelimit.Limit{{Name: "first", Quota: h.Quota, Window: time.Hour, Algorithm: h.Algorithm}}
	if h.Limits == 2 {
		limits = append(limits, ratelimit.Limit{Name: "second", Quota: 2 * h.Quota, Window: 24 * time.Hour, Algorithm: ratelimit.SlidingBuckets})
	}
	return ratelimit.MustPolicy("hammer", limits...)
}

func (h hammer) client() redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: h.Addrs, IsClusterMode: h.Cluster, ContextTimeoutEnabled: true, PoolSize: 16, PoolTimeout: 20 * time.Second,
	})
}

// run asks for permits as fast as it can and returns how many it got.
func (h hammer) run(ctx context.Context) (admitted int64, _ error) {
	client := h.client()
	defer func() { _ = client.Close() }()
	// The budget is so large that no fail mode decides on a busy machine.
	kv, err := gatekit.Open(client, gatekit.Options{Budget: 10 * time.Second, Prefix: h.Prefix})
	if err != nil {
		return 0, err
	}
	l, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		return 0, err
	}
	p := h.policy().OnFailure(ratelimit.FailClosed)
	var n atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, h.Goroutines)
	for range h.Goroutines {
		wg.Go(func() {
			for range h.Calls {
				d, err := l.Take(ctx, p, h.Key)
				if err == nil {
					err = d.Degraded
				}
				if err != nil {
					errs <- err
					return
				}
				if d.Allowed {
					n.Add(1)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return n.Load(), <-errs
}

// TestHammerProcess is not a test by itself: the processes of
// [TestProcessesAdmitExactlyTheQuota] run it.
func TestHammerProcess(t *testing.T) {
	text, ok := os.LookupEnv(hammerEnv)
	if !ok {
		return
	}
	var h hammer
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		t.Fatal(err)
	}
	admitted, err := h.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\nadmitted=%d\n", admitted)
}

// Four processes of 64 goroutines each ask for twice the quota of one key. Exactly the
// quota is admitted.
func TestProcessesAdmitExactlyTheQuota(t *testing.T) {
	redistest.Long(t)
	for _, srv := range []*redistest.Server{redistest.Single(t), redistest.Cluster(t)} {
		for _, c := range []struct {
			name      string
			algorithm ratelimit.Algorithm
			limits    int
		}{
			{"SlidingWindow", ratelimit.SlidingWindow, 1},
			{"SlidingWindow and SlidingBuckets together", ratelimit.SlidingWindow, 2},
			{"SlidingBuckets", ratelimit.SlidingBuckets, 1},
			{"SlidingLog", ratelimit.SlidingLog, 1},
		} {
			t.Run(srv.Name()+"/"+c.name, func(t *testing.T) {
				h := hammer{
					Addrs: srv.Addrs(), Cluster: srv.Name() == "cluster", Prefix: redistest.Prefix(t), Key: "one key",
					Algorithm: c.algorithm, Limits: c.limits, Quota: 1024, Goroutines: 64, Calls: 8,
				}
				text, err := json.Marshal(h)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				var total atomic.Int64
				for range 4 {
					wg.Go(func() {
						cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHammerProcess$")
						cmd.Env = append(os.Environ(), hammerEnv+"="+string(text))
						out, err := cmd.CombinedOutput()
						if err != nil {
							t.Errorf("process: %v\n%s", err, out)
							return
						}
						_, rest, found := bytes.Cut(out, []byte("\nadmitted="))
						number, _, _ := bytes.Cut(rest, []byte("\n"))
						n, err := strconv.ParseInt(string(number), 10, 64)
						if !found || err != nil {
							t.Errorf("process printed no count:\n%s", out)
						}
						total.Add(n)
					})
				}
				wg.Wait()
				if got := total.Load(); got != h.Quota {
					t.Errorf("4 processes were given %d of %d permits in %d calls", got, h.Quota, 4*64*8)
				}
				redistest.NoImmortalKeys(t, srv.Client(t), h.Prefix)
			})
		}
	}
}

// While the scripts are flushed all the time, no call fails, and no permit is lost or
// given twice.
func TestScriptFlushUnderLoad(t *testing.T) {
	redistest.Long(t)
	for _, srv := range []*redistest.Server{redistest.NewSingle(t), redistest.NewCluster(t)} {
		t.Run(srv.Name(), func(t *testing.T) {
			client := srv.Client(t)
			stop := make(chan struct{})
			var flusher, takers sync.WaitGroup
			flusher.Go(func() {
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
						if err := client.ScriptFlush(context.Background()).Err(); err != nil {
							t.Errorf("SCRIPT FLUSH: %v", err)
							return
						}
					}
				}
			})
			l, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), ratelimit.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := ratelimit.MustPolicy("flush", ratelimit.PerHour(1500)).OnFailure(ratelimit.FailClosed)
			var admitted atomic.Int64
			count := func(d ratelimit.Decision, err error) {
				if err != nil || d.Degraded != nil {
					t.Errorf("Take: %v, degraded: %v", err, d.Degraded)
				}
				if d.Allowed {
					admitted.Add(1)
				}
			}
			for g := range 8 {
				takers.Go(func() {
					for range 50 {
						if g%2 == 0 {
							for range 5 {
								count(l.Take(t.Context(), p, "k"))
							}
							continue
						}
						reqs := make([]ratelimit.Request, 5)
						for i := range reqs {
							reqs[i] = ratelimit.Request{Policy: p, Key: "k", Cost: 1}
						}
						ds, err := l.TakeMany(t.Context(), reqs)
						for _, d := range ds {
							count(d, err)
						}
					}
				})
			}
			takers.Wait()
			close(stop)
			flusher.Wait()
			if got := admitted.Load(); got != 1500 {
				t.Errorf("admitted %d of 2000, want the quota, 1500", got)
			}
		})
	}
}
