package limittest

import (
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatekit/gatekit/internal/store"
)

// TogetherKind describes a kind of random traces over several keys.
type TogetherKind struct {
	Kind      // Algorithms has the letters of all limits; a world has one or two of them
	Flat bool // cost 1 and no dry run
	// Spread asks each key by a script of its own.
	Spread bool
}

// Run runs one random trace and returns its tally.
func (k TogetherKind) Run(t *rapid.T, client redis.UniversalClient, prefix string) Tally {
	tr := &togetherTrace{TogetherKind: k}
	for range rapid.IntRange(1, 3).Draw(t, "keys") {
		one := k.Kind
		if rapid.Bool().Draw(t, "two limits") {
			one.Algorithms += " " + one.Algorithms
		}
		w := one.world(t, client, prefix)
		w.SetLie(0)
		tr.Together, tr.traces = append(tr.Together, w), append(tr.traces, &trace{Kind: one, World: w})
	}
	tr.start()
	t.Repeat(map[string]func(*rapid.T){
		"take": tr.take, "take2": tr.take, "take3": tr.take, "take4": tr.take,
		"pass": tr.pass, "pass2": tr.pass,
		"refund": tr.refund, "settle": tr.settle,
		"quota": func(t *rapid.T) { tr.one(t).quota(t) },
		"step":  tr.step,
	})
	tally := Tally{}
	for _, w := range tr.Together {
		tally = tally.Add(w.Tally())
	}
	tally.Traces++
	return tally
}

type togetherTrace struct {
	TogetherKind
	Together
	traces []*trace
}

// start brings all worlds to one instant.
func (tr *togetherTrace) start() {
	latest := int64(0)
	for _, w := range tr.Together {
		latest = max(latest, w.clock)
	}
	for _, w := range tr.Together {
		w.Advance(latest + 1 - w.clock)
	}
}

// one draws one of the worlds.
func (tr *togetherTrace) one(t *rapid.T) *trace {
	return tr.traces[rapid.IntRange(0, len(tr.traces)-1).Draw(t, "key")]
}

// take asks up to 12 times until it is denied.
func (tr *togetherTrace) take(t *rapid.T) {
	for n := rapid.IntRange(1, 12).Draw(t, "calls"); n > 0; n-- {
		if tr.Steady || rapid.IntRange(0, 3).Draw(t, "same microsecond") > 0 {
			tr.Advance(rapid.Int64Range(1, 20).Draw(t, "tick"))
		}
		asks := make([]Ask, len(tr.traces))
		for i, one := range tr.traces {
			asks[i] = tr.ask(t, one)
		}
		ask := tr.TakeAll
		if tr.Spread {
			ask = tr.TakeSpread
		}
		if !ask(asks) {
			return
		}
	}
}

// ask draws what is asked of one world.
func (tr *togetherTrace) ask(t *rapid.T, one *trace) (a Ask) {
	if a.Cost = 1; tr.Flat {
		return a
	}
	a.DryRun = !tr.Spread && len(tr.traces) > 1 && rapid.IntRange(0, 3).Draw(t, "dry run") == 0
	if one.sticky {
		a.Name, a.Repeatable = one.name(t)
	}
	before := one.World.names[a.Name]
	switch {
	case before != nil && rapid.IntRange(0, 3).Draw(t, "same costs") > 0:
		a.Cost, a.Costs = before.Call.Cost, slices.Clone(before.Call.Costs)
		for i := range a.Costs { // the quota may have changed
			a.Costs[i] = min(a.Costs[i], one.limits[i].Quota)
		}
		for _, l := range one.limits {
			a.Cost = min(a.Cost, l.Quota)
		}
	case rapid.Bool().Draw(t, "costs"):
		for _, l := range one.limits {
			a.Costs = append(a.Costs, tr.costOf(t, l))
		}
	default:
		a.Cost = one.cost(t)
	}
	return a
}

// costOf draws the cost of one limit: sometimes 0, for which one permit must be free.
func (tr *togetherTrace) costOf(t *rapid.T, l store.LimitSpec) int64 {
	most := min(l.Quota, 100)
	if l.Algorithm != 'l' && rapid.IntRange(0, 5).Draw(t, "free") == 0 {
		return 0
	}
	if rapid.Bool().Draw(t, "cheap") {
		most = min(most, 3)
	}
	return rapid.Int64Range(1, most).Draw(t, "cost")
}

// refund refunds one of the last decisions of one world.
func (tr *togetherTrace) refund(t *rapid.T) {
	one := tr.one(t)
	if n := len(one.decisions); n > 0 {
		one.Refund(one.decisions[n-1-rapid.IntRange(0, min(n-1, 8)).Draw(t, "back")])
	}
}

// settle settles one of the last decisions of one world, by less or more than it cost.
func (tr *togetherTrace) settle(t *rapid.T) {
	one := tr.one(t)
	n := len(one.decisions)
	if n == 0 {
		return
	}
	tr.Advance(1)
	var actual []int64
	d := one.decisions[n-1-rapid.IntRange(0, min(n-1, 8)).Draw(t, "back")]
	for i, l := range one.limits {
		most := d.Call.CostOf(i) + min(2*l.Quota, 50)
		if l.Algorithm == 'l' {
			most = min(most, 100)
		}
		actual = append(actual, rapid.Int64Range(0, most).Draw(t, "actual"))
	}
	one.Settle(d, actual)
}

// pass lets time pass in all worlds, for as long as is of interest in one of them.
func (tr *togetherTrace) pass(t *rapid.T) {
	d := tr.one(t).interval(t)
	tr.Advance(d)
	tr.Together[0].tell("%v pass", time.Duration(d)*time.Microsecond)
}

// step moves the clock, as is of interest in one of the worlds.
func (tr *togetherTrace) step(t *rapid.T) { tr.Step(tr.one(t).distance(t)) }
