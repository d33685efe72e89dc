package ratelimit

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// FailMode is what a policy does when Redis does not decide within the budget.
type FailMode uint8

const (
	// FailLocal, the default, lets this process decide alone, with each quota divided by
	// [Options.Instances]. It suits most APIs. The process keeps a count for each key and
	// limit, without the key itself, in at most 40 MB for limits of four different
	// windows. It drops the counts when Redis has decided again for 10 s. Above 131,072
	// keys, keys share counts: none passes too often, and some are denied early.
	FailLocal FailMode = iota
	// FailOpen allows. It suits limits that matter less than an answer.
	FailOpen
	// FailClosed denies. It suits logins, one-time passwords and payments.
	FailClosed
)

// String returns the mode's name in Go.
func (m FailMode) String() string {
	switch m {
	case FailLocal:
		return "FailLocal"
	case FailOpen:
		return "FailOpen"
	case FailClosed:
		return "FailClosed"
	}
	return "FailMode(" + strconv.Itoa(int(m)) + ")"
}

// A Policy is a named list of limits that are decided together: a cost is spent from all
// of them or from none. It is encoded once, does not change, and is safe for concurrent
// use. Which policy applies may be chosen per call (plans, tenants).
type Policy struct {
	name   string
	limits []Limit
	fail   FailMode

	items   []string        // the names of the limits in header fields
	set     *store.LimitSet // of the rate limits, so without slots
	slots   *slotsOf        // nil for a policy without slots
	minimum int64           // the smallest quota, and so the largest cost that can pass
	maxCost int64           // the largest cost that may be asked for
}

// mostLimits is how many limits a policy may have.
const mostLimits = 8

// NewPolicy returns the policy of the limits, 1 to 8 of them. No two have one name, or
// one algorithm with one window or calendar. The name tells its keys, header fields and
// logs from those of other policies; the form is that of [Limit.Name]. Policies of one
// name share their counts, limit by limit, whatever their quotas. So a quota can differ
// by plan.
func NewPolicy(name string, limits ...Limit) (*Policy, error) {
	p := &Policy{name: name, limits: append([]Limit(nil), limits...), minimum: MaxBucketQuota, maxCost: MaxBucketQuota}
	if err := checkName("name", name); err != nil {
		return nil, errtext.Errorf("ratelimit", "policy %w", err)
	}
	if len(limits) < 1 || len(limits) > mostLimits {
		return nil, fmt.Errorf("ratelimit: policy %q: %d limits: want 1 to %d", name, len(limits), mostLimits)
	}
	type counter struct {
		window    time.Duration
		algorithm Algorithm
		calendar  string
	}
	names, counters := map[string]bool{}, map[counter]bool{}
	var specs []store.LimitSpec
	for i := range p.limits {
		l := &p.limits[i]
		if l.Name == "" {
			l.Name = l.defaultName()
		}
		if err := l.check(); err != nil {
			return nil, limitError{name, i, err}
		}
		if names[l.Name] {
			return nil, limitError{name, i, fmt.Errorf("Name %q twice", l.Name)}
		}
		c := counter{l.Window, l.Algorithm, l.Calendar.suffix()}
		if counters[c] {
			return nil, limitError{name, i, fmt.Errorf("%s with %v twice, the smaller Quota decides alone", l.span(), l.Algorithm)}
		}
		names[l.Name], counters[c] = true, true
		p.minimum = min(p.minimum, l.Quota)
		if l.Algorithm == SlidingLog {
			p.maxCost = MaxLogCost
		}
		if l.Algorithm == Concurrent {
			if p.slots != nil {
				return nil, fmt.Errorf("ratelimit: policy %q, limit %d: a second Concurrent limit: want one", name, i)
			}
			p.slots = newSlotsOf(i, *l)
			continue
		}
		specs = append(specs, store.LimitSpec{Name: l.Name, Algorithm: l.Algorithm.letter(), Quota: l.Quota, Window: l.Window, Calendar: l.Calendar.periods()})
	}
	for i := range p.limits {
		p.items = append(p.items, itemName(name, p.limits, i))
	}
	p.set = store.NewLimitSet(specs...)
	if p.slots != nil && p.set.Calendars() {
		return nil, fmt.Errorf("ratelimit: policy %q: a CalendarQuota beside a Concurrent limit: give it a policy of its own", name)
	}
	if p.slots != nil && p.set.Sticky() {
		return nil, fmt.Errorf("ratelimit: policy %q: a SlidingLog beside a Concurrent limit: want SlidingWindow or SlidingBuckets", name)
	}
	return p, nil
}

// MustPolicy is NewPolicy for policies that are written in the program; it panics on an
// error.
func MustPolicy(name string, limits ...Limit) *Policy {
	p, err := NewPolicy(name, limits...)
	if err != nil {
		panic(err)
	}
	return p
}

// OnFailure returns a copy of the policy with a fail mode; it panics when there is no
// such mode.
func (p *Policy) OnFailure(mode FailMode) *Policy {
	if mode > FailClosed {
		panic(fmt.Sprintf("ratelimit: %v: want FailLocal, FailOpen or FailClosed", mode))
	}
	q := *p
	q.fail = mode
	return &q
}

// Name returns the policy's name.
func (p *Policy) Name() string { return p.name }

// Limits returns a copy of the policy's limits, names filled in.
func (p *Policy) Limits() []Limit { return append([]Limit(nil), p.limits...) }

// FailMode returns what the policy does when Redis does not decide.
func (p *Policy) FailMode() FailMode { return p.fail }

// limitError is a mistake in one limit of a policy. The text of err begins with the name
// of the field.
type limitError struct {
	policy string
	limit  int
	err    error
}

// Error returns the mistake with its place.
func (e limitError) Error() string {
	return fmt.Sprintf("ratelimit: policy %q, limit %d: %v", e.policy, e.limit, e.err)
}

// Unwrap returns the mistake without its place.
func (e limitError) Unwrap() error { return e.err }

// usable returns an error for a policy that has no limits to decide by: nil, the zero
// Policy, and the one that [Policies.Get] returns for a name that the set lacks. Such a
// policy must be an error for each call, and never mean that nothing is limited.
func (p *Policy) usable() error {
	switch {
	case p == nil:
		return errNilPolicy
	case p.set != nil:
		return nil
	case p.name == "":
		return errZeroPolicy
	}
	return fmt.Errorf("the Policies have no policy %.64q", p.name)
}

var (
	errNilPolicy  = errors.New("policy is nil")
	errZeroPolicy = errors.New("policy is the zero Policy: make it by NewPolicy or from JSON")
)
