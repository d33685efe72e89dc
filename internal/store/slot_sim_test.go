package store

import (
	"container/heap"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// slotWorld runs processes that acquire, hold and release slots of one key, in virtual
// time with the real scripts. Processes die and freeze, requests and replies are lost,
// their clocks drift, and the server's clock steps. Times are µs.
type slotWorld struct {
	t      testing.TB
	store  *Store
	faults slotFaults
	rng    *rand.Rand

	events slotEvents
	at     int64 // the true time
	offset int64 // of the server's clock
	end    int64 // no process acquires from then on
	count  int   // of events and of ids

	tag       Tag
	limit     *SlotLimit
	rates     *LimitSet
	processes []*slotProcess

	now      int64 // sum of the weights of the holders that are alive
	most     int64 // that it ever was
	fences   []int64
	charged  []int64 // when a rate limit was charged
	acquired []int   // by process
	lost     int     // slots that their holders lost
}

// slotFaults says what a slotWorld has.
type slotFaults struct {
	name      string
	processes int
	slots     int64
	length    int64   // µs
	kill      float64 // the share of processes that die, each length
	freeze    float64 // that freeze, for up to two lengths
	lose      float64 // the share of replies that get lost
	skip      float64 // the share of beats that are not sent
	steps     bool    // the server's clock steps back, by up to an hour
	weights   bool    // 1 to 3
	rate      int64   // quota of a rate limit beside, in 20 minutes; 0: none
	wait      bool    // processes stand in line
	careless  bool    // a holder that misses its deadline goes on
}

const slotRateWindow = 20 * time.Minute

type slotProcess struct {
	born    int // counts its lives
	drift   float64
	frozen  int64 // until
	holders map[string]*slotHolder
	waiting bool // one of its holders stands in line
}

type slotHolder struct {
	id       string
	weight   int64
	deadline int64
	over     bool
}

type slotEvent struct {
	at  int64
	seq int
	f   func()
}
type slotEvents []slotEvent

func (e slotEvents) Len() int { return len(e) }
func (e slotEvents) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e slotEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *slotEvents) Push(x any)   { *e = append(*e, x.(slotEvent)) }
func (e *slotEvents) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newSlotWorld(t testing.TB, store *Store, faults slotFaults, seed uint64) *slotWorld {
	start := int64(1_700_000_000_000_000) + int64(seed)*1313
	w := &slotWorld{
		t: t, store: store, faults: faults, rng: rand.New(rand.NewPCG(seed, 3)), at: start, end: start + 20*faults.length,
		tag:      MakeTag("slots", faults.name, strconv.FormatUint(seed, 10)),
		limit:    NewSlotLimit(SlotSpec{Name: "s", Slots: faults.slots, Length: time.Duration(faults.length) * time.Microsecond}),
		acquired: make([]int, faults.processes),
	}
	if faults.rate > 0 {
		w.rates = NewLimitSet(LimitSpec{Name: "r", Algorithm: 'w', Quota: faults.rate, Window: slotRateWindow})
	}
	for i := range faults.processes {
		p := &slotProcess{drift: 1 + (w.rng.Float64()*2-1)*0.001, holders: map[string]*slotHolder{}}
		w.processes = append(w.processes, p)
		w.in(w.rng.Int64N(faults.length), func() { w.arrive(i) })
		w.in(w.rng.Int64N(faults.length/3), func() { w.beat(i) })
		w.in(w.rng.Int64N(faults.length), func() { w.trouble(i) })
	}
	if faults.steps {
		w.in(w.rng.Int64N(faults.length), w.stepBack)
	}
	return w
}

func (w *slotWorld) in(d int64, f func()) {
	w.count++
	heap.Push(&w.events, slotEvent{w.at + max(d, 0), w.count, f})
}

// run runs the world to its end.
func (w *slotWorld) run() {
	for len(w.events) > 0 {
		e := heap.Pop(&w.events).(slotEvent)
		w.at = e.at
		e.f()
	}
}

func (w *slotWorld) server() int64 { return w.at + w.offset }

