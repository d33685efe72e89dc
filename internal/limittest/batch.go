package limittest

import (
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// batched is a counter of an algorithm that batches are decided by.
type batched interface {
	counter
	// waits is read without the repair.
	waits(c Call) (wait int64)
}

// Batch models limit_take_batch: so many calls of cost 1.
func (m *Model) Batch(c Call, calls int64) (allowed int64, states []State) {
	c.Cost, allowed = 1, calls
	waits := make([]int64, len(m.limits))
	for i, l := range m.limits {
		c = c.at(i)
		if waits[i] = l.read(c); waits[i] > 0 {
			allowed = 0
		}
		allowed = min(allowed, l.look(c).Remaining)
	}
	states = make([]State, len(m.limits))
	for i, l := range m.limits {
		c = c.at(i)
		c.Cost = allowed
		if allowed == 0 {
			states[i] = l.look(c)
			states[i].Wait = waits[i]
			continue
		}
		states[i] = l.spend(c)
		if allowed < calls {
			c.Cost = 1
			states[i].Wait = l.(batched).waits(c)
		}
	}
	return allowed, states
}

// Batch asks for so many calls of cost 1 in one script. It repeats them on a copy of the
// keys, singly one after the other, or as one call that costs as much as the batch
// admitted, behind which a call is denied.
func (w *World) Batch(calls int64, singly bool) (allowed int64) {
	w.tb.Helper()
	w.count.Decisions += calls
	w.pass()
	asked, modelled := w.call(calls, "", false)
	before := w.heads()
	w.copyKeys()
	reply, err := w.store.LimitTakeBatch(w.tb.Context(), asked)
	if err != nil {
		w.fail("batch of %d: %v", calls, err)
	}
	w.tell("batch of %d: %v", calls, reply)
	allowed = reply.Allowed()
	w.compareBatch(reply, modelled, calls)
	set := w.look()
	w.checkBatch(reply, calls)
	if singly && !w.crossesLead(before, allowed) {
		w.checkSingles(reply, calls)
	} else {
		w.checkOneTake(reply, calls, set)
	}
	asked.Cost = 1
	w.admitBatch(asked, reply)
	w.count.Denials += calls - allowed
	if allowed == 0 {
		w.checkSilent(set, before)
	}
	if allowed < calls {
		w.checkRetryAfter(asked, reply.Member(calls-1, nil))
	}
	return allowed
}

// compareBatch compares the reply with the model's.
func (w *World) compareBatch(got store.BatchReply, modelled Call, calls int64) {
	w.tb.Helper()
	allowed, states := w.model.Batch(modelled, calls)
	want := store.BatchReply{allowed}
	for _, s := range states {
		want = append(want, s.Remaining, s.Wait, s.Reset, s.Stamp)
	}
	if !slices.Equal(got, want) {
		w.fail("reply %v, want %v", got, want)
	}
}

// checkBatch compares the reply with each Ideal, before the uses are added there.
func (w *World) checkBatch(reply store.BatchReply, calls int64) {
	w.tb.Helper()
	allowed := reply.Allowed()
	state := reply.Member(calls-1, nil)
	for i, l := range w.limits {
		window := l.Window.Microseconds()
		after := w.ideal[i].clone()
		after.Spend(0, w.real, allowed)
		live := after.Live(w.real, window)
		if allowed > 0 && live > l.Quota {
			w.fail("OVER: limit %d let %d pass, and %d are in the window", i, allowed, live)
		}
		if w.back > 0 || l.Algorithm == 'b' {
			continue
		}
		remaining, wait, reset := max(l.Quota-live, 0), int64(0), after.Reset(w.real, window, l.Quota)
		if allowed < calls {
			wait = after.Wait(w.real, window, l.Quota, 1)
		}
		if state.Remaining(i) != remaining || state.RetryAfter(i).Microseconds() != wait || state.ResetAfter(i).Microseconds() != reset {
			w.fail("limit %d: remaining %d, wait %v, reset %v; the ideal is %d, %d, %d", i, state.Remaining(i), state.RetryAfter(i),
				state.ResetAfter(i), remaining, wait, reset)
		}
	}
}

// checkSingles compares each call of the batch with a single one on the copies, at the
// same instant: it must get the same verdict and the same Remaining. The stamps of the
// batch are equal, and those of singles rise by 1 µs; so the waits may differ by as much.
func (w *World) checkSingles(reply store.BatchReply, calls int64) {
	w.tb.Helper()
	allowed := reply.Allowed()
	for j := int64(0); j < min(calls, allowed+3); j++ { // the rest is denied alike
		asked, _ := w.call(1, "", false)
		single, err := w.copies.LimitTake(w.tb.Context(), asked)
		if err != nil {
			w.fail("single call %d: %v", j, err)
		}
		member := reply.Member(j, nil)
		if single.Verdict() != member.Verdict() {
			w.fail("call %d of %d: %v singly, %v in the batch", j, calls, single, member)
		}
		for i, l := range w.limits {
			least, most := w.differ(l, allowed, calls)
			wait, reset := single.RetryAfter(i)-member.RetryAfter(i), single.ResetAfter(i)-member.ResetAfter(i)
			if single.Remaining(i) != member.Remaining(i) || wait < least || wait > most || reset < least || reset > most {
				w.fail("call %d of %d, limit %d: %v singly, %v in the batch", j, calls, i, single, member)
			}
		}
	}
}

// differ returns by how much the waits of single calls may differ from those of a batch.
func (w *World) differ(l store.LimitSpec, allowed, calls int64) (least, most time.Duration) {
	switch {
	case l.Algorithm == 'b' || allowed == 0:
		return 0, 0
	case w.back > 0:
		// The stamps of singles may come across the lead, and are shifted by 1 µs each.
		return -time.Duration(calls) * time.Microsecond, time.Duration(allowed+calls) * time.Microsecond
	}
	return 0, time.Duration(allowed-1) * time.Microsecond
}

// crossesLead reports whether so many single calls at one instant would take their stamps
// beyond the lead; before is what heads returned. The script then takes them for a clock
// that stepped back, shifts the log, and older permits end sooner than in a batch, whose
// stamp stays close to the clock.
func (w *World) crossesLead(before []int64, allowed int64) bool {
	for i, l := range w.limits {
		window := l.Window.Microseconds()
		if ahead := max(before[i]-window-w.clock, 0); l.Algorithm == 'w' && ahead+allowed >= lead(window) {
			return true
		}
	}
	return false
}

// checkOneTake compares the batch with one call on the copies that costs as much as the
// batch admitted: the replies and the keys must be the same to the byte. A denial after
// it must be that of the batch.
func (w *World) checkOneTake(reply store.BatchReply, calls int64, set []bool) {
	w.tb.Helper()
	if allowed := reply.Allowed(); allowed > 0 {
		asked, _ := w.call(allowed, "", false)
		one, err := w.copies.LimitTake(w.tb.Context(), asked)
		if err != nil {
			w.fail("one call of %d: %v", allowed, err)
		}
		if last := reply.Member(allowed-1, nil); !slices.Equal(one, last) {
			w.fail("one call of %d: %v, the last of the batch %v", allowed, one, last)
		}
	}
	if reply.Allowed() < calls {
		w.checkNext(reply.Member(calls-1, nil))
	}
	if reply.Allowed() > 0 {
		w.checkCopies(set)
	}
}

// checkNext compares the denied calls of a batch with a call after the batch.
func (w *World) checkNext(denied store.LimitReply) {
	w.tb.Helper()
	asked, _ := w.call(1, "", false)
	next, err := w.copies.LimitPeek(w.tb.Context(), asked)
	if err != nil {
		w.fail("peek: %v", err)
	}
	slack := time.Duration(0)
	if w.back > 0 {
		slack = time.Microsecond // the batch filled the lead, so the next call shifts it
	}
	for i := range w.limits {
		late := denied.RetryAfter(i) - next.RetryAfter(i)
		if next.Verdict() != store.Denied || late < 0 || late > slack || denied.Remaining(i) != next.Remaining(i) {
			w.fail("a call after the batch: %v, those that the batch denied: %v", next, denied)
		}
	}
}

// checkCopies compares the copies with the keys, and whether a time to live was set.
func (w *World) checkCopies(set []bool) {
	w.tb.Helper()
	ctx := w.tb.Context()
	for i := range w.limits {
		if got := w.held(w.twins[i], i); !slices.Equal(got, w.before[i]) {
			w.fail("limit %d: one call leaves %v, the batch %v", i, got, w.before[i])
		}
		ttl := w.client.PTTL(ctx, w.twins[i]).Val()
		if got := ttl.Milliseconds() <= forever/2; got != set[i] {
			w.fail("limit %d: one call leaves a time to live of %v, the batch set one: %v", i, ttl, set[i])
		}
	}
}

// held returns the elements of a key like that of limit i.
func (w *World) held(key string, i int) []string {
	if w.limits[i].Algorithm == 'b' {
		return contents(w.client.Get(w.tb.Context(), key))
	}
	return contents(w.client.LRange(w.tb.Context(), key, 0, -1))
}

// admitBatch adds a decision for each call that was allowed.
func (w *World) admitBatch(asked store.LimitCall, reply store.BatchReply) {
	allowed, number := reply.Allowed(), len(w.decisions)
	for j := range allowed {
		w.decisions = append(w.decisions, &Decision{Number: number, Call: asked, Stamps: stampsOf(reply.Member(j, nil), len(w.limits)),
			At: w.real, Returned: make([]int64, len(w.limits)), Member: true})
	}
	for i := range w.limits {
		if allowed > 0 {
			w.ideal[i].Spend(number, w.real, allowed)
		}
	}
}
