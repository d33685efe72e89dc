package store

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/calendar"
)

// A LimitSpec is one limit in the form that the scripts get. Package ratelimit checks its
// ranges.
type LimitSpec struct {
	Name      string        // unique in its set, part of the key
	Algorithm byte          // 'w' SlidingWindow, 'b' SlidingBuckets, 'l' SlidingLog, 'k' CalendarQuota
	Quota     int64         // permits a window or a period
	Window    time.Duration // how long a permit counts, whole microseconds; 'k': 0

	Calendar calendar.Calendar // 'k' only: the periods
}

// Suffix returns the end of the limit's key, after the tag. The window is part of it,
// because a longer window cannot count what a shorter one forgot. The quota is not.
//
// The letter in it names what is stored, and Algorithm names what is promised. The two
// are the same except for SlidingBuckets, whose letter is c. Versions that kept it in a
// hash used b, and a key has one type: under one name each version would fail on the
// other's keys. The scripts get Algorithm, because each version has one form in which it
// stores an algorithm.
func (l LimitSpec) Suffix() string {
	if l.Algorithm == 'k' {
		return l.Name + ":k" + l.Calendar.Suffix()
	}
	stored := l.Algorithm
	if stored == 'b' {
		stored = 'c'
	}
	return l.Name + ":" + string(stored) + strconv.FormatInt(l.Window.Microseconds(), 10)
}

// A LimitSet is a list of limits that one script decides together, encoded once. It does
// not change, but for the periods of its calendars, which it computes again when the
// present one ends.
type LimitSet struct {
	suffixes  []string
	words     []any           // algorithm, quota, window of each limit
	windows   []any           // the window of each, µs; of a calendar 0
	letters   []any           // the algorithm of each
	sticky    bool            // one is a SlidingLog
	flat      bool            // all are a SlidingWindow
	calendars []limitCalendar // of the limits that have one
}

// NewLimitSet encodes the limits.
func NewLimitSet(limits ...LimitSpec) *LimitSet {
	set := &LimitSet{flat: true}
	for i, l := range limits {
		window := strconv.FormatInt(l.Window.Microseconds(), 10)
		letter := string(l.Algorithm)
		set.suffixes = append(set.suffixes, l.Suffix())
		if l.Algorithm == 'k' {
			set.calendars = append(set.calendars, limitCalendar{limit: i, calendar: l.Calendar, now: new(atomic.Pointer[periods])})
		}
		set.words = append(set.words, letter, strconv.FormatInt(l.Quota, 10), window)
		set.windows = append(set.windows, window)
		set.letters = append(set.letters, letter)
		set.sticky = set.sticky || l.Algorithm == 'l'
		set.flat = set.flat && l.Algorithm == 'w'
	}
	return set
}

// Len returns the number of limits.
func (set *LimitSet) Len() int { return len(set.suffixes) }

// Sticky reports whether a limit of the set is a SlidingLog, which remembers the name of
// each admitted call.
func (set *LimitSet) Sticky() bool { return set.sticky }

// A LimitCall asks a limit script to spend Cost permits of the key Tag from each limit of
// Set.
type LimitCall struct {
	Set  *LimitSet // the limits
	Tag  Tag       // who is limited, see [MakeTag]
	Cost int64     // permits, 1 .. the smallest quota of the set

	// Costs replaces Cost where the limits are asked for different numbers of permits:
	// one for each limit, 0 .. its quota. 0 means that one permit must be free, and none
	// is spent; a call with a Name asks a SlidingLog for 1 or more. [Store.LimitPeek]
	// ignores Costs.
	Costs []int64

	// Name of the call, for a sticky set: 1 to 64 bytes without '#'. The same name is
	// charged at most once.
	Name string
	// Repeatable says that the call may come again under Name, also after a refund.
	Repeatable bool

	// Now replaces the server's clock, unix µs. Only tests set it; 0 asks the server.
	Now int64
	// Local replaces the clock of this process, unix µs, by which the periods of
	// calendars are chosen. Only tests set it; 0 is Now or, without it, the true clock.
	Local int64
}

