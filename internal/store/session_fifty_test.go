package store_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// 50 callers at once, each with a field of its own, one counter, one message.
func TestFiftyRequestsOfOneSession(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const n = 50
		l := r.login("alice", func(c *store.SessionCreate) { c.Values = []store.Field{{Name: "message", Value: "hello"}} })
		var mu sync.Mutex
		popped, nonces := 0, map[int64]bool{}
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				want(t, "commit", r.commit(l, set(fmt.Sprint("f", i), "v"), add("count", 1)), store.SessionOK)
				v, err := r.store.SessionPop(t.Context(), l.keys, 0, "message")
				want(t, "pop", err, nil)
				offer := r.rotate(l, l.token, int64(i+1), fmt.Sprint("next-", i+1))
				mu.Lock()
				defer mu.Unlock()
				if v.Found {
					popped++
				}
				nonces[offer.Nonce] = true
			})
		}
		wg.Wait()
		record := r.load(l)
		fields := 0
		for range record.Values() {
			fields++
		}
		want(t, "fields", fields, n+1)
		want(t, "count", value(record, "count"), fmt.Sprint(n))
		want(t, "popped", popped, 1)
		want(t, "successors", len(nonces), 1)
		want(t, "the successor is theirs", string(record.Tokens().Pending), fmt.Sprint("next-", slices.Collect(maps.Keys(nonces))[0]))
	})
}

func TestFiftyLoginsAtOnceKeepTheCap(t *testing.T) {
	for _, policy := range []store.CapPolicy{store.CapEvictOldest, store.CapRefuse} {
		t.Run(string(rune(policy)), func(t *testing.T) {
			each(t, func(t *testing.T, r *rig) {
				var mu sync.Mutex
				ok := 0
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						c := r.create("alice")
						c.Cap, c.CapPolicy = 5, policy
						reply, err := r.store.SessionCreate(t.Context(), c)
						want(t, "error", err, nil)
						mu.Lock()
						defer mu.Unlock()
						if reply.Status == store.SessionOK {
							ok++
						}
					})
				}
				wg.Wait()
				want(t, "logins", ok, map[store.CapPolicy]int{store.CapEvictOldest: 50, store.CapRefuse: 5}[policy])
				want(t, "sessions", len(r.list("alice")), 5)
				want(t, "records", len(redistest.Keys(t, r.client, r.prefix+":s:")), 5)
			})
		})
	}
}
