package ratelimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// slotKeeper knows the slots that this process holds. It prolongs them, and ends each at
// its own deadline. Its goroutine starts with the first slot and ends with the last.
type slotKeeper struct {
	store  *store.Store
	health *health
	shift  atomic.Int64 // ns that tests add to the wall clock

	mu      sync.Mutex // guards what follows
	held    map[*Slot]struct{}
	weights map[string]int64 // by key, what of it this process holds, without Redis too
	running bool             // the goroutine
	closed  bool
	poke    chan struct{} // the goroutine looks again at what is due
	pending sync.WaitGroup
}

func newSlotKeeper(s *store.Store, h *health) *slotKeeper {
	return &slotKeeper{store: s, health: h, held: map[*Slot]struct{}{}, weights: map[string]int64{}, poke: make(chan struct{}, 1)}
}

func (k *slotKeeper) now() slotInstant {
	now := time.Now()
	return slotInstant{now, now.Round(0).Add(time.Duration(k.shift.Load()))}
}

// add begins to keep a slot that Redis gave in reply to a call that was sent at sent. It
// reports false if the slot's time is over already, or the limiter is closed.
func (k *slotKeeper) add(s *Slot, sent slotInstant) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	left := s.policy.slots.own() - k.now().since(sent)
	if left <= 0 || k.closed {
		return false
	}
	s.sent, s.beat = sent, sent.mono.Add(s.policy.slots.length/3)
	s.timer = time.AfterFunc(left, func() { k.look(s) })
	k.held[s] = struct{}{}
	k.weights[s.key] += s.call.Cost
	if !k.running {
		k.running = true
		k.pending.Go(k.run)
	}
	k.pokeLocked()
	return true
}

// addLocal gives a slot that Redis does not know, if this process holds less than its
// share of the key, or gives it anyway if share is 0.
func (k *slotKeeper) addLocal(s *Slot, share int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || share > 0 && k.weights[s.key]+s.call.Cost > share {
		return false
	}
	k.weights[s.key] += s.call.Cost
	return true
}

func (k *slotKeeper) pokeLocked() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// end ends a slot's context, once.
func (k *slotKeeper) end(s *Slot, cause error) {
	k.mu.Lock()
	if s.over {
		k.mu.Unlock()
		return
	}
	k.endLocked(s)
	k.mu.Unlock()
	s.cancel(cause)
}

func (k *slotKeeper) endLocked(s *Slot) {
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
	delete(k.held, s)
	if k.weights[s.key] -= s.call.Cost; k.weights[s.key] <= 0 {
		delete(k.weights, s.key)
	}
	if len(k.held) == 0 {
		k.pokeLocked()
	}
}

// look ends a slot whose time is over.
func (k *slotKeeper) look(s *Slot) {
	k.mu.Lock()
	left := s.policy.slots.own() - k.now().since(s.sent)
	if s.over || left > 0 {
		if !s.over {
			s.timer.Reset(left)
		}
		k.mu.Unlock()
		return
	}
	k.mu.Unlock()
	k.end(s, ErrSlotLost)
}

// run beats until no slot is held.
func (k *slotKeeper) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		k.mu.Lock()
		if len(k.held) == 0 {
			k.running = false
			k.mu.Unlock()
			return
		}
		var next time.Time
		for s := range k.held {
			if next.IsZero() || s.beat.Before(next) {
				next = s.beat
			}
		}
		k.mu.Unlock()
		timer.Reset(time.Until(next))
		select {
		case <-k.poke:
		case <-timer.C:
			k.beat()
		}
	}
}

// beat prolongs the slots whose beat is due, or soon is.
func (k *slotKeeper) beat() {
	k.mu.Lock()
	sent := k.now()
	var due []*Slot
	for s := range k.held {
		if s.policy.slots.own() <= sent.since(s.sent) {
			defer k.look(s)
		} else if s.beat.Sub(sent.mono) <= s.policy.slots.length/12 {
			s.beat = sent.mono.Add(s.policy.slots.length / 3)
			due = append(due, s)
		}
	}
	k.mu.Unlock()
	groups, calls := slotGroups(due)
	held, errs := k.send(calls, k.store.SlotBeat)
	for i, group := range groups {
		for n, s := range group {
			switch {
			case errs[i] != nil:
				k.again(s)
			case held[i][n] == 1:
				k.prolong(s, sent)
			default:
				k.end(s, ErrSlotLost)
			}
		}
	}
}