// Verdict is the decision of a limit script.
type Verdict int64

// The verdicts. Only Allowed spent the cost.
const (
	Denied        Verdict = 0
	Allowed       Verdict = 1
	AllowedBefore Verdict = 2 // the call was admitted earlier, under the same name
	OtherCost     Verdict = 3 // the call was admitted earlier, at another cost
	NotSpent      Verdict = 4 // it would be allowed, but another group of [Store.LimitTakeAll] denied

	// outside: the server's clock is not among the periods of a calendar. Nothing was
	// read or written. Callers of the store don't see it.
	outside Verdict = -1
)

// A LimitReply is the reply of [Store.LimitTake] and [Store.LimitPeek]: a verdict and the
// state of each limit.
type LimitReply []int64

// Verdict returns the decision over all limits.
func (r LimitReply) Verdict() Verdict { return Verdict(r[0]) }

// Remaining returns the permits that limit i has left.
func (r LimitReply) Remaining(i int) int64 { return r[1+4*i] }

// RetryAfter returns how long until limit i lets the cost pass; 0 means now.
func (r LimitReply) RetryAfter(i int) time.Duration {
	return time.Duration(r[2+4*i]) * time.Microsecond
}

// ResetAfter returns how long until limit i gets its next permit back; 0 means that none
// is spent.
func (r LimitReply) ResetAfter(i int) time.Duration {
	return time.Duration(r[3+4*i]) * time.Microsecond
}

// Stamp returns the name under which limit i stores what was spent, for
// [Store.LimitRefund]. 0 and less mean that nothing was spent. See [LimitSet.Length].
func (r LimitReply) Stamp(i int) int64 { return r[4+4*i] }

func replyLength(set *LimitSet) int { return 1 + 4*set.Len() }

// LimitTake spends the cost from every limit of the set, or from none. The error is
// [ErrUnavailable], and also [ErrUnknownOutcome] when the cost may have been spent.
func (s *Store) LimitTake(ctx context.Context, call LimitCall) (LimitReply, error) {
	c := s.limitTake(ctx, call)
	values, err := s.do(c, takeLength(call))
	if isOutside(values) {
		s.measure(call, values)
		return s.again(c, call, s.limitTake(ctx, call))
	}
	return takeReply(call, values), err
}

func (s *Store) limitTake(ctx context.Context, call LimitCall) *run {
	switch {
	case call.Costs != nil, call.folds():
		return s.takeAll(ctx, []LimitGroup{{LimitCall: call}}, call.folds())
	case !call.Set.sticky && len(call.Set.calendars) > 0:
		return s.limitCall(ctx, limitTakeCal, call, false)
	case !call.Set.sticky:
		return s.limitCall(ctx, limitTake, call, false)
	}
	c := s.limitCall(ctx, limitTakeOnce, call, call.Repeatable)
	c.words = append(c.words, call.Name)
	return c
}

// LimitPeek returns what LimitTake would reply, and writes nothing.
func (s *Store) LimitPeek(ctx context.Context, call LimitCall) (LimitReply, error) {
	c := s.limitCall(ctx, limitPeek, call, false)
	reply, err := s.do(c, replyLength(call.Set))
	if isOutside(reply) {
		s.measure(call, reply)
		return s.again(c, call, s.limitCall(ctx, limitPeek, call, false))
	}
	return reply, err
}

// LimitTakeMany is LimitTake for many calls at once. They are sent in chunks of 256, one
// after the other; a chunk takes one round trip to each node. Each call succeeds or fails
// by itself: errs[i] belongs to replies[i]. The error of a call that was not sent by the
// deadline is not [ErrUnknownOutcome].
func (s *Store) LimitTakeMany(ctx context.Context, calls []LimitCall) (replies []LimitReply, errs []error) {
	cs, want := make([]*run, len(calls)), make([]int, len(calls))
	for i, call := range calls {
		cs[i], want[i] = s.limitTake(ctx, call), takeLength(call)
	}
	values, errs := s.doMany(ctx, cs, want)
	s.manyAgain(ctx, calls, func(i int) *run { return s.limitTake(ctx, calls[i]) }, cs, want, values, errs)
	replies = make([]LimitReply, len(calls))
	for i, v := range values {
		replies[i] = takeReply(calls[i], v)
	}
	return replies, errs
}

