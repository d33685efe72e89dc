package limittest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/gatekit/gatekit/internal/calendar"
)

// day is how far the server's clock may step back without a period being forgotten, µs.
const day = int64(86_400_000_000)

// civil models CalendarQuota. It counts permits by the period in which they were spent.
type civil struct {
	calendar   calendar.Calendar
	spent      map[int64]int64 // by the id of the period
	owners     map[int64][]int // decisions by period
	ends       map[int64]int64 // when the periods end
	generation int64           // how often the limit was reset
}

// passed are the periods that a script gets.
type passed struct {
	ids, starts []int64
	at          int // the period of now
}

// pass reads the periods. It returns false if a script would say that now is outside.
func pass(word string, now int64) (p passed, ok bool) {
	for ; len(word) >= 24; word = word[24:] {
		id, _ := strconv.ParseInt(word[:8], 10, 64)
		start, _ := strconv.ParseInt(word[8:24], 10, 64)
		p.ids, p.starts = append(p.ids, id), append(p.starts, start)
		if start <= now {
			p.at = len(p.ids) - 1
		}
	}
	return p, p.at >= 1 && p.at <= len(p.ids)-3
}

func (l *civil) read(c Call) (wait int64) {
	p, _ := pass(c.periods, c.Now)
	if l.spent[p.ids[p.at]]+c.Cost <= c.quota {
		return 0
	}
	for i := p.at + 1; i < len(p.ids); i++ {
		wait = p.starts[i] - c.Now
		if l.spent[p.ids[i]]+c.Cost <= c.quota {
			break
		}
	}
	return wait
}

func (l *civil) look(c Call) State {
	p, _ := pass(c.periods, c.Now)
	spent := l.spent[p.ids[p.at]]
	s := State{Remaining: max(c.quota-spent, 0), Stamp: -p.ids[p.at]}
	if spent > 0 {
		s.Reset = p.starts[p.at+1] - c.Now
	}
	return s
}

func (l *civil) spend(c Call) State {
	if l.owners == nil {
		l.owners, l.ends = map[int64][]int{}, map[int64]int64{}
	}
	p, _ := pass(c.periods, c.Now)
	id := p.ids[p.at]
	if l.spent[id] == 0 {
		oldest := p.at - 1
		if p.starts[oldest] > c.Now-day {
			oldest--
		}
		if oldest >= 0 {
			maps.DeleteFunc(l.spent, func(held, _ int64) bool { return held < p.ids[oldest] })
		}
	}
	l.spent[id] += c.Cost
	l.owners[id] = append(l.owners[id], c.Decision)
	l.ends[id] = p.starts[p.at+1]
	s := l.look(c)
	s.Stamp = id*256 + l.generation%256
	return s
}

func (l *civil) refund(c Call, stamp int64) (given int64, owners []int) {
	id := stamp / 256
	if l.generation%256 != stamp%256 || l.spent[id] < c.Cost {
		return 0, nil
	}
	owners = l.owners[id]
	if slices.Contains(owners, c.Decision) {
		owners = []int{c.Decision}
	}
	if l.spent[id] -= c.Cost; l.spent[id] == 0 {
		delete(l.spent, id)
	}
	return c.Cost, owners
}

func (*civil) admitted(Call) (stamp, cost int64) { return 0, 0 }

func (l *civil) contents() (text []string) {
	for id, n := range l.spent {
		text = append(text, fmt.Sprintf("%d=%d", id, n))
	}
	if l.generation > 0 {
		text = append(text, fmt.Sprintf("g=%d", l.generation))
	}
	return text
}

func (l *civil) until(now int64) (end int64) {
	for id := range l.spent {
		end = max(end, l.ends[id])
	}
	if end <= now {
		return 0
	}
	return end
}

func (l *civil) forget() { *l = civil{calendar: l.calendar, spent: map[int64]int64{}} }

// reset keeps the generation and adds one, as for buckets.
func (l *civil) reset(int64) {
	if len(l.spent) > 0 || l.generation > 0 {
		*l = civil{calendar: l.calendar, spent: map[int64]int64{}, generation: l.generation + 1}
	}
}

func (l *civil) clone() counter {
	c := *l
	c.spent, c.owners, c.ends = maps.Clone(l.spent), maps.Clone(l.owners), maps.Clone(l.ends)
	return &c
}