// again makes the next beat come sooner than usual after one that failed. The error ends
// no slot; its deadline does.
func (k *slotKeeper) again(s *Slot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s.beat = time.Now().Add(s.policy.slots.length / 12)
}

// prolong takes up a beat that succeeded, unless the slot was over before the reply came.
func (k *slotKeeper) prolong(s *Slot, sent slotInstant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, own := k.now(), s.policy.slots.own()
	if s.over || now.since(s.sent) >= own {
		return // its timer ends it
	}
	s.sent = sent
	s.timer.Reset(max(own-now.since(sent), 0))
}

// slotGroups groups slots for a call each: those of one key, at most as many as a call
// takes.
func slotGroups(due []*Slot) (groups [][]*Slot, calls []store.SlotHolders) {
	slices.SortFunc(due, func(a, b *Slot) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.call.ID, b.call.ID)) })
	for _, s := range due {
		last := len(groups) - 1
		if last < 0 || groups[last][0].key != s.key || len(groups[last]) == store.MaxSlotIDs {
			groups, calls = append(groups, nil), append(calls, store.SlotHolders{Limit: s.call.Limit, Tag: s.call.Tag})
			last++
		}
		groups[last] = append(groups[last], s)
		calls[last].IDs = append(calls[last].IDs, s.call.ID)
	}
	return groups, calls
}

// send sends the calls to the servers that answer. A panic in one of the program's hooks
// becomes an error, because nobody else recovers on the goroutines of the keeper.
func (k *slotKeeper) send(calls []store.SlotHolders, f func(context.Context, []store.SlotHolders) ([][]int64, []error)) (replies [][]int64, errs []error) {
	defer func() {
		if p := recover(); p != nil {
			replies, errs = make([][]int64, len(calls)), slices.Repeat([]error{fmt.Errorf("%w: panic: %v", gatekit.ErrUnavailable, p)}, len(calls))
		}
	}()
	return callMany(k.health, calls, func(c store.SlotHolders) store.Tag { return c.Tag },
		func(calls []store.SlotHolders) ([][]int64, []error) { return f(context.Background(), calls) })
}

// giveBack releases a slot in Redis. If that fails, the slot runs out.
func (k *slotKeeper) giveBack(call store.SlotCall) {
	if call.ID != "" {
		k.send([]store.SlotHolders{{Limit: call.Limit, Tag: call.Tag, IDs: []string{call.ID}}}, k.store.SlotRelease)
	}
}

// later runs f, which ends within the budget, in the background. Close waits for it.
func (k *slotKeeper) later(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.pending.Go(f)
	}
}

// close ends all slots and gives them back.
func (k *slotKeeper) close() error {
	k.mu.Lock()
	k.closed = true
	var all []*Slot
	for s := range k.held {
		all = append(all, s)
	}
	for _, s := range all {
		k.endLocked(s)
	}
	k.mu.Unlock()
	for _, s := range all {
		s.cancel(errLimiterClosed)
	}
	_, calls := slotGroups(all)
	var errs []error
	if len(calls) > 0 {
		_, errs = k.send(calls, k.store.SlotRelease)
	}
	k.pending.Wait()
	return errors.Join(errs...)
}

// Close gives back the slots that the limiter holds, and ends their contexts. It takes at
// most twice the budget. Further calls of Acquire, AcquireWait and Run return an error;
// all other methods go on. A program that ends without Close keeps its slots until they
// run out, after the limit's Window. The error says that slots may not have been given
// back. Close may be called twice.
func (l *Limiter) Close() error {
	l.lines.close()
	if err := l.slots.close(); err != nil {
		return errtext.Errorf("ratelimit", "close: %w", err)
	}
	return nil
}
