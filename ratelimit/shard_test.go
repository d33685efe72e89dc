package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/ratelimit"
)

// keysByShard returns keys of a policy on the first master of a cluster, and as many on
// the others. A limiter's keys lie by the hash of policy and key.
func keysByShard(t *testing.T, srv *redistest.Server, policy *ratelimit.Policy, n int) (first *redistest.Node, on, off []string) {
	t.Helper()
	for i := 0; len(on) < n || len(off) < n; i++ {
		key := fmt.Sprint("key", i)
		tag := store.MakeTag("limit", policy.Name(), key)
		node := srv.Master(t, "{"+string(tag[:])+"}")
		if first == nil {
			first = node
		}
		if node == first {
			on = append(on, key)
		} else {
			off = append(off, key)
		}
	}
	return first, on[:n], off[:n]
}

// TestHurriedCallersBesideADeadShard: one shard of a cluster is down, and many callers
// have short deadlines. The calls to the other shards are decided, or end at their
// callers' deadlines.
func TestHurriedCallersBesideADeadShard(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	srv := redistest.NewCluster(t)
	for _, node := range srv.Nodes() { // the other shards go on, and no replica replaces the dead one
		admin := redistest.NewClient(t, node.Addr())
		for name, value := range map[string]string{"cluster-require-full-coverage": "no", "cluster-replica-no-failover": "yes"} {
			if err := admin.ConfigSet(t.Context(), name, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	client, err := store.Connect(srv.URL(), ample)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: ample}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policy := ratelimit.MustPolicy("api", ratelimit.PerHour(4096)).OnFailure(ratelimit.FailClosed)
	dead, away, well := keysByShard(t, srv, policy, 16)
	for _, key := range append(away, well...) {
		if d, err := limiter.Take(t.Context(), policy, key); err != nil || d.Degraded != nil {
			t.Fatal(err, d.Degraded)
		}
	}
	dead.Freeze(t)
	defer dead.Thaw(t)
	var hurried, patient sync.WaitGroup
	var late, decided, notAsked atomic.Int64
	stop := make(chan struct{})
	for caller := range 24 { // more than the store sends each by itself
		hurried.Go(func() {
			for n := caller; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				key, isWell := away[n%8], n%3 > 0
				if isWell {
					key = well[n%8]
				}
				d, err := takeWithin(limiter, policy, key, time.Duration(n%5)*time.Millisecond)
				switch {
				case err != nil && (!errors.Is(err, context.DeadlineExceeded) || errors.Is(err, gatekit.ErrUnavailable)):
					t.Errorf("a hurried call: %v, want its context's error, and not ErrUnavailable", err)
				case err != nil:
					late.Add(1)
				case d.Degraded == nil:
					decided.Add(1)
				case isWell:
					t.Errorf("a hurried call to a shard that answers: the fail mode decided, %v", d.Degraded)
				default:
					notAsked.Add(1)
				}
			}
		})
	}
	for caller := range 4 {
		patient.Go(func() {
			for n := range 200 {
				if d, err := limiter.Take(context.Background(), policy, well[8+(n+caller)%8]); err != nil || !d.Allowed || d.Degraded != nil {
					t.Errorf("a call to a shard that answers: %+v, %v", d, err)
				}
			}
		})
	}
	patient.Wait()
	// The limiter's own probe, with the whole budget, finds out about the dead shard, and
	// about no other.
	if !eventually(func() bool { return notAsked.Load() > 100 }) {
		t.Error("hurried callers of the dead shard are never told at once that it is away")
	}
	for n := range 200 {
		if d, err := limiter.Take(t.Context(), policy, well[8+n%8]); err != nil || !d.Allowed || d.Degraded != nil {
			t.Errorf("a call to a shard that answers, the dead one being known: %+v, %v", d, err)
		}
	}
	close(stop)
	hurried.Wait()
	t.Logf("hurried calls: %d late, %d decided, %d not asked", late.Load(), decided.Load(), notAsked.Load())
}
