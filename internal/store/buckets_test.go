package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// TestBucketsMemory prints the bytes of a key of SlidingBuckets with all 17 buckets in
// use. They depend on the digits of the numbers only: short windows have long indexes,
// high quotas long counts.
func TestBucketsMemory(t *testing.T) {
	client, prefix := redistest.Single(t).Client(t), redistest.Prefix(t)
	kv := newStore(t, client, prefix)
	for _, window := range []time.Duration{time.Millisecond, time.Second, time.Minute, 24 * time.Hour} {
		for _, quota := range []int64{1000, 1e9} {
			limit := store.LimitSpec{Name: "minute", Algorithm: 'b', Quota: quota, Window: window}
			tag := store.MakeTag("memory", fmt.Sprint(window, quota))
			call := store.LimitCall{Set: store.NewLimitSet(limit), Tag: tag, Cost: quota / 17, Now: 1_790_000_000_000_000}
			for range 17 {
				if reply, err := kv.LimitTake(t.Context(), call); err != nil || reply.Verdict() != store.Allowed {
					t.Fatal(reply, err)
				}
				call.Now += (window.Microseconds() + 15) / 16
			}
			used, err := client.MemoryUsage(t.Context(), fmt.Sprintf("%s:l:{%s}:%s", prefix, tag, limit.Suffix())).Result()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("window %v, quota %d: %d bytes", window, quota, used)
			if used > 1<<10 {
				t.Errorf("window %v, quota %d: %d bytes, want at most 1 KB", window, quota, used)
			}
		}
	}
}

// TestBucketsRefundOfMoreThanWasSpent: a bucket never goes below zero, which would let
// others pass.
func TestBucketsRefundOfMoreThanWasSpent(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		kv := newStore(t, server.Client(t), redistest.Prefix(t))
		call := store.LimitCall{Set: bucketsSet, Tag: store.MakeTag("more"), Cost: 3}
		taken, err := kv.LimitTake(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ cost, given, left int64 }{{4, 0, 3}, {2, 2, 1}, {2, 0, 1}, {1, 1, 0}} {
			call.Cost = c.cost
			given, err := kv.LimitRefund(t.Context(), call, []int64{taken.Stamp(0)})
			if err != nil || given[0] != c.given {
				t.Errorf("refund of %d gave back %v, %v; want %d", c.cost, given, err, c.given)
			}
			if n := spent(t, kv, bucketsSet, call.Tag)[0]; n != c.left {
				t.Errorf("after the refund of %d: %d permits spent, want %d", c.cost, n, c.left)
			}
		}
	})
}
