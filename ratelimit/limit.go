package ratelimit

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// Ranges of a [Limit].
const (
	MinWindow = time.Millisecond
	MaxWindow = 400 * 24 * time.Hour

	MaxLogQuota    = 4096          // largest quota of SlidingWindow and SlidingLog, permits
	MaxBucketQuota = 1_000_000_000 // largest quota of SlidingBuckets, permits
	MaxLogCost     = 100           // largest cost of a call that a SlidingLog counts, permits
)

// Algorithm is how a limit counts. It is part of the key: a limit whose algorithm changes
// starts empty.
type Algorithm uint8

const (
	// SlidingWindow, the default, is exact: every instant x has at most Quota permits in
	// [x, x+Window), and no permit is withheld that this allows. It keeps the instant of
	// each permit, about 10 bytes each, hence [MaxLogQuota]. Worst case over any window:
	// 1.00 of the quota.
	SlidingWindow Algorithm = iota

	// SlidingBuckets counts in 17 sub-windows of Window/16, for any quota in at most 1
	// KB. Never over; a permit comes back up to Window/16 late, so that under steady
	// pressure at least 16/17 of the quota is let through. Worst case over any window:
	// 1.00 of the quota.
	SlidingBuckets

	// SlidingLog is SlidingWindow with names: an admission is sticky for its
	// [Request.CallID], so that a call that is repeated (a resent login, an OTP, a
	// payment) is charged once within the longest Window of the policy's SlidingLog
	// limits. A denial is not sticky. About 120 bytes a permit. Worst case over any
	// window: 1.00 of the quota.
	SlidingLog
)

// String returns the algorithm's name in Go.
func (a Algorithm) String() string {
	switch a {
	case SlidingWindow:
		return "SlidingWindow"
	case SlidingBuckets:
		return "SlidingBuckets"
	case SlidingLog:
		return "SlidingLog"
	}
	return "Algorithm(" + strconv.Itoa(int(a)) + ")"
}

// letter is the algorithm's name in keys and scripts.
func (a Algorithm) letter() byte { return "wbl"[a] }

func (a Algorithm) maxQuota() int64 {
	if a == SlidingBuckets {
		return MaxBucketQuota
	}
	return MaxLogQuota
}

// A Limit lets Quota permits pass in every Window. It is a plain value; [NewPolicy]
// checks it.
type Limit struct {
	// Name tells the limit from others of its policy: in keys, header fields and logs. 1
	// to 32 of A-Z a-z 0-9 . _ -, the first a letter or digit. Empty means the window,
	// like "10s".
	Name string

	// Quota is how many permits a window has. 1 to [MaxLogQuota] or, with SlidingBuckets,
	// [MaxBucketQuota]. It may change while the program runs, or differ between
	// processes: what was spent stays spent.
	Quota int64

	// Window is how long a permit counts. [MinWindow] to [MaxWindow], whole microseconds.
	// Another window is another limit, which starts empty: a longer window cannot count
	// what a shorter one forgot.
	Window time.Duration

	// Algorithm is how to count; the zero value is SlidingWindow.
	Algorithm Algorithm
}

// Per returns the limit of quota permits in a window.
func Per(quota int64, window time.Duration) Limit { return Limit{Quota: quota, Window: window} }

// PerSecond returns the limit of quota permits in a second, named "second".
func PerSecond(quota int64) Limit { return Limit{Name: "second", Quota: quota, Window: time.Second} }

// PerMinute returns the limit of quota permits in a minute, named "minute".
func PerMinute(quota int64) Limit { return Limit{Name: "minute", Quota: quota, Window: time.Minute} }

// PerHour returns the limit of quota permits in an hour, named "hour".
func PerHour(quota int64) Limit { return Limit{Name: "hour", Quota: quota, Window: time.Hour} }

// PerDay returns the limit of quota permits in 24 hours, named "day".
func PerDay(quota int64) Limit { return Limit{Name: "day", Quota: quota, Window: 24 * time.Hour} }

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

func checkName(what, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%s %q: want 1 to 32 of A-Z a-z 0-9 . _ -, the first a letter or digit", what, name)
	}
	return nil
}