// latency is how long a request or a reply is on its way.
func (w *slotWorld) latency() int64 {
	d := 50 + int64(w.rng.ExpFloat64()*500)
	if w.rng.IntN(100) == 0 {
		d += w.rng.Int64N(50_000)
	}
	return d
}

func (w *slotWorld) arrive(i int) {
	if w.at >= w.end {
		return
	}
	p := w.processes[i]
	w.in(int64(w.rng.ExpFloat64()*float64(w.faults.length)*float64(w.faults.processes)/float64(w.faults.slots)/2), func() { w.arrive(i) })
	if w.at < p.frozen || p.waiting {
		return
	}
	w.count++
	h := &slotHolder{id: "holder" + strconv.Itoa(w.count), weight: 1}
	if w.faults.weights {
		h.weight = 1 + w.rng.Int64N(3)
	}
	p.waiting = w.faults.wait
	w.acquire(i, p.born, h, 0)
}

func (w *slotWorld) call(h *slotHolder, i int) SlotCall {
	call := SlotCall{Limit: w.limit, Rates: w.rates, Tag: w.tag, Cost: h.weight, ID: h.id, Now: w.server()}
	if w.faults.wait {
		call.Process = "process" + strconv.Itoa(i)
	}
	return call
}

// acquire asks for a slot. After a lost reply it asks again under the same id, and then
// releases.
func (w *slotWorld) acquire(i, born int, h *slotHolder, try int) {
	p, sent := w.processes[i], w.at
	if p.born != born {
		return
	}
	lost := w.rng.Float64() < w.faults.lose
	w.in(w.latency(), func() {
		reply, err := w.store.SlotAcquire(w.t.Context(), w.call(h, i))
		if err != nil {
			w.t.Fatal(err)
		}
		if reply.Verdict() == SlotAcquired {
			w.fences = append(w.fences, reply.Fence())
			for range h.weight * int64(min(w.faults.rate, 1)) {
				w.charged = append(w.charged, w.at)
			}
		}
		switch {
		case lost && try == 0:
			w.in(50_000, func() { w.acquire(i, born, h, 1) })
		case lost:
			p.waiting = false
			w.in(100_000, func() { w.release(h) })
		default:
			w.in(w.latency(), func() { w.answered(i, born, h, reply, sent) })
		}
	})
}

func (w *slotWorld) answered(i, born int, h *slotHolder, reply SlotReply, sent int64) {
	p := w.processes[i]
	if p.born != born {
		return
	}
	if reply.Verdict() == SlotDenied {
		if w.faults.wait && w.at < w.end {
			w.in(min(reply.Wait().Microseconds(), 1_000_000)+1000, func() { w.acquire(i, born, h, 0) })
			return
		}
		p.waiting = false
		return
	}
	p.waiting = false
	h.deadline = w.deadline(i, sent)
	if h.deadline <= w.at && !w.faults.careless {
		w.release(h)
		return
	}
	w.acquired[i]++
	w.now += h.weight
	w.most = max(w.most, w.now)
	p.holders[h.id] = h
	w.watch(i, h)
	w.in(int64(w.rng.ExpFloat64()*float64(w.faults.length)), func() { w.finish(i, h) })
}

// deadline is by the process's own clock, which drifts.
func (w *slotWorld) deadline(i int, sent int64) int64 {
	own := float64(w.faults.length)*(1-0.002) - 1000
	return sent + int64(own/w.processes[i].drift)
}

// watch ends the holder at its deadline, whatever Redis says later.
func (w *slotWorld) watch(i int, h *slotHolder) {
	if w.faults.careless {
		return
	}
	w.in(h.deadline-w.at, func() {
		switch {
		case h.over:
		case w.at < h.deadline:
			w.watch(i, h)
		default:
			w.lost++
			w.stop(i, h)
		}
	})
}

func (w *slotWorld) stop(i int, h *slotHolder) {
	if !h.over {
		h.over = true
		w.now -= h.weight
		delete(w.processes[i].holders, h.id)
	}
}

