package store

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// slotRig sends the calls of one key at instants that the test names.
type slotRig struct {
	t     *testing.T
	store *Store
	limit *SlotLimit
	rates *LimitSet
	tag   Tag
	now   int64
}

// eachSlotRig runs f on each server, with n slots of a minute.
func eachSlotRig(t *testing.T, n int64, f func(r *slotRig)) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		store, err := New(server.Client(t), Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		limit := NewSlotLimit(SlotSpec{Name: "s", Slots: n, Length: time.Minute})
		f(&slotRig{t, store, limit, nil, MakeTag("slots", t.Name()), 1_700_000_000_000_000})
	})
}

func (r *slotRig) pass(d time.Duration) { r.now += d.Microseconds() }

func (r *slotRig) acquire(id, process string, cost int64) SlotReply {
	r.t.Helper()
	reply, err := r.store.SlotAcquire(r.t.Context(), SlotCall{Limit: r.limit, Rates: r.rates, Tag: r.tag, Cost: cost, ID: id, Process: process, Now: r.now})
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

// want acquires, or is denied.
func (r *slotRig) want(verdict int64, id, process string, cost int64) SlotReply {
	r.t.Helper()
	reply := r.acquire(id, process, cost)
	if reply.Verdict() != verdict {
		r.t.Errorf("%s of process %q: %v, want verdict %d", id, process, reply, verdict)
	}
	return reply
}

func (r *slotRig) holders(ids ...string) []SlotHolders {
	return []SlotHolders{{Limit: r.limit, Tag: r.tag, IDs: ids, Now: r.now}}
}

func (r *slotRig) beat(id string, want int64) {
	r.t.Helper()
	if got, errs := r.store.SlotBeat(r.t.Context(), r.holders(id)); errs[0] != nil || got[0][0] != want {
		r.t.Errorf("beat of %s: %v, %v; want %d", id, got, errs, want)
	}
}

func (r *slotRig) release(id string, want int64) {
	r.t.Helper()
	if got, errs := r.store.SlotRelease(r.t.Context(), r.holders(id)); errs[0] != nil || got[0][0] != want {
		r.t.Errorf("release of %s: %v, %v; want %d", id, got, errs, want)
	}
}

// TestSlotsFill: n fit, one more is denied until a slot is released or runs out.
func TestSlotsFill(t *testing.T) {
	eachSlotRig(t, 3, func(r *slotRig) {
		r.want(SlotAcquired, "a", "", 1)
		if reply := r.want(SlotAcquired, "b", "", 2); reply.Free() != 0 || reply.Wait() != 0 {
			r.t.Errorf("%v, want no slot free and no wait", reply)
		}
		if reply := r.want(SlotDenied, "c", "", 1); reply.Wait() != time.Second || reply.Fence() != 0 {
			r.t.Errorf("%v, want a wait of 1 s and no fence", reply)
		}
		r.release("b", 2)
		r.release("b", 0)
		r.want(SlotAcquired, "c", "", 2)
		r.pass(time.Minute - 300*time.Millisecond)
		r.beat("c", 1)
		if reply := r.want(SlotDenied, "d", "", 1); reply.Wait() != 300*time.Millisecond {
			r.t.Errorf("wait %v, want the 300 ms that the first slot has left", reply.Wait())
		}
		r.pass(300 * time.Millisecond)
		r.want(SlotAcquired, "d", "", 1)
		r.beat("a", 0)
		r.beat("c", 1)
	})
}

// TestBeatGivesNoSlotBack: a beat that comes after the release, or after the slot ran
// out, says so and makes no holder.
func TestBeatGivesNoSlotBack(t *testing.T) {
	eachSlotRig(t, 1, func(r *slotRig) {
		r.want(SlotAcquired, "a", "", 1)
		r.release("a", 1)
		r.beat("a", 0)
		r.beat("a", 0)
		r.want(SlotAcquired, "b", "", 1)
		r.pass(time.Minute)
		r.beat("b", 0)
		r.beat("b", 0)
		r.want(SlotAcquired, "c", "", 1)
	})
}

// TestFencesRise: also at the same instant, and after the clock stepped back.
func TestFencesRise(t *testing.T) {
	eachSlotRig(t, 2, func(r *slotRig) {
		first := r.want(SlotAcquired, "a", "", 1).Fence()
		second := r.want(SlotAcquired, "b", "", 1).Fence()
		r.release("a", 1)
		r.pass(-time.Hour)
		third := r.want(SlotAcquired, "c", "", 1).Fence()
		if first != r.now+time.Hour.Microseconds() || second <= first || third <= second {
			r.t.Errorf("fences %d, %d, %d, want rising from the server's clock", first, second, third)
		}
	})
}

// TestSlotAcquireIsRepeated: the id is found again with its fence and its charge, and
// nothing is spent a second time.
func TestSlotAcquireIsRepeated(t *testing.T) {
	eachSlotRig(t, 2, func(r *slotRig) {
		r.rates = NewLimitSet(specs("wb")...)
		first := r.want(SlotAcquired, "a", "", 2)
		r.pass(30 * time.Second)
		again := r.want(SlotHeld, "a", "", 2)
		if again.Fence() != first.Fence() || again.Free() != 0 {
			r.t.Errorf("%v, want the fence of %v", again, first)
		}
		for i := range 2 {
			if again.Rates().Remaining(i) != first.Rates().Remaining(i) || again.Rates().Stamp(i) != first.Rates().Stamp(i) || first.Rates().Stamp(i) == 0 {
				r.t.Errorf("rate %d: %v, want the charge of %v", i, again.Rates(), first.Rates())
			}
		}
		r.pass(45 * time.Second) // it was prolonged
		r.beat("a", 1)
	})
}

// TestSlotsAndRates: a denial by the slots charges no rate, and one by a rate takes no
// slot.
func TestSlotsAndRates(t *testing.T) {
	eachSlotRig(t, 1, func(r *slotRig) {
		r.rates = NewLimitSet(LimitSpec{Name: "r", Algorithm: 'w', Quota: 3, Window: time.Hour})
		r.want(SlotAcquired, "a", "", 1)
		for range 20 {
			if reply := r.want(SlotDenied, "b", "", 1); reply.Rates().Remaining(0) != 2 || reply.Wait() == 0 {
				r.t.Fatalf("%v, want 2 permits left", reply)
			}
		}
		r.release("a", 1)
		r.want(SlotAcquired, "b", "", 1)
		r.release("b", 1)
		r.want(SlotAcquired, "c", "", 1)
		r.release("c", 1)
		reply := r.want(SlotDenied, "d", "", 1)
		if reply.Wait() != 0 || reply.Free() != 1 || reply.Rates().RetryAfter(0) != time.Hour {
			r.t.Errorf("%v, want a denial by the rate alone, an hour long", reply)
		}
	})
}

// TestLine: processes get their turn in the order in which they came, whoever does not
// wait comes behind them, and after its turn a process starts at the end.
func TestLine(t *testing.T) {
	eachSlotRig(t, 1, func(r *slotRig) {
		r.want(SlotAcquired, "a", "", 1)
		r.want(SlotDenied, "b1", "b", 1)
		r.want(SlotDenied, "c1", "c", 1)
		r.release("a", 1)
		r.want(SlotDenied, "d", "", 1)
		r.want(SlotDenied, "c1", "c", 1)
		r.want(SlotAcquired, "b1", "b", 1)
		r.want(SlotDenied, "b2", "b", 1)
		r.release("b1", 1)
		r.want(SlotDenied, "b2", "b", 1)
		r.want(SlotAcquired, "c1", "c", 1)
		r.release("c1", 1)
		if err := r.store.SlotLeave(r.t.Context(), SlotCall{Limit: r.limit, Tag: r.tag, Process: "b", Now: r.now}); err != nil {
			r.t.Fatal(err)
		}
		r.want(SlotAcquired, "d", "", 1)
	})
}

// TestLineWithWeights: what waits ahead counts with its weight, so a small cost does not
// starve a large one.
func TestLineWithWeights(t *testing.T) {
	eachSlotRig(t, 4, func(r *slotRig) {
		r.want(SlotAcquired, "a", "", 2)
		r.want(SlotDenied, "b1", "b", 3)
		r.want(SlotDenied, "c1", "c", 1)
		r.want(SlotDenied, "d", "", 1)
		r.release("a", 2)
		r.want(SlotAcquired, "c1", "c", 1) // it fits beside the 3 ahead
		r.want(SlotDenied, "d", "", 1)
		r.want(SlotAcquired, "b1", "b", 3)
	})
}

// TestLineForgetsTheDead: a process that does not ask for two seconds holds nobody up,
// and neither does one that asked before the clock stepped back.
func TestLineForgetsTheDead(t *testing.T) {
	for _, step := range []time.Duration{2 * time.Second, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			eachSlotRig(t, 1, func(r *slotRig) {
				r.want(SlotAcquired, "a", "", 1)
				r.want(SlotDenied, "b1", "b", 1)
				r.want(SlotDenied, "c1", "c", 1)
				r.release("a", 1)
				r.pass(step)
				r.want(SlotAcquired, "c1", "c", 1)
				r.release("c1", 1)
				r.want(SlotAcquired, "d", "", 1)
			})
		})
	}
}

// TestLineKeepsItsOrder: after the clock stepped back, the next to come is still the
// last.
func TestLineKeepsItsOrder(t *testing.T) {
	eachSlotRig(t, 1, func(r *slotRig) {
		r.want(SlotAcquired, "a", "", 1)
		r.want(SlotDenied, "b1", "b", 1)
		r.pass(-time.Second)
		r.want(SlotDenied, "c1", "c", 1)
		r.release("a", 1)
		r.want(SlotDenied, "c1", "c", 1)
		r.want(SlotAcquired, "b1", "b", 1)
	})
}
