package limittest

import (
	"fmt"
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// call returns the call for the scripts and the same call for the model, at the present
// time.
func (w *World) call(cost int64, name string, repeatable bool) (store.LimitCall, Call) {
	asked := store.LimitCall{Set: store.NewLimitSet(w.limits...), Tag: w.tag, Cost: cost, Name: name, Repeatable: repeatable, Now: w.clock, Local: w.clock + w.lie}
	modelled := Call{Decision: len(w.decisions), Now: w.clock, Cost: cost, Name: name, Repeatable: repeatable, Periods: make([]string, len(w.limits))}
	for _, l := range w.limits {
		modelled.Quotas = append(modelled.Quotas, l.Quota)
	}
	return asked, modelled
}

// Take asks for cost permits. If a limit is a SlidingLog, name is the name of the call.
func (w *World) Take(cost int64, name string, repeatable bool) store.Verdict {
	w.tb.Helper()
	w.count.Decisions++
	w.pass()
	asked, modelled := w.call(cost, name, repeatable)
	return w.ask(asked, modelled)
}

// ask runs one call.
func (w *World) ask(asked store.LimitCall, modelled Call) store.Verdict {
	w.tb.Helper()
	before := w.heads()
	reply, err := w.store.LimitTake(w.tb.Context(), asked)
	if err != nil {
		w.fail("take: %v", err)
	}
	w.tell("take %s: %v", describe(asked), reply)
	modelled.Periods = w.periods()
	verdict, states := w.model.Take(modelled)
	w.compare(reply, verdict, states)
	w.take(asked, reply, before)
	if verdict == store.Denied {
		w.checkRetryAfter(asked, reply)
	}
	return verdict
}

// describe tells what a call asks for.
func describe(asked store.LimitCall) string {
	if asked.Costs != nil {
		return fmt.Sprintf("%d %.6s", asked.Costs, asked.Name)
	}
	return fmt.Sprintf("%d %.6s", asked.Cost, asked.Name)
}

// take checks what a take did, and notes an admission. before are the heads before it.
func (w *World) take(asked store.LimitCall, reply store.LimitReply, before []int64) {
	w.tb.Helper()
	set := w.look()
	w.checkStates(asked, reply)
	w.checkSticky(asked, reply)
	switch name := asked.Name; reply.Verdict() {
	case store.Allowed:
		if w.admit(asked, reply) == 0 {
			w.checkSilent(set, before)
		}
	case store.AllowedBefore:
		w.lose(asked, w.admitted(name).At)
		w.decisions = append(w.decisions, &Decision{Number: len(w.decisions), Call: asked, Stamps: stampsOf(reply, len(w.limits)), At: w.admitted(name).At})
		w.checkSilent(set, before)
	case store.Denied:
		w.count.Denials++
		w.checkSilent(set, before)
	default:
		w.checkSilent(set, before)
	}
}

// lose notes that a call which nobody may repeat was sent again: the reply of its
// admission, at the true time at, was lost. Only the last of its decisions has an owner.
func (w *World) lose(asked store.LimitCall, at int64) {
	for _, d := range w.decisions {
		d.Lost = d.Lost || !asked.Repeatable && d.At == at
	}
}

// pass lets true time pass: two calls may read the same microsecond of the server's
// clock.
func (w *World) pass() {
	if !w.moved {
		w.real, w.back = w.real+1, w.back+1
	}
	w.moved = false
}

// Peek asks the scripts what Take would answer. It checks that the script writes nothing
// and that the model agrees; the same model checks Take's replies.
func (w *World) Peek(cost int64) {
	w.tb.Helper()
	asked, modelled := w.call(cost, "", false)
	reply, err := w.store.LimitPeek(w.tb.Context(), asked)
	if err != nil {
		w.fail("peek %d: %v", cost, err)
	}
	w.tell("peek %d: %v", cost, reply)
	modelled.Periods = w.periods()
	verdict, states := w.model.Peek(modelled)
	w.compare(reply, verdict, states)
	if set := w.look(); slices.Contains(set, true) {
		w.fail("peek set a time to live: %v", set)
	}
}

// Refund gives a decision back. Like package ratelimit, it refunds each decision once,
// none that is an eighth older than all its windows, and none whose reply was lost. It
// reports whether it refunded the decision.
func (w *World) Refund(d *Decision) bool {
	w.tb.Helper()
	longest := int64(0)
	for _, l := range w.limits {
		longest = max(longest, length(l))
	}
	if d.Refunded || d.Lost || w.real-d.At > longest*9/8 {
		return false
	}
	stamps := slices.Clone(d.Stamps)
	for i, l := range w.limits { // a limit where it no longer counts gets no stamp
		if w.real-d.At > length(l)*9/8 {
			stamps[i] = 0
		}
	}
	d.Refunded = true
	w.count.Refunds++
	asked, modelled := w.call(d.Call.Cost, d.Call.Name, d.Call.Repeatable)
	asked.Costs, modelled.Costs = d.Call.Costs, d.Call.Costs
	given, err := w.store.LimitRefund(w.tb.Context(), asked, stamps)
	if err != nil {
		w.fail("refund: %v", err)
	}
	w.tell("refund decision %d, stamps %v: %v", d.Number, d.Stamps, given)
	accounted := w.model.accounted(modelled)
	want, owners := w.model.Refund(modelled, stamps)
	if !slices.Equal(given, want) {
		w.fail("refund gave back %v, want %v", given, want)
	}
	for i, n := range given {
		if !accounted {
			w.checkGiven(d, i, n, d.Call.CostOf(i), owners[i])
		} else if n != 0 {
			w.fail("limit %d gave back %d though the call was settled before", i, n)
		}
	}
	w.look()
	return true
}

// checkGiven checks that limit i gave back all unused permits of the decision or, where
// they no longer count, none. It takes them from the Ideal.
func (w *World) checkGiven(d *Decision, i int, n, unused int64, owners []int) {
	w.tb.Helper()
	first := w.original(d)
	switch window := remembered(w.limits[i]); {
	case n != 0 && n != unused:
		w.fail("limit %d gave back %d of %d permits", i, n, unused)
	case n > 0 && !slices.Contains(owners, first.Number):
		w.fail("limit %d: decision %d gave back permits of %v", i, first.Number, owners)
	case n > 0 && d.Forgotten:
		w.fail("limit %d gave back what was spent before a reset", i)
	case n > 0 && first.Returned[i]+n > first.Call.CostOf(i):
		w.fail("limit %d gave back twice", i)
	case n == 0 && d.Stamps[i] > 0 && w.back == 0 && !d.Forgotten && first.Returned[i] == 0 && w.real-first.At < window:
		w.fail("limit %d gave back nothing of a live decision, and the clock never stepped back", i)
	}
	first.Returned[i] += n
	w.ideal[i].Refund(first.Number, n)
	w.truth[i][d.Stamps[i]/256] -= n
}

// original returns the decision that was charged for d, which may be a repeat.
func (w *World) original(d *Decision) *Decision {
	if d.Member {
		return d
	}
	for _, o := range w.decisions {
		if o.At == d.At {
			return o
		}
	}
	return d
}

// Reset forgets all.
func (w *World) Reset() {
	w.tb.Helper()
	asked, _ := w.call(1, "", false)
	if err := w.store.LimitReset(w.tb.Context(), asked); err != nil {
		w.fail("reset: %v", err)
	}
	w.tell("reset")
	w.model.Reset(w.clock)
	clear(w.names)
	for i := range w.ideal {
		w.ideal[i].Forget()
		clear(w.truth[i])
	}
	for _, d := range w.decisions {
		// After a step back the clock may read a microsecond again, and a permit of an
		// empty list then gets a name that was used before. Also, there are only three
		// eras.
		d.Forgotten, d.Resets = true, d.Resets+1
		d.Refunded = d.Refunded || w.back > 0 || d.Resets > 2
	}
	w.look()
}

// admitted returns the last admission of a call.
func (w *World) admitted(name string) *Decision {
	for _, d := range slices.Backward(w.decisions) {
		if d.Call.Name == name {
			return d
		}
	}
	w.fail("call %q is taken for one that was admitted", name)
	return nil
}

func stampsOf(r store.LimitReply, n int) (stamps []int64) {
	for i := range n {
		stamps = append(stamps, r.Stamp(i))
	}
	return stamps
}

// admit adds an admission to each Ideal, and fails if there is one too many. It returns
// how many permits were spent.
func (w *World) admit(asked store.LimitCall, reply store.LimitReply) (spent int64) {
	w.tb.Helper()
	d := &Decision{Number: len(w.decisions), Call: asked, Stamps: stampsOf(reply, len(w.limits)), At: w.real,
		Returned: make([]int64, len(w.limits))}
	for _, o := range w.decisions {
		// A SlidingLog cannot tell the same call in the same microsecond apart.
		o.Refunded = o.Refunded || o.Forgotten && asked.Name != "" && o.Call.Name == asked.Name && w.back > 0
	}
	w.decisions = append(w.decisions, d)
	for i, l := range w.limits {
		cost := asked.CostOf(i)
		spent += cost
		if l.Algorithm == 'k' {
			w.admitCivil(i, cost)
			continue
		}
		if live := w.ideal[i].Live(w.real, l.Window.Microseconds()); live+max(cost, 1) > l.Quota {
			w.fail("OVER: limit %d let %d pass with %d of %d in the window", i, cost, live, l.Quota)
		}
		w.ideal[i].Spend(d.Number, w.real, cost)
	}
	if asked.Name != "" {
		w.names[asked.Name] = d
	}
	return spent
}

// compare compares a reply with the model's.
func (w *World) compare(got store.LimitReply, verdict store.Verdict, states []State) {
	w.tb.Helper()
	want := store.LimitReply{int64(verdict)}
	for _, s := range states {
		want = append(want, s.Remaining, s.Wait, s.Reset, s.Stamp)
	}
	if !slices.Equal(got, want) {
		w.fail("reply %v, want %v", got, want)
	}
}

// checkStates compares the reply with each Ideal, which knows nothing of stamps. It is
// called before the use is added there.
func (w *World) checkStates(asked store.LimitCall, reply store.LimitReply) {
	w.tb.Helper()
	for i, l := range w.limits {
		cost := max(asked.CostOf(i), 1)
		if l.Algorithm == 'k' {
			w.checkCivil(i, asked.CostOf(i), reply)
			continue
		}
		window := l.Window.Microseconds()
		wait := reply.RetryAfter(i).Microseconds()
		ideal := w.ideal[i].Wait(w.real, window, l.Quota, cost)
		late, bound := int64(0), window+lead(window)
		if l.Algorithm == 'b' {
			span := (window + parts - 1) / parts
			late = span + parts // a permit counts until its bucket's end + window, and spans are rounded up
			bound = span * (parts + 2)
		}
		if wait > ideal+late+w.back {
			w.fail("limit %d: wait %d, the ideal is %d, the clock stepped back by %d", i, wait, ideal, w.back)
		}
		if wait > bound {
			w.fail("limit %d: wait %d is more than %d", i, wait, bound)
		}
		if w.back > 0 || l.Algorithm == 'b' {
			continue
		}
		after := w.ideal[i].clone()
		if reply.Verdict() == store.Allowed {
			after.Spend(0, w.real, asked.CostOf(i))
		}
		remaining, reset := max(l.Quota-after.Live(w.real, window), 0), after.Reset(w.real, window, l.Quota)
		if wait != ideal || reply.Remaining(i) != remaining || reply.ResetAfter(i).Microseconds() != reset {
			w.fail("limit %d: remaining %d, wait %d, reset %d; the ideal is %d, %d, %d", i, reply.Remaining(i), wait,
				reply.ResetAfter(i).Microseconds(), remaining, ideal, reset)
		}
	}
}

// checkSticky checks that a call that was admitted is not charged again within the
// longest window of a SlidingLog.
func (w *World) checkSticky(asked store.LimitCall, reply store.LimitReply) {
	w.tb.Helper()
	d := w.names[asked.Name]
	if d == nil || w.real-d.At >= w.model.horizon() {
		return
	}
	gone := w.wasRefunded(d)
	if gone && !(d.Call.Repeatable && asked.Repeatable) {
		return // a call without a CallID need not be repeatable
	}
	same := true
	for i, l := range w.limits {
		same = same && (l.Algorithm != 'l' || asked.CostOf(i) == d.Call.CostOf(i))
	}
	sticks := reply.Verdict() == store.AllowedBefore && (gone || same) || reply.Verdict() == store.OtherCost && !same
	if asked.Costs != nil && !same {
		// Where the limits have different windows, the one whose cost differs may have
		// forgotten the call.
		sticks = reply.Verdict() == store.AllowedBefore || reply.Verdict() == store.OtherCost
	}
	if !sticks {
		w.fail("call %q was admitted %d µs ago at cost %d, refunded: %v; verdict at cost %d: %d", asked.Name, w.real-d.At,
			d.Call.Cost, gone, asked.Cost, reply.Verdict())
	}
}

// wasRefunded reports whether there was a refund of the admission, or of a repeat of it.
func (w *World) wasRefunded(d *Decision) bool {
	return slices.ContainsFunc(w.decisions, func(o *Decision) bool { return o.At == d.At && o.Refunded })
}

// heads returns, by the model, when the newest permit of each limit ends; 0 if there is
// none.
func (w *World) heads() (all []int64) {
	for _, l := range w.model.limits {
		all = append(all, l.until(0))
	}
	return all
}

// checkSilent checks that a call which is not admitted writes nothing. The only exception
// is the repair, which moves the newest permit back.
func (w *World) checkSilent(set []bool, before []int64) {
	w.tb.Helper()
	for i, after := range w.heads() {
		switch {
		case after > before[i]:
			w.fail("limit %d: nothing was spent and its newest permit went from %d to %d", i, before[i], after)
		case after == before[i] && set[i]:
			w.fail("limit %d: nothing was spent and a time to live was set", i)
		case after < before[i]:
			w.count.Repairs++
		}
	}
	if set[len(w.limits)] {
		w.fail("nothing was refunded and the time to live of the refunded calls was set")
	}
}

// checkRetryAfter repeats the denied call on a copy of the keys. 1 µs before the time to
// retry it must be denied, and at that time it must pass.
func (w *World) checkRetryAfter(asked store.LimitCall, reply store.LimitReply) {
	w.tb.Helper()
	wait := time.Duration(0)
	for i := range w.limits {
		wait = max(wait, reply.RetryAfter(i))
	}
	w.copyKeys()
	for _, c := range []struct {
		after time.Duration
		want  store.Verdict
	}{{wait - time.Microsecond, store.Denied}, {wait, store.Allowed}} {
		asked.Now = w.clock + c.after.Microseconds()
		asked.Local = asked.Now + w.lie
		if c.want == store.Allowed && w.full(asked, asked.Now) {
			continue
		}
		got, err := w.copies.LimitTake(w.tb.Context(), asked)
		if err != nil || got.Verdict() != c.want {
			w.fail("retry after %v: after %v the reply is %v, %v", wait, c.after, got, err)
		}
	}
}

// copyKeys makes the copies equal to the keys.
func (w *World) copyKeys() {
	w.tb.Helper()
	ctx := w.tb.Context()
	pipe := w.client.Pipeline()
	for i := range w.keys {
		pipe.Del(ctx, w.twins[i])
		pipe.Do(ctx, "COPY", w.keys[i], w.twins[i])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		w.fail("copy: %v", err)
	}
}

// checkExpiry checks that key i lives as long as anything in it counts.
func (w *World) checkExpiry(i int) {
	w.tb.Helper()
	need := int64(0)
	if i < len(w.limits) {
		need = w.model.limits[i].until(w.clock)
	} else {
		for name := range w.model.refunded {
			if d := w.names[name]; d != nil && w.wasRefunded(d) && d.At+w.model.horizon() > w.real {
				need = max(need, w.clock+d.At+w.model.horizon()-w.real)
			}
		}
	}
	if need > 0 && w.expiry[i] < need {
		w.fail("key %d expires at %d, and counts until %d", i, w.expiry[i], need)
	}
}

// checkSetExpiry checks that the expiry which a script sets is at most two windows and a
// second after the newest permit.
func (w *World) checkSetExpiry(i int, ttl time.Duration) {
	w.tb.Helper()
	window, newest := w.model.horizon(), w.clock
	if i < len(w.limits) && w.limits[i].Algorithm == 'k' {
		window, newest = day/2, w.model.limits[i].until(0)
	} else if i < len(w.limits) {
		window = w.limits[i].Window.Microseconds()
		newest = max(newest, w.model.limits[i].until(0)-window)
	}
	if most := (newest-w.clock+2*window)/1000 + 1001; ttl.Milliseconds() > most {
		w.fail("key %d was given %v to live, more than %d ms", i, ttl, most)
	}
}