func (l Limit) check() error {
	switch {
	case l.Algorithm > SlidingLog:
		return fmt.Errorf("Algorithm %d: want SlidingWindow, SlidingBuckets or SlidingLog", l.Algorithm)
	case l.Quota < 1 || l.Quota > l.Algorithm.maxQuota():
		hint := ""
		if l.Quota > 1 && l.Algorithm != SlidingBuckets {
			hint = "; SlidingBuckets takes more"
		}
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Quota %d: want 1 to %d with %v%s", l.Quota, l.Algorithm.maxQuota(), l.Algorithm, hint)
	case l.Window < MinWindow || l.Window > MaxWindow:
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Window %v: want %v to %v", l.Window, MinWindow, MaxWindow)
	case l.Window%time.Microsecond != 0:
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Window %v: want whole microseconds", l.Window)
	}
	return checkName("Name", l.Name)
}

// FailMode is what a policy does when Redis does not decide within the budget.
type FailMode uint8

const (
	// FailLocal, the default, lets this process decide alone, each quota divided by
	// [Options.Instances]. For most APIs. It keeps a count for each key and limit, in at
	// most 40 MB for limits of four windows, no keys, and nothing once Redis has decided
	// again for 10 s. Keys above 131,072 share counts, which never lets one pass too
	// often and may deny it early.
	FailLocal FailMode = iota
	// FailOpen allows. For limits that protect nothing that matters more than an answer.
	FailOpen
	// FailClosed denies. For logins, one-time passwords, payments.
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

	items   []string // the names of the limits in header fields
	set     *store.LimitSet
	minimum int64 // the smallest quota, and so the largest cost that can pass
	maxCost int64 // the largest cost that may be asked for
}

// NewPolicy returns the policy of the limits, 1 to 8 of them, no two with one name or
// with one window and algorithm. The name tells its keys, header fields and logs from
// those of other policies; the form is that of [Limit.Name]. Policies of one name share
// what they count, limit by limit, whatever their quotas: that is how a quota differs by
// plan.
func NewPolicy(name string, limits ...Limit) (*Policy, error) {
	p := &Policy{name: name, limits: append([]Limit(nil), limits...), minimum: MaxBucketQuota, maxCost: MaxBucketQuota}
	if err := checkName("name", name); err != nil {
		return nil, fmt.Errorf("ratelimit: policy %w", err)
	}
	if len(limits) < 1 || len(limits) > 8 {
		return nil, fmt.Errorf("ratelimit: policy %q: %d limits: want 1 to 8", name, len(limits))
	}
	type counter struct {
		window    time.Duration
		algorithm Algorithm
	}
	names, counters := map[string]bool{}, map[counter]bool{}
	var specs []store.LimitSpec
	for i := range p.limits {
		l := &p.limits[i]
		if l.Name == "" {
			l.Name = l.Window.String()
		}
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("ratelimit: policy %q, limit %d: %w", name, i, err)
		}
		if names[l.Name] {
			return nil, fmt.Errorf("ratelimit: policy %q, limit %d: Name %q twice", name, i, l.Name)
		}
		if c := (counter{l.Window, l.Algorithm}); counters[c] {
			return nil, fmt.Errorf("ratelimit: policy %q, limit %d: Window %v with %v twice, the smaller Quota decides alone", name, i, l.Window, l.Algorithm)
		}
		names[l.Name], counters[counter{l.Window, l.Algorithm}] = true, true
		p.minimum = min(p.minimum, l.Quota)
		if l.Algorithm == SlidingLog {
			p.maxCost = MaxLogCost
		}
		specs = append(specs, store.LimitSpec{Name: l.Name, Algorithm: l.Algorithm.letter(), Quota: l.Quota, Window: l.Window})
	}
	for i := range p.limits {
		p.items = append(p.items, itemName(name, p.limits, i))
	}
	p.set = store.NewLimitSet(specs...)
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

// checkCost refuses costs that are no cost, rather than those that cannot pass.
func (p *Policy) checkCost(cost int64) error {
	if cost < 1 || cost > MaxBucketQuota {
		return fmt.Errorf("cost %d: want 1 to %d", cost, int64(MaxBucketQuota))
	}
	if cost > p.maxCost && cost <= p.minimum {
		return fmt.Errorf("cost %d: want at most %d with a SlidingLog", cost, p.maxCost)
	}
	return nil
}

var errNilPolicy = errors.New("policy is nil")
