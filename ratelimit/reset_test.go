package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// Several takes within one microsecond have stamps ahead of the clock. After a reset the
// clock reaches one of these stamps, and a new permit gets the same microsecond. A refund
// of the old take must not remove the new permit: neither at once, nor after another
// reset, nor if the list was empty in between.
func TestRefundAfterResetFindsNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		for _, c := range []struct {
			name  string
			again func(kv *store.Store, call store.LimitCall) error // what happens after the reset
		}{
			{"at once", func(*store.Store, store.LimitCall) error { return nil }},
			{"reset again", func(kv *store.Store, call store.LimitCall) error { return kv.LimitReset(t.Context(), call) }},
			{"taken and refunded", func(kv *store.Store, call store.LimitCall) error {
				reply, err := kv.LimitTake(t.Context(), call)
				if err == nil {
					_, err = kv.LimitRefund(t.Context(), call, []int64{reply.Stamp(0)})
				}
				return err
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				kv, err := store.New(s.Client(t), store.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				const now = int64(1_790_000_000_000_000)
				call := store.LimitCall{
					Set: store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: 10, Window: time.Minute}),
					Tag: store.MakeTag("test", c.name), Cost: 1, Now: now,
				}
				take := func() int64 {
					t.Helper()
					reply, err := kv.LimitTake(t.Context(), call)
					if err != nil || reply.Verdict() != store.Allowed {
						t.Fatalf("take: %v, %v", reply, err)
					}
					return reply.Stamp(0)
				}
				var ahead int64
				for range 3 {
					ahead = take()
				}
				if ahead <= now {
					t.Fatalf("the third stamp of one microsecond is %d, not ahead of %d", ahead, now)
				}
				if err := kv.LimitReset(t.Context(), call); err != nil {
					t.Fatal(err)
				}
				if err := c.again(kv, call); err != nil {
					t.Fatal(err)
				}
				call.Now = ahead
				another := take()
				if given, err := kv.LimitRefund(t.Context(), call, []int64{ahead}); err != nil || given[0] != 0 {
					t.Errorf("the refund of what was reset gave back %v, %v: another's permit", given, err)
				}
				if given, err := kv.LimitRefund(t.Context(), call, []int64{another}); err != nil || given[0] != 1 {
					t.Errorf("the refund of the permit itself gave back %v, %v; want 1", given, err)
				}
			})
		}
	})
}

// After a quota is lowered, more permits than the quota may be live. Only the newest as
// many as the quota matter: a permit comes back when the oldest of those ends. The
// permits before it give nothing back.
func TestResetAfterOfALoweredQuota(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		kv, err := store.New(s.Client(t), store.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		const start, n = int64(1_790_000_000_000_000), 300
		call := store.LimitCall{Tag: store.MakeTag("test", "lowered"), Cost: 1}
		of := func(quota int64) *store.LimitSet {
			return store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: quota, Window: time.Minute})
		}
		call.Set = of(n)
		for i := range int64(n) {
			call.Now = start + i*1000
			if reply, err := kv.LimitTake(t.Context(), call); err != nil || reply.Verdict() != store.Allowed {
				t.Fatal(reply, err)
			}
		}
		for _, quota := range []int64{1, 2, 5, 64, 65, 66, 150, 299} {
			t.Run(fmt.Sprintf("quota %d", quota), func(t *testing.T) {
				for _, cost := range []int64{1, 2, quota} {
					call.Set, call.Cost = of(quota), min(cost, quota)
					want := time.Minute - time.Duration((quota-1)*1000)*time.Microsecond
					for name, f := range map[string]func() (store.LimitReply, error){
						"peek": func() (store.LimitReply, error) { return kv.LimitPeek(t.Context(), call) },
						"take": func() (store.LimitReply, error) { return kv.LimitTake(t.Context(), call) },
					} {
						reply, err := f()
						if err != nil || reply.Remaining(0) != 0 || reply.ResetAfter(0) != want {
							t.Errorf("quota %d, %s of %d: %d left, reset after %v, %v; want 0 and %v", quota, name, call.Cost, reply.Remaining(0), reply.ResetAfter(0), err, want)
						}
					}
				}
			})
		}
	})
}
