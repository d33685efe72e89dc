package limittest

import (
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatekit/gatekit/internal/store"
)

// Kind describes a kind of random traces.
type Kind struct {
	Name       string
	Algorithms string // a field of letters for each limit, such as "wbl wbl"; one letter is drawn from each
	Cost1      bool   // every call costs 1
	Steady     bool   // the clock never steps back, and no two calls read the same microsecond
}

// civil reports whether a limit may have a calendar.
func (k Kind) civil() bool { return strings.Contains(k.Algorithms, "k") }

// String names the kind.
func (k Kind) String() string {
	if k.Steady {
		return k.Name + ", steady clock"
	}
	return k.Name + ", clock steps"
}

// epoch is where the clocks of traces start, µs: some instant in 2026.
const epoch = int64(1_790_000_000_000_000)

// Run runs one random trace and returns its tally.
func (k Kind) Run(t *rapid.T, client redis.UniversalClient, prefix string) Tally {
	w := k.world(t, client, prefix)
	tr := &trace{Kind: k, World: w}
	actions := map[string]func(*rapid.T){
		"take":  tr.take,
		"take2": tr.take,
		"take3": tr.take,
		"burst": tr.burst,
		"wait":  tr.pass,
		"wait2": tr.pass,
		"peek":  func(t *rapid.T) { w.Peek(tr.cost(t)) },
		"refund": func(t *rapid.T) {
			if n := len(w.Decisions()); n > 0 {
				w.Refund(w.Decisions()[n-1-rapid.IntRange(0, min(n-1, 8)).Draw(t, "back")])
			}
		},
		"settle": tr.settle,
		"quota":  tr.quota,
		"step":   tr.step,
	}
	if !k.Steady {
		actions["step2"], actions["step3"] = tr.step, tr.step
	}
	if !w.sticky && !k.civil() {
		actions["batch"], actions["batch2"] = tr.batch, tr.batch
	}
	if rapid.IntRange(0, 9).Draw(t, "resets") == 0 {
		actions["reset"] = func(*rapid.T) { w.Reset() }
	}
	t.Repeat(actions)
	tally := w.Tally()
	tally.Traces++
	return tally
}

type trace struct {
	Kind
	*World
	names []string
}

var windows = []time.Duration{time.Millisecond, 1003 * time.Microsecond, 10 * time.Millisecond, time.Second, 999_983 * time.Microsecond,
	10 * time.Second, time.Minute, time.Hour, 400 * 24 * time.Hour}

func (k Kind) world(t *rapid.T, client redis.UniversalClient, prefix string) *World {
	var limits []store.LimitSpec
	for i, letters := range strings.Fields(k.Algorithms) {
		window := rapid.SampledFrom(windows).Draw(t, "window")
		if i > 0 && limits[0].Window > 0 && rapid.Bool().Draw(t, "same window") {
			window = limits[0].Window
		}
		l := store.LimitSpec{
			Name: fmt.Sprint("n", i), Window: window,
			Algorithm: rapid.SampledFrom([]byte(letters)).Draw(t, "algorithm"),
		}
		if l.Algorithm == 'k' {
			l.Window, l.Calendar = 0, drawCalendar(t)
		}
		l.Quota = k.drawQuota(t, l.Algorithm)
		limits = append(limits, l)
	}
	if !k.civil() {
		return NewWorld(t, client, prefix, epoch+rapid.Int64Range(0, 20_000).Draw(t, "start"), limits...)
	}
	w := NewWorld(t, client, prefix, drawStart(t), limits...)
	off := rapid.SampledFrom([]int64{0, 0, 1, 2, 3, 60, 120}).Draw(t, "off by half days")
	w.SetLie(rapid.SampledFrom([]int64{-1, 1}).Draw(t, "behind or ahead") * (off*day/2 + rapid.Int64Range(0, 1e6).Draw(t, "off by")))
	return w
}

