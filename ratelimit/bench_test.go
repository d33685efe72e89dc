package ratelimit_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// benchPolicies are never used up by a benchmark, but for the last one.
var benchPolicies = []struct {
	name   string
	policy *ratelimit.Policy
}{
	{"window", ratelimit.MustPolicy("window", ratelimit.PerMinute(ratelimit.MaxLogQuota))},
	{"buckets", ratelimit.MustPolicy("buckets", ratelimit.Limit{Quota: ratelimit.MaxBucketQuota, Window: time.Minute, Algorithm: ratelimit.SlidingBuckets})},
	{"two windows", ratelimit.MustPolicy("two", ratelimit.PerMinute(ratelimit.MaxLogQuota), ratelimit.PerHour(ratelimit.MaxLogQuota))},
	{"denied", ratelimit.MustPolicy("denied", ratelimit.Per(1, time.Hour))},
}

// ordinaryLimiter uses a client with [gatekit.RecommendedOptions], but a larger budget,
// because the machine may be busy.
func ordinaryLimiter(tb testing.TB, opts gatekit.Options) *ratelimit.Limiter {
	tb.Helper()
	options, err := gatekit.RecommendedOptions(redistest.Single(tb).URL())
	if err != nil {
		tb.Fatal(err)
	}
	options.ReadTimeout, options.PoolTimeout = 5*time.Second, 5*time.Second
	client := redis.NewUniversalClient(options)
	tb.Cleanup(func() { client.Close() })
	opts.Prefix = redistest.Prefix(tb)
	opts.Budget = 5 * time.Second
	limiter, err := ratelimit.New(kvtest.Open(tb, client, opts), ratelimit.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return limiter
}

// TestAllocations bounds the allocations of a decision, those of the client and the
// deadline included.
func TestAllocations(t *testing.T) {
	limiter := ordinaryLimiter(t, gatekit.Options{})
	request, cancel := context.WithCancel(t.Context()) // as an HTTP server makes it
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"background", context.Background()}, {"a request's context", request}} {
		for _, p := range benchPolicies {
			t.Run(p.name, func(t *testing.T) {
				keys := make([]string, 200)
				for i := range keys {
					keys[i] = fmt.Sprint(c.name, i)
				}
				n := 0
				allocs := testing.AllocsPerRun(len(keys)-1, func() {
					d, err := limiter.Take(c.ctx, p.policy, keys[n])
					if err != nil || d.Degraded != nil {
						t.Fatal(err, d.Degraded)
					}
					if n++; n == len(keys) {
						n = 0
					}
				})
				t.Logf("%s, %s: %v allocations", p.name, c.name, allocs)
				if allocs > 12 {
					t.Errorf("%s, %s: %v allocations, want at most 12", p.name, c.name, allocs)
				}
			})
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, p := range benchPolicies {
		b.Run(p.name, func(b *testing.B) {
			limiter := ordinaryLimiter(b, gatekit.Options{})
			keys := benchKeys()
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				benchTake(b, limiter, p.policy, keys[n%len(keys)])
			}
		})
	}
}

// BenchmarkTakeParallel is the throughput of many callers, each with its connection or
// sharing them by the auto-pipeline.
func BenchmarkTakeParallel(b *testing.B) {
	for _, auto := range []bool{false, true} {
		for _, callers := range []int{8, 64, 256} {
			b.Run(fmt.Sprintf("auto-pipeline=%v/callers=%d", auto, callers), func(b *testing.B) {
				limiter := ordinaryLimiter(b, gatekit.Options{NoAutoPipeline: !auto})
				keys := benchKeys()
				var n atomic.Uint64
				b.SetParallelism(callers / 2) // times GOMAXPROCS
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						benchTake(b, limiter, benchPolicies[0].policy, keys[n.Add(1)%uint64(len(keys))])
					}
				})
			})
		}
	}
}

// BenchmarkTakeMany is the cost of a decision among 64 of one round trip.
func BenchmarkTakeMany(b *testing.B) {
	limiter, keys := ordinaryLimiter(b, gatekit.Options{}), benchKeys()
	requests := make([]ratelimit.Request, 64)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for i := range requests {
			requests[i] = ratelimit.Request{Policy: benchPolicies[0].policy, Key: keys[(n*64+i)%len(keys)], Cost: 1}
		}
		ds, err := limiter.TakeMany(context.Background(), requests)
		if err != nil || ds[0].Degraded != nil {
			b.Fatal(err, ds[0].Degraded)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/decision")
}

func benchKeys() []string {
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprint("203.0.113.7/", i)
	}
	return keys
}

func benchTake(b *testing.B, limiter *ratelimit.Limiter, policy *ratelimit.Policy, key string) {
	d, err := limiter.Take(context.Background(), policy, key)
	if err != nil || d.Degraded != nil {
		b.Error(err, d.Degraded)
	}
}
