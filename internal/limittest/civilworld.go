package limittest

import (
	"time"

	"pgregory.net/rapid"

	"github.com/gatekit/gatekit/internal/calendar"
	"github.com/gatekit/gatekit/internal/store"
)

// civilTruth is what a calendar quota promises: the permits of each period, none
// forgotten.
type civilTruth map[int64]int64

// length returns how long a limit counts a permit at most, µs.
func length(l store.LimitSpec) int64 {
	if l.Algorithm != 'k' {
		return l.Window.Microseconds()
	}
	days := map[calendar.Unit]int64{calendar.Day: 1, calendar.Week: 7, calendar.Month: 31}[l.Calendar.Unit]
	return days*day + 2*3_600_000_000
}

// remembered returns how long a limit can give a permit back, at least, µs. The key of a
// calendar stays for a day after its newest period.
func remembered(l store.LimitSpec) int64 {
	if l.Algorithm == 'k' {
		return day
	}
	return l.Window.Microseconds()
}

// SetLie sets how far the clock of the process is off, µs.
func (w *World) SetLie(lie int64) {
	w.tell("the process is %v off", time.Duration(lie)*time.Microsecond)
	w.lie = lie
}

// periods returns those that the scripts get. If the first ones are outside, the process
// learns how far its clock is off and asks again.
func (w *World) periods() []string {
	around := func(at int64) (words []string, ok bool) {
		ok = true
		for _, l := range w.limits {
			word := ""
			if l.Algorithm == 'k' {
				word = l.Calendar.Around(at).Word()
				_, inside := pass(word, w.clock)
				ok = ok && inside
			}
			words = append(words, word)
		}
		return words, ok
	}
	words, ok := around(w.clock + w.lie + w.learned)
	if !ok {
		w.learned = -w.lie
		w.count.Outside++
		words, _ = around(w.clock)
	}
	return words
}

// period returns the period of limit i at an instant: its id and its end.
func (w *World) period(i int, at int64) (id, end int64) {
	id, _, end = w.limits[i].Calendar.Around(at).Current()
	return id, end
}

// far reports whether the clock was ever more than a day behind its latest: then a period
// that it comes back to may be forgotten.
func (w *World) far() bool { return w.fell }

// admitCivil adds an admission to the truth of limit i, and fails if it is one too many.
func (w *World) admitCivil(i int, cost int64) {
	w.tb.Helper()
	id, _ := w.period(i, w.clock)
	truth := w.truth[i]
	if truth[id]+max(cost, 1) > w.limits[i].Quota && !w.far() {
		w.fail("OVER: limit %d let %d pass with %d of %d in the period %d", i, cost, truth[id], w.limits[i].Quota, id)
	}
	truth[id] += cost
}

// checkCivil compares the reply of limit i with the truth. It is called before the use is
// added there.
func (w *World) checkCivil(i int, cost int64, reply store.LimitReply) {
	w.tb.Helper()
	if w.far() {
		return
	}
	id, end := w.period(i, w.clock)
	quota, spent := w.limits[i].Quota, w.truth[i][id]
	wait := reply.RetryAfter(i).Microseconds()
	if (wait > 0) != (spent+max(cost, 1) > quota) || wait > 0 && wait < end-w.clock {
		w.fail("limit %d: wait %d with %d of %d spent, the period ends in %d", i, wait, spent, quota, end-w.clock)
	}
	if reply.Verdict() == store.Allowed {
		spent += cost
	}
	reset := int64(0)
	if spent > 0 {
		reset = end - w.clock
	}
	if reply.Remaining(i) != max(quota-spent, 0) || reply.ResetAfter(i).Microseconds() != reset {
		w.fail("limit %d: remaining %d, reset %d; want %d, %d", i, reply.Remaining(i), reply.ResetAfter(i).Microseconds(), max(quota-spent, 0), reset)
	}
}

// full reports whether a calendar has no room for a call at an instant: a time to retry
// is exact only among the periods that the script got.
func (w *World) full(asked store.LimitCall, at int64) bool {
	for i, l := range w.limits {
		if l.Algorithm == 'k' {
			id, _ := w.period(i, at)
			if w.model.limits[i].(*civil).spent[id]+max(asked.CostOf(i), 1) > l.Quota {
				return true
			}
		}
	}
	return false
}

// zones have days of all lengths.
var zones = []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "America/St_Johns", "America/Havana", "Antarctica/Troll"}

// drawCalendar draws a calendar.
func drawCalendar(t *rapid.T) calendar.Calendar {
	zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	c := calendar.Calendar{Zone: zone, Unit: rapid.SampledFrom([]calendar.Unit{calendar.Day, calendar.Week, calendar.Month}).Draw(t, "unit")}
	switch c.Unit {
	case calendar.Week:
		c.Anchor = rapid.IntRange(0, 6).Draw(t, "weekday")
	case calendar.Month:
		c.Anchor = rapid.SampledFrom([]int{1, 2, 15, 28, 29, 30, 31}).Draw(t, "day")
	}
	return c
}

// drawStart draws where the clock of a world with a calendar starts: near an odd day of a
// zone, or anywhere in two years.
func drawStart(t *rapid.T) int64 {
	odd := []string{"2011-12-28", "2017-10-14", "2017-02-18", "2026-03-28", "2026-10-24", "2028-02-27", "2010-11-06"}
	if rapid.Bool().Draw(t, "odd day") {
		at, err := time.Parse(time.DateOnly, rapid.SampledFrom(odd).Draw(t, "day"))
		if err != nil {
			t.Fatalf("%v", err)
		}
		return at.UnixMicro() + rapid.Int64Range(0, day).Draw(t, "start")
	}
	return epoch + rapid.Int64Range(0, 730).Draw(t, "days")*day + rapid.Int64Range(0, day).Draw(t, "start")
}
