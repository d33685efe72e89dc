package limittest

import (
	"slices"

	"github.com/gatekit/gatekit/internal/store"
)

// Model is a policy for one key. It follows the same rules as the scripts, and predicts
// their replies and the contents of the keys.
type Model struct {
	limits   []counter
	sticky   bool
	refunded map[string]int64 // when the refunded calls were admitted, by name
}

// counter is one limit of a model. The model calls its methods in the order of the
// scripts: read for all limits, then spend or look for all.
type counter interface {
	// read returns how long until the cost passes. If it finds that the clock stepped
	// back, it repairs the stamps first.
	read(c Call) (wait int64)
	look(c Call) State
	spend(c Call) State
	// refund removes the permits that the stamp names. It returns how many they were, and
	// the decisions that spent them.
	refund(c Call, stamp int64) (given int64, owners []int)
	// owe spends the cost whatever the quota. The stamp is that of the take.
	owe(c Call, stamp int64)
	// admitted returns the stamp and cost of the live admission of a call, by its name; 0
	// if there is none. SlidingLog only.
	admitted(c Call) (stamp, cost int64)
	// contents returns the elements of the key in the form of the function contents, in
	// any order.
	contents() []string
	// until returns the instant up to which the key must exist, 0 if nothing in it
	// counts.
	until(now int64) int64
	reset(now int64)
	// forget removes everything: the key has expired.
	forget()
	clone() counter
}

// Call is a call to a model.
type Call struct {
	Decision   int // the number of the decision, to know which permits are its own
	Now, Cost  int64
	Costs      []int64  // of each limit, instead of Cost; 0: one must be free, and none is spent
	Quotas     []int64  // of each limit
	Periods    []string // of each limit that has a calendar: those that the script gets; nil if none has
	Name       string
	Repeatable bool

	quota   int64  // the quota of the limit that handles the call
	periods string // its periods
	free    bool   // it spends nothing
}

// at returns the call as limit i handles it.
func (c Call) at(i int) Call {
	if c.quota = c.Quotas[i]; i < len(c.Periods) {
		c.periods = c.Periods[i]
	}
	if c.Costs != nil {
		c.Cost = c.Costs[i]
	}
	c.free = c.Cost == 0
	c.Cost = max(c.Cost, 1)
	return c
}

// State is the reply of one limit.
type State struct{ Remaining, Wait, Reset, Stamp int64 }

// NewModel returns the model of the limits; their quotas come with each call.
func NewModel(limits []store.LimitSpec) *Model {
	m := &Model{refunded: map[string]int64{}}
	for _, l := range limits {
		window := l.Window.Microseconds()
		switch l.Algorithm {
		case 'w':
			m.limits = append(m.limits, &stamps{window: window})
		case 'b':
			m.limits = append(m.limits, &buckets{window: window, spent: map[int64]int64{}, top: -1})
		case 'k':
			m.limits = append(m.limits, &civil{calendar: l.Calendar, spent: map[int64]int64{}})
		case 'l':
			m.limits = append(m.limits, &stamps{window: window, named: true})
			m.sticky = true
		}
	}
	return m
}

// Take models limit_take and limit_take_once, and limit_take_all of one call with Costs.
func (m *Model) Take(c Call) (store.Verdict, []State) {
	read := m.read(c)
	return read.verdict, m.write(c, read)
}

// reading is what the first phase of a script finds.
type reading struct {
	verdict       store.Verdict
	waits, before []int64 // of each limit
}

// read models the first phase: it repairs, and decides.
func (m *Model) read(c Call) reading {
	found := reading{store.Allowed, make([]int64, len(m.limits)), make([]int64, len(m.limits))}
	for i, l := range m.limits {
		if found.waits[i] = l.read(c.at(i)); found.waits[i] > 0 {
			found.verdict = store.Denied
		}
	}
	if m.sticky && c.Name != "" {
		if verdict := m.admittedBefore(c, found.before); verdict != store.Denied {
			found.verdict = verdict
		}
	}
	return found
}