func (k Kind) drawQuota(t *rapid.T, algorithm byte) int64 {
	most := rapid.SampledFrom([]int64{5, 5, 5, 30, 30, 200, 200, 4096}).Draw(t, "quota up to")
	switch {
	case most == 4096 && (k.Cost1 || algorithm == 'l'):
		most = 200 // a trace is too short for thousands of calls
	case most == 4096 && (algorithm == 'b' || algorithm == 'k'):
		most = 1e9
	}
	return rapid.Int64Range(1, most).Draw(t, "quota")
}

// cost draws a cost that can pass: 1 to the smallest quota, and at most 100 if a limit is
// a SlidingLog.
func (tr *trace) cost(t *rapid.T) int64 {
	most := int64(1e9)
	for _, l := range tr.limits {
		most = min(most, l.Quota)
		if l.Algorithm == 'l' {
			most = min(most, 100)
		}
	}
	if tr.Cost1 || most == 1 {
		return 1
	}
	if rapid.Bool().Draw(t, "dear") {
		return rapid.Int64Range(1, most).Draw(t, "cost")
	}
	return rapid.Int64Range(1, min(most, 3)).Draw(t, "cost")
}

func (tr *trace) take(t *rapid.T) {
	tr.tick(t)
	cost, name, repeatable := tr.cost(t), "", false
	if tr.sticky {
		name, repeatable = tr.name(t)
	}
	tr.Take(cost, name, repeatable)
}

// settle settles one of the last decisions: to less, as much, or more than it reserved.
func (tr *trace) settle(t *rapid.T) {
	n := len(tr.Decisions())
	if n == 0 {
		return
	}
	tr.tick(t)
	d := tr.Decisions()[n-1-rapid.IntRange(0, min(n-1, 8)).Draw(t, "back")]
	same, actual := rapid.Bool().Draw(t, "alike"), tr.actual(t, d, 0)
	all := make([]int64, len(tr.limits))
	for i := range tr.limits {
		if all[i] = actual; !same || tr.limits[i].Algorithm == 'l' {
			all[i] = tr.actual(t, d, i)
		}
	}
	tr.Settle(d, all)
}

// actual draws what the call of a decision used of limit i. A debt may be larger than the
// quota.
func (tr *trace) actual(t *rapid.T, d *Decision, i int) int64 {
	cost, quota := d.Call.Cost, tr.limits[i].Quota
	most := cost + min(quota, 100)
	switch rapid.IntRange(0, 9).Draw(t, "used") {
	case 0, 1, 2, 3:
		return rapid.Int64Range(0, cost).Draw(t, "part")
	case 4, 5, 6, 7:
		most = cost + 3
	case 8:
		most = cost + 2*min(quota, 200)
	}
	if tr.limits[i].Algorithm == 'l' {
		most = min(most, 100)
	}
	return rapid.Int64Range(min(cost, most), most).Draw(t, "beyond")
}

// burst takes up to 12 times until it is denied, as a client does that runs into its
// limit.
func (tr *trace) burst(t *rapid.T) {
	cost, gap := tr.cost(t), rapid.Int64Range(1, 50).Draw(t, "gap")
	for n := rapid.IntRange(1, 12).Draw(t, "calls"); n > 0; n-- {
		tr.Advance(gap)
		name := ""
		if tr.sticky {
			name = tr.fresh()
		}
		if tr.Take(cost, name, false) != store.Allowed {
			return
		}
	}
}

// batch asks for many calls at once, and compares them with as many single calls or with
// a single call of their cost.
func (tr *trace) batch(t *rapid.T) {
	tr.tick(t)
	most := rapid.SampledFrom([]int64{2, 10, 300, 1000}).Draw(t, "calls up to")
	tr.Batch(rapid.Int64Range(1, most).Draw(t, "calls"), rapid.Bool().Draw(t, "singly"))
}

// tick lets 1 to 20 µs pass. If the clock may step, it sometimes lets none pass, so that
// two calls read the same microsecond.
func (tr *trace) tick(t *rapid.T) {
	if tr.Steady || rapid.IntRange(0, 3).Draw(t, "same microsecond") > 0 {
		tr.Advance(rapid.Int64Range(1, 20).Draw(t, "tick"))
	}
}

