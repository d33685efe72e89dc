package limittest

import (
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// Together is several worlds with one clock, so several keys under policies of their own.
// Their calls are decided together: all are spent, or none is.
type Together []*World

// Ask is what [Together.TakeAll] asks of one world.
type Ask struct {
	DryRun     bool    // it decides for itself, and keeps no other from spending
	Cost       int64   // permits
	Costs      []int64 // of each limit, instead of Cost
	Name       string  // of the call, if a limit is a SlidingLog
	Repeatable bool
}

// call returns the calls of an ask, for the scripts and for the model.
func (a Ask) call(w *World) (store.LimitCall, Call) {
	asked, modelled := w.call(a.Cost, a.Name, a.Repeatable)
	asked.Costs, modelled.Costs = a.Costs, a.Costs
	modelled.Periods = w.periods()
	return asked, modelled
}

// Advance lets d pass on all clocks.
func (ws Together) Advance(d int64) {
	for _, w := range ws {
		w.Advance(d)
	}
}

// Step moves the server's clock by d.
func (ws Together) Step(d int64) {
	for _, w := range ws {
		w.Step(d)
	}
}

// TakeAll runs limit_take_all. It compares the replies and the keys of all worlds with
// the models, and tries the call again on copies at the time to retry and 1 µs before. It
// reports whether the call passed.
func (ws Together) TakeAll(asks []Ask) (passed bool) {
	ws[0].tb.Helper()
	groups, modelled := make([]store.LimitGroup, len(ws)), make([]Call, len(ws))
	before := make([][]int64, len(ws))
	for i, w := range ws {
		w.count.Decisions++
		w.pass()
		groups[i].DryRun = asks[i].DryRun
		groups[i].LimitCall, modelled[i] = asks[i].call(w)
		before[i] = w.heads()
	}
	replies, err := ws[0].store.LimitTakeAll(ws[0].tb.Context(), groups)
	if err != nil {
		ws[0].fail("take all: %v", err)
	}
	for i, w := range ws {
		w.tell("take %s with %d others, dry run %v: %v", describe(groups[i].LimitCall), len(ws)-1, asks[i].DryRun, replies[i])
	}
	found, passed := ws.read(asks, modelled)
	for i, w := range ws {
		if found[i].verdict == store.Allowed && !passed {
			found[i].verdict = store.NotSpent
		}
		w.compare(replies[i], found[i].verdict, w.model.write(modelled[i], found[i]))
		w.take(groups[i].LimitCall, replies[i], before[i])
	}
	if !passed {
		ws.checkRetryAfter(asks, groups, replies)
	}
	return passed
}

// read models the first phase of the script, and reports whether the call passes.
func (ws Together) read(asks []Ask, modelled []Call) (found []reading, passed bool) {
	passed = true
	for i, w := range ws {
		found = append(found, w.model.read(modelled[i]))
		if v := found[i].verdict; !asks[i].DryRun && (v == store.Denied || v == store.OtherCost) {
			passed = false
		}
	}
	return found, passed
}

// checkRetryAfter tries a denied call on copies of the keys. The largest wait of the
// denials is exact, unless a call was admitted before: that admission may be forgotten
// earlier.
func (ws Together) checkRetryAfter(asks []Ask, groups []store.LimitGroup, replies []store.LimitReply) {
	ws[0].tb.Helper()
	wait := time.Duration(0)
	for i, w := range ws {
		switch v := replies[i].Verdict(); {
		case asks[i].DryRun:
		case v == store.AllowedBefore || v == store.OtherCost:
			return
		case v == store.Denied:
			for n := range w.limits {
				wait = max(wait, replies[i].RetryAfter(n))
			}
		}
	}
	for _, c := range []struct {
		after  time.Duration
		passes bool
	}{{wait - time.Microsecond, false}, {wait, true}} {
		full := false
		for i, w := range ws {
			w.copyKeys()
			groups[i].Now = w.clock + c.after.Microseconds()
			groups[i].Local = groups[i].Now
			full = full || w.full(groups[i].LimitCall, groups[i].Now)
		}
		if c.passes && full {
			continue
		}
		got, err := ws[0].copies.LimitTakeAll(ws[0].tb.Context(), groups)
		passes := err == nil
		for i := range got {
			v := got[i].Verdict()
			passes = passes && (asks[i].DryRun || v != store.Denied && v != store.OtherCost)
		}
		if err != nil || passes != c.passes {
			ws[0].fail("retry after %v: after %v the replies are %v, %v", wait, c.after, got, err)
		}
	}
}

// TakeSpread asks each world by a script of its own, as on a cluster, and refunds what
// was spent if one denies.
func (ws Together) TakeSpread(asks []Ask) (passed bool) {
	ws[0].tb.Helper()
	verdicts := make([]store.Verdict, len(ws))
	for i, w := range ws {
		w.count.Decisions++
		w.pass()
		verdicts[i] = w.ask(asks[i].call(w))
	}
	passed = !slices.ContainsFunc(verdicts, func(v store.Verdict) bool { return v == store.Denied || v == store.OtherCost })
	for i, w := range ws {
		if !passed && verdicts[i] == store.Allowed && !asks[i].Repeatable {
			w.Refund(w.decisions[len(w.decisions)-1])
		}
	}
	return passed
}