// write models the second phase: it spends if the verdict is Allowed.
func (m *Model) write(c Call, found reading) []State {
	if found.verdict == store.Allowed && c.Repeatable {
		delete(m.refunded, c.Name)
	}
	states := make([]State, len(m.limits))
	for i, l := range m.limits {
		own := c.at(i)
		if found.verdict == store.Allowed && !own.free {
			states[i] = l.spend(own)
			continue
		}
		states[i] = l.look(own)
		states[i].Wait = found.waits[i]
		if found.before[i] > 0 {
			states[i].Stamp = found.before[i]
		}
	}
	return states
}

// admittedBefore returns AllowedBefore or OtherCost for a call that was admitted before,
// and fills in its stamps. It returns Denied for other calls.
func (m *Model) admittedBefore(c Call, stamps []int64) store.Verdict {
	verdict := store.Denied
	for i, l := range m.limits {
		own := c.at(i)
		stamp, cost := l.admitted(own)
		if stamp == 0 {
			continue
		}
		stamps[i] = stamp
		if cost != own.Cost {
			verdict = store.OtherCost
		} else if verdict == store.Denied {
			verdict = store.AllowedBefore
		}
	}
	if m.accounted(c) {
		return store.AllowedBefore // also at another cost, which it may bear since
	}
	return verdict
}

// accounted reports whether a call that may be repeated was refunded or settled.
func (m *Model) accounted(c Call) bool {
	stamp, marked := m.refunded[c.Name]
	return c.Repeatable && marked && stamp > c.Now-m.horizon()
}

// horizon returns how long an admission is sticky: the longest window of a SlidingLog.
func (m *Model) horizon() (longest int64) {
	for _, l := range m.limits {
		if s, ok := l.(*stamps); ok && s.named {
			longest = max(longest, s.window)
		}
	}
	return longest
}

// Peek models limit_peek.
func (m *Model) Peek(c Call) (store.Verdict, []State) {
	verdict := store.Allowed
	states := make([]State, len(m.limits))
	for i, l := range m.limits {
		c = c.at(i)
		l = l.clone()
		wait := l.read(c)
		if wait > 0 {
			verdict = store.Denied
		}
		states[i] = l.look(c)
		states[i].Wait = wait
	}
	return verdict, states
}

// Refund models limit_refund. It returns how many permits each limit gives back, and the
// decisions that spent them.
func (m *Model) Refund(c Call, stamps []int64) (given []int64, owners [][]int) {
	given, owners = make([]int64, len(m.limits)), make([][]int, len(m.limits))
	if m.accounted(c) {
		return given, owners
	}
	for i, l := range m.limits {
		if stamps[i] > 0 {
			given[i], owners[i] = l.refund(c.at(i), stamps[i])
		}
	}
	m.mark(c, m.admission(stamps))
	return given, owners
}

// admission returns the latest stamp of a SlidingLog, 0 if there is none.
func (m *Model) admission(stamps []int64) (latest int64) {
	for i, stamp := range stamps {
		if m.named(i) {
			latest = max(latest, stamp)
		}
	}
	return latest
}

// mark notes that a call was refunded or settled, if it may be repeated.
func (m *Model) mark(c Call, admitted int64) {
	if !c.Repeatable || admitted == 0 {
		return
	}
	for name, stamp := range m.refunded {
		if stamp <= c.Now-m.horizon() {
			delete(m.refunded, name)
		}
	}
	m.refunded[c.Name] = admitted
}

func (m *Model) named(i int) bool {
	s, ok := m.limits[i].(*stamps)
	return ok && s.named
}

// Reset models limit_reset.
func (m *Model) Reset(now int64) {
	for _, l := range m.limits {
		l.reset(now)
	}
	clear(m.refunded)
}

// Contents returns the elements of the key of limit i, sorted, in the form of the
// function contents.
func (m *Model) Contents(i int) []string {
	text := m.limits[i].contents()
	slices.Sort(text)
	return text
}