// finish ends the work of a holder, once its process is not frozen.
func (w *slotWorld) finish(i int, h *slotHolder) {
	p := w.processes[i]
	switch {
	case h.over:
	case w.at < p.frozen:
		w.in(p.frozen-w.at, func() { w.finish(i, h) })
	default:
		w.stop(i, h)
		w.release(h)
	}
}

func (w *slotWorld) release(h *slotHolder) {
	w.in(w.latency(), func() {
		_, errs := w.store.SlotRelease(w.t.Context(), []SlotHolders{{Limit: w.limit, Tag: w.tag, IDs: []string{h.id}, Now: w.server()}})
		if errs[0] != nil {
			w.t.Fatal(errs[0])
		}
	})
}

func (w *slotWorld) beat(i int) {
	p := w.processes[i]
	if w.at >= w.end+2*w.faults.length {
		return
	}
	w.in(w.faults.length/3, func() { w.beat(i) })
	if w.at < p.frozen || len(p.holders) == 0 || w.rng.Float64() < w.faults.skip {
		return
	}
	sent, born, ids := w.at, p.born, slices.Sorted(maps.Keys(p.holders))
	lost := w.rng.Float64() < w.faults.lose
	w.in(w.latency(), func() {
		held, errs := w.store.SlotBeat(w.t.Context(), []SlotHolders{{Limit: w.limit, Tag: w.tag, IDs: ids, Now: w.server()}})
		if errs[0] != nil {
			w.t.Fatal(errs[0])
		}
		if lost {
			return
		}
		w.in(w.latency(), func() {
			for k, id := range ids {
				h := p.holders[id]
				switch {
				case p.born != born || h == nil:
				case held[0][k] == 1:
					h.deadline = max(h.deadline, w.deadline(i, sent))
				case !w.faults.careless:
					w.lost++
					w.stop(i, h)
				}
			}
		})
	})
}

// trouble kills or freezes the process.
func (w *slotWorld) trouble(i int) {
	if w.at >= w.end {
		return
	}
	p := w.processes[i]
	w.in(w.faults.length/2+w.rng.Int64N(w.faults.length), func() { w.trouble(i) })
	if w.rng.Float64() < w.faults.kill {
		for _, h := range p.holders {
			w.stop(i, h)
		}
		p.born++
		p.waiting = false
	} else if w.rng.Float64() < w.faults.freeze {
		p.frozen = w.at + w.rng.Int64N(2*w.faults.length)
	}
}

func (w *slotWorld) stepBack() {
	if w.at >= w.end {
		return
	}
	most := []int64{1, 1000, 1_000_000, w.faults.length / 2, w.faults.length, 10 * w.faults.length, 3_600_000_000}
	w.offset -= 1 + w.rng.Int64N(most[w.rng.IntN(len(most))])
	w.in(w.faults.length+w.rng.Int64N(3*w.faults.length), w.stepBack)
}

// blocked fills the key with holders that are dead, sets the clock back by an hour where
// it steps, and returns after how long all slots are free.
func (w *slotWorld) blocked() int64 {
	call := SlotCall{Limit: w.limit, Tag: w.tag, Cost: 1}
	for k := range w.faults.slots {
		call.ID, call.Now = "dead"+strconv.FormatInt(k, 10), w.server()
		if _, err := w.store.SlotAcquire(w.t.Context(), call); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.faults.steps {
		w.offset -= time.Hour.Microseconds()
	}
	call.ID, call.Cost = "probe", w.faults.slots
	for d := int64(0); ; d += w.faults.length / 20 {
		call.Now = w.server() + d
		if reply, err := w.store.SlotAcquire(w.t.Context(), call); err != nil {
			w.t.Fatal(err)
		} else if reply.Verdict() != SlotDenied || d > 10*w.faults.length {
			return d
		}
	}
}

// rateMost returns the most permits of the rate limit in a window.
func (w *slotWorld) rateMost() (most int64) {
	for i, from := range w.charged {
		n := int64(0)
		for _, at := range w.charged[i:] {
			if at < from+slotRateWindow.Microseconds() {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
