package ratelimit_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/ratelimit"
)

// hotPolicies are asked for one key by many callers. That of the admissions is never used
// up: its window is so short that the permits come back.
var hotPolicies = []struct {
	name   string
	policy *ratelimit.Policy
}{
	{"denied", ratelimit.MustPolicy("denied", ratelimit.Per(100, time.Hour))},
	{"admitted", ratelimit.MustPolicy("admitted", ratelimit.Per(ratelimit.MaxLogQuota, time.Millisecond))},
	{"buckets denied", ratelimit.MustPolicy("bdenied", ratelimit.Limit{Quota: 100, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets})},
	{"buckets admitted", ratelimit.MustPolicy("badmitted", ratelimit.Limit{Quota: ratelimit.MaxBucketQuota, Window: time.Hour, Algorithm: ratelimit.SlidingBuckets})},
}

// BenchmarkHotKey compares callers of one key that are merged with callers that are not,
// in turns of one run:
//
//	go test ./ratelimit -run '^$' -bench HotKey -benchtime 5x
//
// It prints the medians of the decisions a second.
func BenchmarkHotKey(b *testing.B) {
	for _, p := range hotPolicies {
		for _, callers := range []int{1, 8, 64, 512} {
			b.Run(fmt.Sprintf("%s/callers=%d", p.name, callers), func(b *testing.B) {
				merged := ordinaryLimiter(b, gatekit.Options{})
				alone := merged.Alone()
				var together, single []float64
				for range 2 { // the first one warms up
					decisionsPerSecond(b, alone, p.policy, callers, 50*time.Millisecond)
					decisionsPerSecond(b, merged, p.policy, callers, 50*time.Millisecond)
				}
				for b.Loop() {
					single = append(single, decisionsPerSecond(b, alone, p.policy, callers, 300*time.Millisecond))
					together = append(together, decisionsPerSecond(b, merged, p.policy, callers, 300*time.Millisecond))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(single), "alone/s")
				b.ReportMetric(median(together), "merged/s")
				b.ReportMetric(median(together)/median(single), "ratio")
			})
		}
	}
}

// decisionsPerSecond returns how many decisions a second the callers get for one key.
func decisionsPerSecond(b *testing.B, limiter *ratelimit.Limiter, policy *ratelimit.Policy, callers int, d time.Duration) float64 {
	var decisions atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range callers {
		all.Go(func() {
			n := int64(0)
			for ; time.Since(began) < d; n++ {
				benchTake(b, limiter, policy, "hot")
			}
			decisions.Add(n)
		})
	}
	all.Wait()
	return float64(decisions.Load()) / time.Since(began).Seconds()
}

func median(rates []float64) float64 {
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// BenchmarkColdKey is what the merger adds to a key that nobody else asks for.
func BenchmarkColdKey(b *testing.B) {
	limiter := ordinaryLimiter(b, gatekit.Options{})
	for name, l := range map[string]*ratelimit.Limiter{"merging": limiter, "alone": limiter.Alone()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Take(context.Background(), benchPolicies[0].policy, "cold"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
