package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// hostileString returns what SlidingBuckets never store: numbers that do not fit each
// other, and bytes that do not belong there.
func hostileString(random *rand.Rand, index int64) string {
	number := func() int64 {
		return []int64{0, 1, 5, 99, index, index - 1, index - 16, index - 17, index - 40, index + 1, index + 2, index + 100, 1e15, 9e15}[random.IntN(14)]
	}
	stored := fmt.Sprintf("%d %d %d %d %d", number(), number(), number(), number(), number())
	for range random.IntN(20) {
		stored += fmt.Sprintf(";%d=%d", number(), number())
	}
	if random.IntN(3) == 0 {
		bytes := []byte(stored)
		for range 1 + random.IntN(4) {
			bytes[random.IntN(len(bytes))] = "0;= x-9"[random.IntN(7)]
		}
		stored = string(bytes)
	}
	return stored
}

// TestHostileBuckets: whatever is in the key of SlidingBuckets, each script ends, with a
// reply or with an error of its own, and the key keeps an expiry. A script that went on
// would block Redis, and the calls after it would not be answered.
func TestHostileBuckets(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	one := store.LimitSpec{Name: "n", Algorithm: 'b', Quota: 100, Window: time.Second}
	other := store.LimitSpec{Name: "m", Algorithm: 'b', Quota: 100, Window: time.Minute}
	sets := []*store.LimitSet{store.NewLimitSet(one), store.NewLimitSet(one, other), store.NewLimitSet(other, one)}
	const now = 1_790_000_000_000_000
	index := now / (one.Window.Microseconds() / 16)
	for _, c := range []struct {
		server *redistest.Server
		rounds uint64
	}{{redistest.Single(t), 1500}, {redistest.Embedded(t), 300}} {
		t.Run(c.server.Name(), func(t *testing.T) {
			client, prefix, tag := c.server.Client(t), redistest.Prefix(t), store.MakeTag("hostile")
			kv := newStore(t, client, prefix)
			key := fmt.Sprintf("%s:l:{%s}:%s", prefix, tag, one.Suffix())
			replies, errs := 0, 0
			for round := range c.rounds {
				random := rand.New(rand.NewPCG(round, 1))
				stored := hostileString(random, index)
				set := sets[random.IntN(len(sets))]
				call := store.LimitCall{Set: set, Tag: tag, Cost: 1 + random.Int64N(60), Now: now}
				stamps := []int64{index * 256, index * 256}[:set.Len()]
				for i, do := range []func() error{
					func() error { _, err := kv.LimitPeek(t.Context(), call); return err },
					func() error { _, err := kv.LimitTake(t.Context(), call); return err },
					func() error { _, err := kv.LimitRefund(t.Context(), call, stamps); return err },
					func() error { return kv.LimitReset(t.Context(), call) },
				} {
					if i == 0 || random.IntN(2) == 0 { // or else what the last one left
						if err := client.Set(t.Context(), key, stored, time.Minute).Err(); err != nil {
							t.Fatal(err)
						}
					}
					err := do()
					if err != nil && !errors.Is(err, store.ErrRefused) {
						t.Fatalf("round %d, call %d, %q: %v", round, i, stored, err)
					}
					if err == nil {
						replies++
					} else {
						errs++
					}
					if ttl := client.PTTL(t.Context(), key).Val(); ttl == -1 {
						t.Fatalf("round %d, call %d, %q: no time to live", round, i, stored)
					}
				}
			}
			t.Logf("%d replies, %d errors", replies, errs)
			if replies == 0 || errs == 0 {
				t.Error("want some of each")
			}
			call := store.LimitCall{Set: sets[1], Tag: tag, Cost: 1, Now: now}
			client.Set(t.Context(), key, "of another form", time.Minute)
			expect(t, "a string of another form", "refused", func() error { return take(t.Context(), kv, call, 0) })
			expect(t, "its reset", "done", func() error { return kv.LimitReset(t.Context(), call) })
			expect(t, "after its reset", "done", func() error { return take(t.Context(), kv, call, 0) })
		})
	}
}
