package ratelimit

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Ranges of a [Limit].
const (
	MinWindow = time.Millisecond
	MaxWindow = 400 * 24 * time.Hour

	MaxLogQuota    = 4096          // largest quota of SlidingWindow, SlidingLog and Concurrent
	MaxBucketQuota = 1_000_000_000 // largest quota of SlidingBuckets and CalendarQuota, permits
	MaxLogCost     = 100           // largest cost of a call that a SlidingLog counts, permits
)

// The range of the Window of a Concurrent limit.
const (
	minSlotWindow = 10 * time.Second
	maxSlotWindow = 10 * time.Minute
)

// Algorithm is how a limit counts. It is part of the key in Redis, so a limit whose
// algorithm changes starts empty.
type Algorithm uint8

const (
	// SlidingWindow, the default, is exact. For every instant x at most Quota permits lie
	// in [x, x+Window), and no permit is withheld that this rule allows. It stores the
	// instant of each permit, about 10 bytes each, so quotas end at [MaxLogQuota]. Worst
	// case over any window: 1.00 of the quota.
	SlidingWindow Algorithm = iota

	// SlidingBuckets counts in 17 sub-windows of Window/16 each, for any quota in at most
	// 1 KB. It never admits more than the quota. A permit comes back up to Window/16
	// late, so under steady pressure at least 16/17 of the quota passes. Worst case over
	// any window: 1.00 of the quota.
	SlidingBuckets

	// SlidingLog is SlidingWindow that remembers the [Request.CallID] of each admission.
	// A call that is repeated under its id (a resent login, an OTP, a payment) is charged
	// once within the longest Window of the policy's SlidingLog limits. A denial is not
	// remembered. About 120 bytes a permit. Worst case over any window: 1.00 of the
	// quota.
	SlidingLog

	// Concurrent bounds how much is under way at once, not how much begins in a window.
	// Quota is the number of slots. Window is how long a slot is held that nobody
	// prolongs, 10 s to 10 min; the limiter prolongs it while it is held. A dead process
	// blocks its slots that long. See [Slots] and [Limiter.Acquire].
	Concurrent

	// CalendarQuota counts by the days, weeks or months of a time zone: see [Calendar],
	// which makes such limits. It takes any quota, in about 100 bytes. Each period admits
	// at most the quota. A client can spend a quota in the last instant of one period and
	// another one in the first instant of the next. Worst case over a span as long as the
	// shortest period: 2.00 of the quota. Over 24 hours around a day of 23 hours, or 31
	// days around February: 3.00.
	CalendarQuota
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
	case Concurrent:
		return "Concurrent"
	case CalendarQuota:
		return "CalendarQuota"
	}
	return "Algorithm(" + strconv.Itoa(int(a)) + ")"
}

// letter is the algorithm's name in keys and scripts.
func (a Algorithm) letter() byte { return "wblsk"[a] }

func (a Algorithm) maxQuota() int64 {
	if a == SlidingBuckets || a == CalendarQuota {
		return MaxBucketQuota
	}
	return MaxLogQuota
}

// A Limit lets Quota permits pass in every Window. It is a plain value; [NewPolicy]
// checks it.
type Limit struct {
	// Name tells the limit from others of its policy: in keys, header fields and logs. 1
	// to 32 of A-Z a-z 0-9 . _ -, the first a letter or digit. Empty means the window,
	// like "10s"; of a CalendarQuota the unit, like "calendar-month".
	Name string

	// Quota is how many permits a window or period has. 1 to [MaxLogQuota] or, with
	// SlidingBuckets and CalendarQuota, [MaxBucketQuota]. It may change while the program
	// runs, or differ between processes; permits that were spent stay spent.
	Quota int64

	// Window is how long a permit counts. [MinWindow] to [MaxWindow], whole microseconds;
	// another range with [Concurrent].
	// A limit whose window changes starts empty, because a longer window cannot count
	// what a shorter one forgot. With CalendarQuota it is 0 in a policy, and in a
	// decision the length of the period.
	Window time.Duration

	// Algorithm is how to count; the zero value is SlidingWindow.
	Algorithm Algorithm

	// Calendar has the periods of a CalendarQuota. With other algorithms it is zero.
	Calendar Calendar
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

// Slots returns the limit of n under way at once, named "slots": n slots that last 30 s
// unless their holder lives on, [Concurrent]. n is 1 to 4,096. To hold the slots of a
// dead process for another time, set Window.
func Slots(n int64) Limit {
	return Limit{Name: "slots", Quota: n, Window: 30 * time.Second, Algorithm: Concurrent}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

func checkName(what, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%s %q: want 1 to 32 of A-Z a-z 0-9 . _ -, the first a letter or digit", what, name)
	}
	return nil
}

func (l Limit) check() error {
	switch {
	case l.Algorithm > CalendarQuota:
		return fmt.Errorf("Algorithm %d: want SlidingWindow, SlidingBuckets, SlidingLog, Concurrent or CalendarQuota", l.Algorithm)
	case l.Algorithm != CalendarQuota && l.Calendar != Calendar{}:
		return fmt.Errorf("Calendar with %v: want CalendarQuota; Calendar.Per sets it", l.Algorithm)
	case l.Algorithm == CalendarQuota && l.Window != 0:
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Window %v with CalendarQuota: want 0, the Calendar has the periods", l.Window)
	case l.Quota < 1 || l.Quota > l.Algorithm.maxQuota():
		hint := ""
		if l.Quota > 1 && l.Algorithm.maxQuota() < MaxBucketQuota && l.Algorithm != Concurrent {
			hint = "; SlidingBuckets takes more"
		}
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Quota %d: want 1 to %d with %v%s", l.Quota, l.Algorithm.maxQuota(), l.Algorithm, hint)
	case l.Algorithm == Concurrent && (l.Window < minSlotWindow || l.Window > maxSlotWindow):
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Window %v: want %v to %v with Concurrent", l.Window, minSlotWindow, maxSlotWindow)
	case l.Algorithm == CalendarQuota:
		if err := l.Calendar.check(); err != nil {
			return err
		}
	case l.Window < MinWindow || l.Window > MaxWindow:
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Window %v: want %v to %v", l.Window, MinWindow, MaxWindow)
	case l.Window%time.Microsecond != 0:
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Window %v: want whole microseconds", l.Window)
	}
	return checkName("Name", l.Name)
}
