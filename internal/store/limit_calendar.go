package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/calendar"
)

// limitCalendar is the calendar of one limit of a set.
type limitCalendar struct {
	limit    int // its index in the set
	calendar calendar.Calendar
	now      *atomic.Pointer[periods] // those of the last call
}

// periods are those around one instant, with the word for the scripts.
type periods struct {
	*calendar.Periods
	word any
}

// around returns the periods around an instant, unix µs. It asks the zone once a period.
func (c *limitCalendar) around(at int64) *periods {
	p := c.now.Load()
	if p == nil || !p.At(at) {
		found := c.calendar.Around(at)
		p = &periods{found, found.Word()}
		c.now.Store(p)
	}
	return p
}

// passPeriods puts the periods around an instant in the place of the windows, in words
// that begin with the set's and are so many a limit.
func (set *LimitSet) passPeriods(words []any, perLimit int, at int64) {
	for i := range set.calendars {
		c := &set.calendars[i]
		words[perLimit*c.limit+2] = c.around(at).word
	}
}

// Calendars reports whether a limit of the set has a calendar.
func (set *LimitSet) Calendars() bool { return len(set.calendars) > 0 }

// Period returns the period of limit i in which an instant lies, by the clock of this
// process: the date of its first day, yyyymmdd, and its start and end. The limit must
// have a calendar.
func (set *LimitSet) Period(i int, at time.Time) (id int64, start, end time.Time) {
	id, from, to := set.calendar(i).around(at.UnixMicro()).Current()
	return id, time.UnixMicro(from), time.UnixMicro(to)
}

// Length returns how long the period is in which a reply's [LimitReply.Stamp] lies. The
// limit must have a calendar. It returns 0 if the stamp names no period, and if the
// period is far from the one of now.
func (set *LimitSet) Length(i int, stamp int64) time.Duration {
	id := -stamp
	if stamp > 0 {
		id = stamp / 256
	}
	p := set.calendar(i).now.Load()
	if p == nil {
		return 0
	}
	start, end, _ := p.Find(id)
	return time.Duration(end-start) * time.Microsecond
}

func (set *LimitSet) calendar(i int) *limitCalendar {
	for n := range set.calendars {
		if set.calendars[n].limit == i {
			return &set.calendars[n]
		}
	}
	return nil
}

// clock returns the server's clock as far as this process knows it, unix µs.
func (s *Store) clock(call LimitCall) int64 { return call.local() + s.ahead.Load() }

// local returns the clock of this process, unix µs.
func (call LimitCall) local() int64 {
	switch {
	case call.Local != 0:
		return call.Local
	case call.Now != 0:
		return call.Now
	}
	return time.Now().UnixMicro()
}

func isOutside(reply LimitReply) bool { return len(reply) > 0 && reply.Verdict() == outside }

// measure takes the server's clock from its reply that it is outside.
func (s *Store) measure(call LimitCall, reply LimitReply) {
	s.ahead.Store(reply.Remaining(0) - call.local())
}

// again runs a call a second time, within the budget of the first run. The server's clock
// was outside of the periods of that run.
func (s *Store) again(first *run, call LimitCall, second *run) (LimitReply, error) {
	second.within(first)
	reply, err := s.do(second, replyLength(call.Set))
	if isOutside(reply) {
		return nil, second.outside(reply)
	}
	return reply, err
}

// within gives a run the deadline of another.
func (c *run) within(first *run) { c.at, c.hurried = first.at, first.hurried }

// outside returns the error of a call that was outside twice.
func (c *run) outside(reply LimitReply) error {
	return fmt.Errorf("gatekit: %s: %w: nothing was done: the server's clock shows %v, and that is not among the periods around it",
		c.script.name, ErrUnavailable, time.UnixMicro(reply.Remaining(0)).UTC())
}

// manyAgain runs those of many calls a second time that were outside, together and within
// the budget of the first runs. again makes the run of call i.
func (s *Store) manyAgain(ctx context.Context, calls []LimitCall, again func(i int) *run, runs []*run, want []int, values [][]int64, errs []error) {
	var places, wants []int
	var seconds []*run
	for i, reply := range values {
		if isOutside(reply) {
			s.measure(calls[i], reply)
			places, wants = append(places, i), append(wants, want[i])
		}
	}
	if len(places) == 0 {
		return
	}
	for _, i := range places {
		second := again(i)
		second.within(runs[0])
		seconds = append(seconds, second)
	}
	replies, failed := s.doMany(ctx, seconds, wants)
	for n, i := range places {
		values[i], errs[i] = replies[n], failed[n]
		if isOutside(values[i]) {
			values[i], errs[i] = nil, seconds[n].outside(values[i])
		}
	}
}
