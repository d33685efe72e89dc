package calendar

import (
	"strconv"
	"time"
)

// known is how many periods a [Periods] has: the one of now, two before it and three
// after it. A script needs the period before that of its clock, to know which older ones
// to forget, and two boundaries after it. So it accepts a clock that is up to a period
// away from ours.
const (
	known   = 6
	current = 2 // the index of the period of now
)

// The instants for which there are periods. Their stamps in µs have 16 digits.
var (
	earliest = time.Date(2002, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2285, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Periods are successive periods of a calendar. They do not change.
type Periods struct {
	word   string
	ids    [known]int64 // the date of the first day, yyyymmdd
	starts [known]int64 // unix µs
}

// Around returns the periods around an instant, unix µs. If there are none, because the
// instant is before 2002 or after 2284, it returns the first or the last.
func (c Calendar) Around(at int64) *Periods {
	t := time.UnixMicro(min(max(at, earliest.UnixMicro()), latest.UnixMicro()))
	at = t.UnixMicro()
	ids, starts := c.list(t)
	now := 0
	for i, from := range starts {
		if from <= at {
			now = i
		}
	}
	p := &Periods{}
	copy(p.ids[:], ids[now-current:])
	copy(p.starts[:], starts[now-current:])
	word := make([]byte, 0, known*24)
	for i := range p.ids {
		word = strconv.AppendInt(word, p.ids[i], 10)
		word = strconv.AppendInt(word, p.starts[i], 10)
	}
	p.word = string(word)
	return p
}

// list returns the periods from the fourth before the date of t to the fifth after it.
// Where the zone skipped whole days, a period has no length. It does not exist and is
// left out.
func (c Calendar) list(t time.Time) (ids, starts []int64) {
	year, month, day := t.In(c.Zone).Date()
	for n := -4; n <= 5; n++ {
		y, m, d := c.firstDay(year, month, day, n)
		from := start(y, m, d, c.Zone).UnixMicro()
		if last := len(starts) - 1; last >= 0 && from <= starts[last] {
			ids, starts = ids[:last], starts[:last]
		}
		ids, starts = append(ids, id(y, m, d)), append(starts, from)
	}
	return ids, starts
}

// Word returns the periods in the form that the scripts read: for each one the 8 digits
// of its id and the 16 of its start, unix µs.
func (p *Periods) Word() string { return p.word }

// At reports whether an instant, unix µs, is in the current period, around which the
// others lie.
func (p *Periods) At(at int64) bool {
	return p.starts[current] <= at && at < p.starts[current+1]
}

// Current returns the id of the current period, its start and its end, unix µs.
func (p *Periods) Current() (id, start, end int64) {
	return p.ids[current], p.starts[current], p.starts[current+1]
}

// Find returns the start and the end of the period with the id, unix µs; ok is false if
// it is not among those whose end is known.
func (p *Periods) Find(id int64) (start, end int64, ok bool) {
	for i, known := range p.ids[:known-1] {
		if known == id {
			return p.starts[i], p.starts[i+1], true
		}
	}
	return 0, 0, false
}
