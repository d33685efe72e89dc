package store_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/calendar"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// TestMergedFaults: whatever happens to a batch, each member gets the error that fits,
// and the key can be asked again.
func TestMergedFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		then  func(r *mergeRig)
		want  string
		says  string
		spent int64 // the first call included
	}{
		{"panic", func(*mergeRig) { panic("a hook") }, "unavailable", "panic: a hook", 1},
		{"goexit", func(*mergeRig) { runtime.Goexit() }, "unavailable", "ended the goroutine", 1},
		{"client closed", func(r *mergeRig) { r.client.Close() }, "unavailable", "the client is closed", 1},
		{"script missing", func(r *mergeRig) {
			if err := r.free.Client().ScriptFlush(r.t.Context()).Err(); err != nil {
				r.t.Error(err)
			}
		}, "done", "", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newMergeRig(t, redistest.NewSingle(t), patient)
			first, held := r.lead()
			var joined []chan mergeAnswer
			for range 3 {
				joined = append(joined, r.join(t.Context()))
			}
			held.then <- pass
			r.expect("the first", first, "done")
			batch := r.stopped(3)
			next := r.join(t.Context()) // while the batch is under way
			batch.then <- func() { c.then(r) }
			for r.kv.Flights() > 0 {
				select {
				case s := <-r.door.stopped: // the next batch
					s.then <- pass
				default:
					runtime.Gosched()
				}
			}
			for _, got := range joined {
				a := r.expect("joined", got, c.want)
				if a.err != nil && !strings.Contains(a.err.Error(), c.says) {
					t.Errorf("error %v, want one that says %q", a.err, c.says)
				}
			}
			if c.name == "client closed" {
				r.expect("the next", next, "unavailable")
				r.expectSpent(c.spent)
				return
			}
			r.expect("the next", next, "done")
			r.expectSpent(c.spent + 1)
		})
	}
}

// TestMergedFirstCallFails: a call that goes alone and does not return leaves nobody
// waiting.
func TestMergedFirstCallFails(t *testing.T) {
	for _, c := range []struct {
		name string
		then func()
	}{
		{"panic", func() { panic("a hook") }},
		{"goexit", runtime.Goexit},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newMergeRig(t, redistest.Single(t), patient)
			first, held := r.lead()
			joined := r.join(t.Context())
			held.then <- c.then
			r.pass(1)
			r.expect("joined", joined, "done")
			if a := <-first; c.name == "panic" && a.panicked != "a hook" {
				t.Errorf("the first call: %+v, want its panic", a)
			}
			r.expectSpent(1)
		})
	}
}

// TestMergedLostReply: when the reply of a batch is lost, each member learns that its
// outcome is unknown, and nothing is sent again.
func TestMergedLostReply(t *testing.T) {
	server := redistest.Single(t)
	proxy := redistest.NewProxy(t, server.Addrs()[0])
	r := newMergeRig(t, server, patient, redistest.Through(proxy))
	first, held := r.lead()
	var joined []chan mergeAnswer
	for range 3 {
		joined = append(joined, r.join(t.Context()))
	}
	held.then <- pass
	r.expect("the first", first, "done")
	proxy.DropReply(1, "evalsha")
	r.pass(3)
	for _, got := range joined {
		r.expect("joined", got, "unknown")
	}
	r.expectSpent(4)
}

// TestMergedRefused: an answer that the server gives to the batch is that of each member.
func TestMergedRefused(t *testing.T) {
	r := newMergeRig(t, redistest.Single(t), patient)
	key := "" // of the limit
	first, held := r.lead()
	joined := []chan mergeAnswer{r.join(t.Context()), r.join(t.Context())}
	held.then <- pass
	r.expect("the first", first, "done")
	batch := r.stopped(2)
	for _, k := range redistest.Keys(t, r.free.Client(), r.kv.Prefix()) {
		if strings.Contains(k, string(r.tag[:])) {
			key = k
		}
	}
	if err := r.free.Client().Set(t.Context(), key, "no list", 0).Err(); err != nil {
		t.Fatal(err)
	}
	batch.then <- pass
	for _, got := range joined {
		r.expect("joined", got, "refused")
	}
	if err := r.free.Client().Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyEqualCallsAreMerged: calls with another cost, of another set, for another key
// and of a sticky set go alone.
func TestOnlyEqualCallsAreMerged(t *testing.T) {
	r := newMergeRig(t, redistest.Single(t), patient)
	first, held := r.lead()
	go func() { // lets all pass
		for s := range r.door.stopped {
			s.then <- func() { r.door.during() }
		}
	}()
	other := store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: 900, Window: time.Hour})
	daily := store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'k', Quota: 900, Calendar: calendar.Calendar{Unit: calendar.Day, Zone: time.UTC}})
	for name, call := range map[string]store.LimitCall{
		"cost":     {Set: r.set, Tag: r.tag, Cost: 2},
		"set":      {Set: other, Tag: r.tag, Cost: 1},
		"key":      {Set: r.set, Tag: store.MakeTag("other"), Cost: 1},
		"sticky":   {Set: logSet, Tag: r.tag, Cost: 1, Name: "id"},
		"calendar": {Set: daily, Tag: r.tag, Cost: 1},
	} {
		flights := r.kv.Flights()
		var during int
		r.door.during = func() { during = r.kv.Flights() }
		_, merged, err := r.kv.LimitTakeMerged(t.Context(), call, nil)
		if joinable := name == "set" || name == "key"; merged || err != nil || (during > flights) != joinable {
			t.Errorf("another %s: merged %v, error %v, can be joined %v; want a reply while the first is under way", name, merged, err, during > flights)
		}
	}
	held.then <- pass
	r.expect("the first", first, "done")
	close(r.door.stopped)
}

// TestMergerAllocatesNothing: a key with one caller costs no allocation more.
func TestMergerAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	kv := newStore(t, redistest.Single(t).Client(t), redistest.Prefix(t))
	call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
	alone := testing.AllocsPerRun(200, func() {
		if _, err := kv.LimitTake(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	})
	merging := testing.AllocsPerRun(200, func() {
		if _, _, err := kv.LimitTakeMerged(t.Context(), call, nil); err != nil {
			t.Fatal(err)
		}
	})
	if merging > alone {
		t.Errorf("%v allocations, without the merger %v", merging, alone)
	}
}
