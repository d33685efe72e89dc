package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// The adversary asks at the worst moments, and counts the most permits that it got in any
// window. The tests set the clock, so a window of a minute takes no minute.

const (
	adversaryQuota  = 100
	adversaryWindow = 60_000_000 // µs

	stepsBack = "clock steps back"
)

// attempt is one call of a trace: real is the time that truly passed, clock what the
// server's clock shows then, µs.
type attempt struct{ real, clock, cost int64 }

// traces are the patterns that the adversary tries, each from a fresh state. The clocks
// begin at whole windows.
func adversaryTraces() map[string][]attempt {
	const begin, q, w = 30_000_000 * adversaryWindow, adversaryQuota, adversaryWindow
	traces := map[string][]attempt{}
	// One call a microsecond: stamps of a key rise strictly.
	burst := func(name string, at int64, n int, cost int64) {
		for i := range int64(n) {
			traces[name] = append(traces[name], attempt{at + i, begin + at + i, cost})
		}
	}
	// Everything just before a window's edge, and everything just after it.
	burst("edge", w-1000, q, 1)
	burst("edge", w, 2*q, 1)
	burst("edge", 2*w-1000, q, 1)
	burst("edge", 2*w, 2*q, 1)
	// A burst at the edge, then as fast as anything is given back.
	for phase := range int64(8) {
		name := fmt.Sprintf("greedy after a burst, phase %d/8", phase)
		burst(name, w+phase*w/8-1000, q, 1)
		for at := w + phase*w/8; at < 4*w; at += w / 400 {
			burst(name, at, 2, 1)
		}
	}
	// Costs above 1 that straddle what is left.
	for at := int64(0); at < 4*w; at += w / 50 {
		burst("costs", at, 1, 7)
		burst("costs", at+1, 1, 30)
	}
	for at := int64(0); at < 40*w; at += w / 64 {
		burst("sustained", at, 2, 1)
	}
	// The clock steps back again and again; the time that passes is real.
	step := int64(0)
	for i := range int64(400) {
		if i%37 == 36 {
			step += 3600 * 1_000_000
		}
		at := i * w / 100
		traces[stepsBack] = append(traces[stepsBack], attempt{at, begin + at - step, 1}, attempt{at + 1, begin + at + 1 - step, 2})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 6 {
		name, at := fmt.Sprintf("random %d", i), int64(0)
		for range 400 {
			at += rng.Int64N(w / 50)
			burst(name, at, 1+rng.IntN(12), 1+rng.Int64N(3))
		}
	}
	return traces
}

// worst returns the most permits in any half-open window of real time, and all permits.
func worst(trace []attempt, window int64, take func(now, cost int64) bool) (most, total int64) {
	return worstOf(trace, window, 1, take)
}

// worstOf is worst for calls that use that many times what they ask for.
func worstOf(trace []attempt, window, uses int64, take func(now, cost int64) bool) (most, total int64) {
	var given []attempt
	first, inside := 0, int64(0)
	for _, a := range trace {
		if !take(a.clock, a.cost) {
			continue
		}
		a.cost *= uses
		given = append(given, a)
		inside, total = inside+a.cost, total+a.cost
		for given[first].real <= a.real-window {
			inside -= given[first].cost
			first++
		}
		most = max(most, inside)
	}
	return most, total
}

// dearest returns the largest cost of a trace.
func dearest(trace []attempt) (cost int64) {
	for _, a := range trace {
		cost = max(cost, a.cost)
	}
	return cost
}

// Simulations of other algorithms, for the table.

func fixedWindow() func(now, cost int64) bool {
	window, spent := int64(-1), int64(0)
	return func(now, cost int64) bool {
		if w := now / adversaryWindow; w != window {
			window, spent = w, 0
		}
		if spent+cost > adversaryQuota {
			return false
		}
		spent += cost
		return true
	}
}

func twoWindowCounter() func(now, cost int64) bool {
	window, spent, before := int64(-1), int64(0), int64(0)
	return func(now, cost int64) bool {
		switch w := now / adversaryWindow; w {
		case window:
		case window + 1:
			window, before, spent = w, spent, 0
		default:
			window, before, spent = w, 0, 0
		}
		weighted := float64(before) * (1 - float64(now%adversaryWindow)/adversaryWindow)
		if weighted+float64(spent+cost) > adversaryQuota {
			return false
		}
		spent += cost
		return true
	}
}

func gcra() func(now, cost int64) bool {
	const interval = adversaryWindow / adversaryQuota
	arrival := int64(0)
	return func(now, cost int64) bool {
		next := max(arrival, now) + cost*interval
		if next-adversaryWindow > now {
			return false
		}
		arrival = next
		return true
	}
}

// ideal admits what an exact limiter that knows the real time admits.
func ideal(trace []attempt) (total int64) {
	var given []attempt
	first, inside := 0, int64(0)
	for _, a := range trace {
		for first < len(given) && given[first].real <= a.real-adversaryWindow {
			inside -= given[first].cost
			first++
		}
		if inside+a.cost <= adversaryQuota {
			given = append(given, a)
			inside, total = inside+a.cost, total+a.cost
		}
	}
	return total
}

func TestAdversary(t *testing.T) {
	redistest.Long(t)
	srv := redistest.Single(t)
	kv, err := store.New(srv.Client(t), store.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	fresh := 0
	askUsing := func(spec store.LimitSpec, uses int64) func() func(now, cost int64) bool {
		set := store.NewLimitSet(spec)
		return func() func(now, cost int64) bool {
			fresh++
			tag, calls := store.MakeTag("adversary", fmt.Sprint(fresh)), 0
			return func(now, cost int64) bool {
				calls++
				call := store.LimitCall{Set: set, Tag: tag, Cost: cost, Now: now, Name: fmt.Sprint(calls)}
				r, err := kv.LimitTake(t.Context(), call)
				if err != nil {
					t.Fatal(err)
				}
				if r.Verdict() != store.Allowed || uses == 1 {
					return r.Verdict() == store.Allowed
				}
				settle := store.LimitSettleCall{Call: call, Stamps: []int64{r.Stamp(0)}, Actual: []int64{uses * cost}}
				if _, err := kv.LimitSettle(t.Context(), settle); err != nil {
					t.Fatal(err)
				}
				return true
			}
		}
	}
	ask := func(spec store.LimitSpec) func() func(now, cost int64) bool { return askUsing(spec, 1) }
	ours := func(letter byte, uses int64) func() func(now, cost int64) bool {
		return askUsing(store.LimitSpec{Name: "n", Algorithm: letter, Quota: adversaryQuota, Window: adversaryWindow * time.Microsecond}, uses)
	}
	rows := []struct {
		name string
		make func() func(now, cost int64) bool
		uses int64 // a call uses that many times what it reserved, and settles at once
		over bool  // known to admit too many
	}{
		{"SlidingWindow", ours('w', 1), 1, false},
		{"SlidingBuckets", ours('b', 1), 1, false},
		{"SlidingLog", ours('l', 1), 1, false},
		{"SlidingWindow, calls use 3 times what they reserve", ours('w', 3), 3, false},
		{"SlidingBuckets, calls use 3 times what they reserve", ours('b', 3), 3, false},
		{"SlidingLog, calls use 3 times what they reserve", ours('l', 3), 3, false},
		{"fixed window (simulated)", fixedWindow, 1, true},
		{"two-window counter (simulated)", twoWindowCounter, 1, true},
		{"GCRA, burst = quota (simulated)", gcra, 1, true},
	}
	var table strings.Builder
	table.WriteString("\n| algorithm | most in any window, of the quota | the same, clock stepping back | given under pressure, of the ideal |\n|---|---|---|---|\n")
	traces := adversaryTraces()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var most, stepped, total, want int64
			for name, trace := range traces {
				m, n := worstOf(trace, adversaryWindow, row.uses, row.make())
				// A debt is known when its call is admitted, so the last call alone is
				// beyond the quota.
				if most := adversaryQuota + (row.uses-1)*dearest(trace); !row.over && m > most {
					t.Errorf("%s, %s: %d in a window, want at most %d", row.name, name, m, most)
				}
				if name == stepsBack { // each step costs up to the lead, by design
					stepped = m
					continue
				}
				w := ideal(trace)
				most = max(most, m)
				if name == "sustained" {
					total, want = n, w
				}
				if (row.name == "SlidingWindow" || row.name == "SlidingLog") && n != w {
					t.Errorf("%s, %s: admitted %d, the ideal %d", row.name, name, n, w)
				}
			}
			yield := float64(total) / float64(want)
			if yield < 16.0/17 {
				t.Errorf("under pressure %d of the ideal %d, want at least 16/17", total, want)
			}
			if row.over && most < adversaryQuota*3/2 {
				t.Errorf("the adversary found only %d in a window of %d: it is no adversary", most, adversaryQuota)
			}
			fmt.Fprintf(&table, "| %s | %.2f | %.2f | %.2f |\n", row.name, float64(most)/adversaryQuota, float64(stepped)/adversaryQuota, yield)
		})
	}
	for _, row := range civilRows {
		t.Run(row.name, func(t *testing.T) { row.run(t, ask, &table) })
	}
	t.Log(table.String())
}
