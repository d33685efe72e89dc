package store

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// slotRuns is how many worlds of each kind run.
func slotRuns() int {
	if testing.Short() {
		return 4
	}
	return 25
}

// TestSlotsNeverOver runs worlds with all faults that the promise covers. At no instant
// do more than the slots hold, no fence is given twice or falls, a dead holder blocks for
// one length at most, and the rate limit beside is never over.
func TestSlotsNeverOver(t *testing.T) {
	all := slotFaults{processes: 4, slots: 5, length: 600_000_000, kill: 0.1, freeze: 0.1, lose: 0.05, skip: 0.1, steps: true}
	kinds := []slotFaults{}
	add := func(name string, change func(*slotFaults)) {
		f := all
		f.name = name
		change(&f)
		kinds = append(kinds, f)
	}
	add("one process", func(f *slotFaults) { f.processes = 1 })
	add("4 processes", func(*slotFaults) {})
	add("16 processes", func(f *slotFaults) { f.processes = 16 })
	add("weights", func(f *slotFaults) { f.weights, f.slots = true, 8 })
	add("beside a rate limit", func(f *slotFaults) { f.rate = 8 })
	add("in line", func(f *slotFaults) { f.wait, f.length = true, 10_000_000 })
	add("in line with weights", func(f *slotFaults) { f.wait, f.weights, f.slots, f.length = true, true, 8, 10_000_000 })
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		store, err := New(server.Client(t), Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for _, faults := range kinds {
			t.Run(faults.name, func(t *testing.T) {
				runs := slotRuns()
				if server.Name() != "single" {
					runs = max(runs/5, 1)
				}
				acquired, lost := 0, 0
				for seed := range runs {
					w := newSlotWorld(t, store, faults, uint64(seed))
					w.run()
					w.check()
					for _, n := range w.acquired {
						acquired += n
					}
					lost += w.lost
				}
				if acquired == 0 || lost == 0 && runs > 10 && faults.rate == 0 {
					t.Errorf("%d slots acquired and %d lost: the world tests nothing", acquired, lost)
				}
				t.Logf("%d runs: %d slots acquired, %d lost by their holders", runs, acquired, lost)
			})
		}
	})
}

func (w *slotWorld) check() {
	w.t.Helper()
	if w.most > w.faults.slots {
		w.t.Errorf("%d under way at once of %d", w.most, w.faults.slots)
	}
	for i := 1; i < len(w.fences); i++ {
		if w.fences[i] <= w.fences[i-1] && !w.faults.steps { // a key that ran out forgets its fence
			w.t.Errorf("fence %d after %d", w.fences[i], w.fences[i-1])
		}
	}
	seen := map[int64]bool{}
	for _, fence := range w.fences {
		if seen[fence] {
			w.t.Errorf("fence %d twice", fence)
		}
		seen[fence] = true
	}
	if most := w.rateMost(); most > w.faults.rate {
		w.t.Errorf("%d permits of the rate limit in a window, quota %d", most, w.faults.rate)
	}
	if d := w.blocked(); d > w.faults.length {
		w.t.Errorf("dead holders block for %.2f lengths", float64(d)/float64(w.faults.length))
	}
}

// TestSlotsNeedTheirOwnDeadline: where holders that miss their beats go on, more than the
// slots are under way. It shows that the worlds find what they look for.
func TestSlotsNeedTheirOwnDeadline(t *testing.T) {
	store, err := New(redistest.Single(t).Client(t), Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	faults := slotFaults{name: "careless", processes: 4, slots: 5, length: 600_000_000, freeze: 0.1, lose: 0.1, skip: 0.3, careless: true}
	for seed := range uint64(50) {
		w := newSlotWorld(t, store, faults, seed)
		if w.run(); w.most > faults.slots {
			return
		}
	}
	t.Error("no world is over, although holders ignore their deadlines")
}
