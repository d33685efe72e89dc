package limittest

import (
	"fmt"
	"slices"

	"github.com/gatekit/gatekit/internal/store"
)

// Settle models limit_settle. It returns for each limit the permits given back, or minus
// the permits spent besides, and the decisions whose permits were given back. The debts
// are spent under the number of debtOf.
func (m *Model) Settle(c Call, stamps, actual []int64) (changed []int64, owners [][]int) {
	changed, owners = make([]int64, len(m.limits)), make([][]int, len(m.limits))
	if m.accounted(c) {
		return changed, owners
	}
	cost, decision := c.Cost, c.Decision
	for i, l := range m.limits {
		reserved := cost
		if c.Costs != nil {
			reserved = c.Costs[i]
		}
		c = c.at(i)
		switch c.Cost, c.Decision = reserved-actual[i], decision; {
		case c.Cost > 0 && stamps[i] > 0:
			changed[i], owners[i] = l.refund(c, stamps[i])
		case c.Cost < 0:
			changed[i] = c.Cost
			c.Cost, c.Decision = -c.Cost, debtOf(decision)
			l.owe(c, stamps[i])
		}
	}
	if admitted := m.admission(stamps); admitted > c.Now-m.horizon() {
		m.mark(c, admitted)
	}
	return changed, owners
}

// debtOf returns the number under which the debt of a decision is kept.
func debtOf(decision int) int { return -2 - decision }

// owe books a debt of SlidingWindow or SlidingLog.
func (l *stamps) owe(c Call, stamp int64) {
	l.repair(c.Now)
	if !l.named {
		c.Cost = min(c.Cost, 4096) // a larger debt keeps no more calls out
		l.spend(c)
		return
	}
	booked := c.Now
	if n := len(l.permits); n > 0 {
		booked = max(booked, l.permits[n-1].stamp+1)
	}
	c.Name = fmt.Sprintf("%s#%d#%d", c.Name, stamp, booked)
	l.spend(c)
}

// owe books a debt of SlidingBuckets.
func (l *buckets) owe(c Call, _ int64) {
	c.quota = 0
	l.read(c)
	l.spend(c)
}

// owe books a debt of CalendarQuota.
func (l *civil) owe(c Call, _ int64) { l.spend(c) }

// Settle says what the call of a decision used of each limit. Like package ratelimit, it
// settles each decision once, gives nothing back where the reservation is older than the
// window, and books debts at any age. It reports whether it settled the decision.
func (w *World) Settle(d *Decision, actual []int64) bool {
	w.tb.Helper()
	if d.Refunded || d.Lost {
		return false
	}
	stamps := slices.Clone(d.Stamps)
	for i, l := range w.limits {
		if actual[i] < d.Call.CostOf(i) && w.real-d.At > length(l)*9/8 {
			stamps[i] = 0
		}
	}
	w.pass()
	d.Refunded = true
	w.count.Settled++
	asked, modelled := w.call(d.Call.Cost, d.Call.Name, d.Call.Repeatable)
	asked.Costs, modelled.Costs = d.Call.Costs, d.Call.Costs
	modelled.Decision = d.Number
	reply, err := w.store.LimitSettle(w.tb.Context(), store.LimitSettleCall{Call: asked, Stamps: stamps, Actual: actual})
	if err != nil {
		w.fail("settle: %v", err)
	}
	changed := reply.Changed()
	modelled.Periods = make([]string, len(w.limits))
	if w.owesCivil(d, actual) {
		modelled.Periods = w.periods()
	}
	w.tell("settle decision %d, cost %s to %v, stamps %v: %v", d.Number, describe(d.Call), actual, d.Stamps, changed)
	accounted := w.model.accounted(modelled)
	want, owners := w.model.Settle(modelled, stamps, actual)
	if !slices.Equal(changed, want) {
		w.fail("settle changed %v, want %v", changed, want)
	}
	if reply.Settled() == accounted {
		w.fail("settled %v, and it was settled before: %v", reply.Settled(), accounted)
	}
	for i, n := range changed {
		switch unused := d.Call.CostOf(i) - actual[i]; {
		case accounted && n != 0:
			w.fail("limit %d: %d changed though the call was settled before", i, n)
		case accounted:
		case unused < 0:
			w.count.Debts++
			w.ideal[i].Spend(debtOf(d.Number), w.real, -n)
			if w.limits[i].Algorithm == 'k' {
				id, _ := w.period(i, w.clock)
				w.truth[i][id] -= n
			}
		case unused > 0:
			w.checkGiven(d, i, n, unused, owners[i])
		}
	}
	w.look()
	return true
}

// owesCivil reports whether a calendar quota gets a debt: only then the script needs the
// periods.
func (w *World) owesCivil(d *Decision, actual []int64) bool {
	for i, l := range w.limits {
		if l.Algorithm == 'k' && actual[i] > d.Call.CostOf(i) {
			return true
		}
	}
	return false
}