func (tr *trace) fresh() string {
	name := fmt.Sprint("call", len(tr.names))
	tr.names = append(tr.names, name)
	return name
}

// name returns the name of a new call or, one time in three, of an old one.
func (tr *trace) name(t *rapid.T) (name string, repeatable bool) {
	if n := len(tr.names); n > 0 && rapid.IntRange(0, 2).Draw(t, "again") == 0 {
		name = tr.names[n-1-rapid.IntRange(0, min(n-1, 5)).Draw(t, "call")]
		return name, tr.World.names[name] == nil || tr.World.names[name].Call.Repeatable
	}
	return tr.fresh(), rapid.Bool().Draw(t, "repeatable")
}

// pass lets time pass.
func (tr *trace) pass(t *rapid.T) {
	d := tr.interval(t)
	tr.Advance(d)
	tr.tell("%d pass", d)
}

// interval draws how long time passes, at least 1 µs: until an instant at which something
// changes, or at random.
func (tr *trace) interval(t *rapid.T) int64 {
	l := tr.limits[rapid.IntRange(0, len(tr.limits)-1).Draw(t, "limit")]
	window := length(l)
	var d int64
	switch rapid.IntRange(0, 5).Draw(t, "how long") {
	case 0: // to within 1 µs of a permit's end, an aligned window's end, or an old stamp
		d = rapid.SampledFrom(tr.instants(l)).Draw(t, "instant") - tr.clock + rapid.Int64Range(-1, 1).Draw(t, "around")
	case 1:
		d = rapid.Int64Range(1, 3*window).Draw(t, "windows")
	case 2: // until a key is about to expire
		for _, at := range tr.expiry {
			if at > tr.clock {
				d = at - tr.clock - rapid.Int64Range(0, 2_000_000).Draw(t, "before")
			}
		}
	default:
		d = rapid.Int64Range(1, 1+2*window/min(l.Quota, 200)).Draw(t, "steps of the quota")
	}
	return max(d, 1)
}

func (tr *trace) instants(l store.LimitSpec) []int64 {
	if l.Algorithm == 'k' {
		_, _, end := l.Calendar.Around(tr.clock).Current()
		return []int64{end}
	}
	window := l.Window.Microseconds()
	all := []int64{tr.clock - tr.clock%window + window}
	for n, i := 0, len(tr.decisions)-1; i >= 0 && n < 6; n, i = n+1, i-1 {
		at := tr.clock + tr.decisions[i].At - tr.real // on the server's clock, if it did not step since
		all = append(all, at+window)
		for j, s := range tr.decisions[i].Stamps {
			if tr.limits[j].Algorithm != 'b' && tr.limits[j].Algorithm != 'k' {
				all = append(all, s%era, s%era+window)
			}
		}
	}
	return all
}

func (tr *trace) quota(t *rapid.T) {
	i := rapid.IntRange(0, len(tr.limits)-1).Draw(t, "limit")
	tr.SetQuota(i, tr.drawQuota(t, tr.limits[i].Algorithm))
}

// step moves the clock by 1 µs to 1 h. If a limit has a calendar, it moves it by up to a
// day, and mostly not further back than that.
func (tr *trace) step(t *rapid.T) { tr.Step(tr.distance(t)) }

// distance draws by how much the clock steps.
func (tr *trace) distance(t *rapid.T) int64 {
	most := []int64{10, 1e3, 1e6, 3.6e9}
	if tr.civil() {
		most = append(most, day, max(tr.clock-tr.latest+day, 1))
	}
	d := rapid.Int64Range(1, rapid.SampledFrom(most).Draw(t, "step up to")).Draw(t, "step")
	if tr.civil() && rapid.IntRange(0, 19).Draw(t, "far") > 0 {
		d = min(d, max(tr.clock-tr.latest+day, 0))
	}
	if !tr.Steady && rapid.IntRange(0, 3).Draw(t, "forwards") > 0 {
		d = -d
	}
	return d
}