// LimitRefund gives back what a LimitTake spent; stamps are those of its reply. It
// returns how many permits each limit gave back: 0 if they no longer count there, or if a
// repair after a clock step moved them. Do not call it twice for one take.
func (s *Store) LimitRefund(ctx context.Context, call LimitCall, stamps []int64) ([]int64, error) {
	return s.do(s.limitRefund(ctx, call, stamps), call.Set.Len())
}

// A LimitRefundCall is one refund of [Store.LimitRefundMany].
type LimitRefundCall struct {
	Call   LimitCall // the call of the take
	Stamps []int64   // [LimitReply.Stamp] of each limit
}

// LimitRefundMany is LimitRefund for many takes at once.
func (s *Store) LimitRefundMany(ctx context.Context, refunds []LimitRefundCall) (given [][]int64, errs []error) {
	cs, want := make([]*run, len(refunds)), make([]int, len(refunds))
	for i, r := range refunds {
		cs[i], want[i] = s.limitRefund(ctx, r.Call, r.Stamps), r.Call.Set.Len()
	}
	return s.doMany(ctx, cs, want)
}

func (s *Store) limitRefund(ctx context.Context, call LimitCall, stamps []int64) *run {
	set := call.Set
	c := s.begin(ctx, limitRefund, set.Len()+btoi(call.Repeatable && set.sticky))
	s.limitKeys(c, call, call.Repeatable && set.sticky)
	c.words = append(c.words, instant(call.Now), call.Name, set.Len())
	for i := range set.suffixes {
		c.words = append(c.words, set.letters[i], stamps[i], set.windows[i], call.CostOf(i))
	}
	return c
}

// LimitReset forgets what Tag spent from the limits of Set. It ignores the other fields
// except Now.
func (s *Store) LimitReset(ctx context.Context, call LimitCall) error {
	_, err := s.do(s.resetCall(ctx, call), 1)
	return err
}

func (s *Store) resetCall(ctx context.Context, call LimitCall) *run {
	set := call.Set
	c := s.begin(ctx, limitReset, set.Len()+btoi(set.sticky))
	s.limitKeys(c, call, set.sticky)
	c.words = append(c.words, instant(call.Now))
	for i := range set.suffixes {
		c.words = append(c.words, set.letters[i], set.windows[i])
	}
	return c
}

// limitCall builds the command of a script over the limits of a set.
func (s *Store) limitCall(ctx context.Context, script *script, call LimitCall, refunded bool) *run {
	c := s.begin(ctx, script, call.Set.Len()+btoi(refunded))
	s.limitKeys(c, call, refunded)
	c.words = append(c.words, instant(call.Now), call.Cost)
	first := len(c.words)
	c.words = append(c.words, call.Set.words...)
	if len(call.Set.calendars) > 0 {
		call.Set.passPeriods(c.words[first:], 3, s.clock(call))
	}
	return c
}

// limitKeys appends the key of each limit and, if refunded is set, the key of the
// refunded calls.
func (s *Store) limitKeys(c *run, call LimitCall, refunded bool) {
	var room [256]byte
	var lengths [9]int
	joined, ends := s.appendLimitKeys(room[:0], lengths[:0], call, refunded)
	c.keys(string(joined), ends...)
}

// appendLimitKeys appends the names of those keys to joined, and their lengths to ends.
func (s *Store) appendLimitKeys(joined []byte, ends []int, call LimitCall, refunded bool) ([]byte, []int) {
	for _, suffix := range call.Set.suffixes {
		before := len(joined)
		joined = s.appendKey(joined, 'l', call.Tag, suffix)
		ends = append(ends, len(joined)-before)
	}
	if refunded {
		before := len(joined)
		joined = s.appendKey(joined, 'r', call.Tag, "")
		ends = append(ends, len(joined)-before)
	}
	return joined, ends
}
