package ratelimit

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// ErrSlotLost is the cause, [context.Cause], with which a slot's context ends while the
// slot is not released: Redis did not hear of this process for so long that it gives the
// slot to others, or the slot was taken away. Stop the work.
var ErrSlotLost = errors.New("ratelimit: the slot is lost: stop the work, another may hold it")

var errLimiterClosed = errors.New("ratelimit: the Limiter is closed")

// A Slot is one of those that may be under way at once. Its holder calls Release when the
// work is done, or else it stays held as long as the process lives. A Slot is safe for
// concurrent use.
type Slot struct {
	keeper *slotKeeper
	policy *Policy
	call   store.SlotCall
	key    string // of the limit, see [store.Store.SlotKey]
	fence  uint64

	ctx      context.Context
	cancel   context.CancelCauseFunc
	released atomic.Bool

	// Guarded by the mutex of the keeper.
	over  bool
	sent  slotInstant // before the last acquire or beat that succeeded was sent
	beat  time.Time   // when the next beat is due
	timer *time.Timer // ends the slot at its own deadline; nil without Redis
}

// Context returns the context of the work. It is derived from that of the Acquire. It
// ends too when the slot is released, and with [ErrSlotLost] when it is lost.
func (s *Slot) Context() context.Context { return s.ctx }

// Fence returns the number of this acquisition. It is greater than those of all earlier
// ones of the key. Send it along with each write to what the slots protect, and have that
// refuse a number below the greatest that it has seen: then a holder that was frozen and
// does not know yet that its slot is lost changes nothing. 0 means that a fail mode gave
// the slot, which has no order.
func (s *Slot) Fence() uint64 { return s.fence }

// Release gives the slot back, and ends its context. It takes at most the budget, does
// not depend on the context of the Acquire, and does nothing the second time or after the
// slot was lost. If Redis cannot be reached, the slot runs out by itself after the
// limit's Window.
func (s *Slot) Release() {
	if s.released.CompareAndSwap(false, true) {
		s.keeper.end(s, context.Canceled)
		s.keeper.giveBack(s.call)
	}
}

// slotsOf is the Concurrent limit of a policy.
type slotsOf struct {
	index  int // among the policy's limits
	quota  int64
	length time.Duration
	limit  *store.SlotLimit
}

func newSlotsOf(index int, l Limit) *slotsOf {
	spec := store.SlotSpec{Name: l.Name, Slots: l.Quota, Length: l.Window}
	return &slotsOf{index: index, quota: l.Quota, length: l.Window, limit: store.NewSlotLimit(spec)}
}

// own is how long a holder trusts its slot, counted from before the call that gave or
// prolonged it was sent. It ends before Redis gives the slot to another, also if the two
// clocks drift apart by a thousandth each.
func (s *slotsOf) own() time.Duration { return s.length - s.length/500 - time.Millisecond }

// slotInstant is an instant by two clocks of this process.
type slotInstant struct {
	mono time.Time
	wall time.Time // without the monotonic clock
}

// since returns how much of a slot's time has passed since at. The monotonic clock stands
// still while the machine is suspended and the wall clock does not, so their difference
// counts on top. That of a wall clock that was set counts too: nobody can tell the two
// apart.
func (at slotInstant) since(earlier slotInstant) time.Duration {
	passed := at.mono.Sub(earlier.mono)
	jump := (at.wall.Sub(earlier.wall) - passed).Abs()
	if jump <= time.Millisecond+passed/1000 {
		return passed
	}
	return passed + jump
}
