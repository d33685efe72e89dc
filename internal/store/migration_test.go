package store_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// migration moves one slot of a cluster from its master to another one, step by step.
type migration struct {
	t                *testing.T
	slot             int64
	source, target   redis.UniversalClient
	sourceID, destID string
	targetNode       *redistest.Node
	all              []redis.UniversalClient
}

// startMigration starts the move of the tag's slot. From now on the source redirects
// calls for keys that it lacks to the target.
func startMigration(t *testing.T, cluster *redistest.Server, key string) *migration {
	t.Helper()
	m := &migration{t: t}
	sourceNode := cluster.Master(t, key)
	for _, n := range cluster.Nodes() {
		client := redistest.NewClient(t, n.Addr())
		if n.Role() == "master" {
			m.all = append(m.all, client)
			if n != sourceNode {
				m.target, m.targetNode = client, n
			}
		}
	}
	m.source = redistest.NewClient(t, sourceNode.Addr())
	m.slot = m.source.ClusterKeySlot(t.Context(), key).Val()
	m.sourceID, m.destID = m.id(m.source), m.id(m.target)
	m.setSlot(m.target, "IMPORTING", m.sourceID)
	m.setSlot(m.source, "MIGRATING", m.destID)
	return m
}

func (m *migration) id(client redis.UniversalClient) string {
	m.t.Helper()
	id, err := client.Do(context.Background(), "CLUSTER", "MYID").Text()
	if err != nil {
		m.t.Fatal(err)
	}
	return id
}

func (m *migration) setSlot(client redis.UniversalClient, how, id string) {
	m.t.Helper()
	if err := client.Do(context.Background(), "CLUSTER", "SETSLOT", m.slot, how, id).Err(); err != nil {
		m.t.Fatalf("SETSLOT %d %s: %v", m.slot, how, err)
	}
}

// move moves keys that are at the source.
func (m *migration) move(keys ...string) {
	m.t.Helper()
	host, port, _ := net.SplitHostPort(m.targetNode.Addr())
	for _, key := range keys {
		if err := m.source.Do(context.Background(), "MIGRATE", host, port, key, 0, 5000).Err(); err != nil {
			m.t.Fatalf("MIGRATE %s: %v", key, err)
		}
	}
}

// finish gives the slot to the target: from now on the source answers MOVED.
func (m *migration) finish() {
	m.t.Helper()
	for _, client := range m.all {
		m.setSlot(client, "NODE", m.destID)
	}
}

// TestSlotMigration: while a slot of a cluster moves, calls are redirected (ASK, MOVED)
// or wait (TRYAGAIN), and each that goes through is charged once.
func TestSlotMigration(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	cluster := redistest.NewCluster(t)
	prefix := redistest.Prefix(t)
	client := recommended(t, cluster.URL(), roomy)
	kv, ending := newStore(t, client, prefix), newBudgetStore(t, client, prefix)
	tag := store.MakeTag("test")
	window := fmt.Sprintf("%s:l:{%s}:n:w%d", prefix, tag, time.Hour.Microseconds())
	buckets := fmt.Sprintf("%s:l:{%s}:m:c%d", prefix, tag, time.Minute.Microseconds())
	call := store.LimitCall{Set: pairSet, Tag: tag, Cost: 1}
	many := func(kv *store.Store) error {
		_, errs := kv.LimitTakeMany(t.Context(), []store.LimitCall{call, call})
		if errs[0] != nil {
			return errs[0]
		}
		return errs[1]
	}
	want := int64(0) // spent
	charged := func(what string) {
		t.Helper()
		for i, n := range spent(t, newStore(t, cluster.Client(t), prefix), pairSet, tag) {
			if n != want {
				t.Fatalf("%s: limit %d: %d permits spent, want %d", what, i, n, want)
			}
		}
	}
	expectTake(t, "before", "done", kv, pairSet, tag)
	want++

	m := startMigration(t, cluster, window)
	expectTake(t, "migrating, both keys at the source", "done", kv, pairSet, tag)
	expect(t, "migrating, a pipeline", "done", func() error { return many(kv) })
	want += 3
	other := newStore(t, recommended(t, cluster.URL(), roomy), prefix+"x") // same tag, same slot
	expectTake(t, "ASK, a key that is nowhere yet", "done", other, windowSet, tag)
	if n := len(redistest.Keys(t, m.target, prefix+"x")); n != 1 {
		t.Errorf("ASK: %d new keys at the target, want 1", n)
	}

	m.move(window) // one key here, one there
	expectTake(t, "TRYAGAIN for the whole budget", atLast, ending, pairSet, tag)
	expect(t, "TRYAGAIN for the whole budget, a pipeline", atLast, func() error { return many(ending) })

	moved := make(chan struct{})
	go func() {
		defer close(moved)
		time.Sleep(30 * time.Millisecond)
		m.move(buckets)
	}()
	expectTake(t, "TRYAGAIN that ends within the budget", "done", kv, pairSet, tag)
	<-moved
	want++
	expectTake(t, "ASK, both keys at the target", "done", kv, pairSet, tag)
	expect(t, "ASK, a pipeline", "done", func() error { return many(kv) })
	want += 3
	m.finish()
	expectTake(t, "MOVED", "done", kv, pairSet, tag)
	expect(t, "MOVED, a pipeline", "done", func() error { return many(kv) })
	want += 3
	charged("in the end")
}
