package ratelimit

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/internal/calendar"
)

// Unit is the kind of a calendar's periods. The zero value is none.
type Unit uint8

// The units of a [Calendar].
const (
	Day Unit = iota + 1
	Week
	Month
)

// String returns the unit's name, in lower case.
func (u Unit) String() string {
	switch u {
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	}
	return "Unit(" + strconv.Itoa(int(u)) + ")"
}

// A Calendar divides time into the civil days, weeks or months of a time zone, for quotas
// that begin anew with each of them: [Calendar.Per], or [PerCalendarDay],
// [PerCalendarWeek] and [PerCalendarMonth]. It is a plain value; [NewPolicy] checks it.
//
// Redis's clock decides in which period a call lies. This process tells Redis when the
// periods begin, by its own zone data. A day has 23, 24 or 25 hours, whatever the zone's
// rules make of it, and a date that a zone skipped is no period. Permits are counted by
// the date on which the period began. So processes with other versions of the zone data
// share a count, and differ only about when it ends.
//
// A limit whose calendar changes starts empty.
type Calendar struct {
	// Unit is the length of a period.
	Unit Unit

	// Anchor is where a period begins. For Week it is the weekday, as in [time.Weekday]:
	// 0 is Sunday, 1 is Monday. For Month it is the day of the month, 1 to 31; a month
	// that has fewer days begins on its last one. For Day it is 0.
	Anchor int

	// Zone is the time zone: [time.UTC], or one of [time.LoadLocation]. Not nil, and not
	// [time.Local], because that differs from process to process. The name of the zone is
	// part of the key: 1 to 64 of A-Z a-z 0-9 + - _ /.
	//
	// LoadLocation needs the zone data of the system. A program that imports time/tzdata
	// brings its own.
	Zone *time.Location
}

// Per returns the limit of quota permits in each period of the calendar, named like
// "calendar-month".
func (c Calendar) Per(quota int64) Limit {
	return Limit{Name: "calendar-" + c.Unit.String(), Quota: quota, Algorithm: CalendarQuota, Calendar: c}
}

// PerCalendarDay returns the limit of quota permits in each day of the zone, named
// "calendar-day". [PerDay] is the limit for any 24 hours.
func PerCalendarDay(quota int64, zone *time.Location) Limit {
	return Calendar{Unit: Day, Zone: zone}.Per(quota)
}

// PerCalendarWeek returns the limit of quota permits in each week of the zone, from
// Monday on, named "calendar-week".
func PerCalendarWeek(quota int64, zone *time.Location) Limit {
	return Calendar{Unit: Week, Anchor: int(time.Monday), Zone: zone}.Per(quota)
}

// PerCalendarMonth returns the limit of quota permits in each month of the zone, from the
// first on, named "calendar-month".
func PerCalendarMonth(quota int64, zone *time.Location) Limit {
	return Calendar{Unit: Month, Anchor: 1, Zone: zone}.Per(quota)
}

var zoneForm = regexp.MustCompile(`^[A-Za-z0-9+_/-]{1,64}$`)

func (c Calendar) check() error {
	low, high := 0, 0
	switch c.Unit {
	case Day:
	case Week:
		high = int(time.Saturday)
	case Month:
		low, high = 1, 31
	default:
		return fmt.Errorf("Calendar.Unit %d: want Day, Week or Month", c.Unit)
	}
	if c.Anchor < low || c.Anchor > high {
		return fmt.Errorf("Calendar.Anchor %d of a %v: want %d to %d", c.Anchor, c.Unit, low, high)
	}
	switch {
	case c.Zone == nil:
		return fmt.Errorf("Calendar.Zone is nil: want time.UTC or a zone of time.LoadLocation")
	case c.Zone == time.UTC:
		return nil
	case c.Zone == time.Local || c.Zone.String() == "Local":
		return fmt.Errorf("Calendar.Zone is time.Local, which differs from process to process: want time.UTC or a zone of time.LoadLocation")
	case !zoneForm.MatchString(c.Zone.String()):
		return fmt.Errorf("Calendar.Zone %q: want a name of 1 to 64 of A-Z a-z 0-9 + - _ /, as those of time.LoadLocation", c.Zone)
	}
	return nil
}

// periods returns the calendar in the form of the store.
func (c Calendar) periods() calendar.Calendar {
	units := map[Unit]calendar.Unit{Day: calendar.Day, Week: calendar.Week, Month: calendar.Month}
	return calendar.Calendar{Unit: units[c.Unit], Anchor: c.Anchor, Zone: c.Zone}
}

// suffix names the calendar; it is empty if there is none.
func (c Calendar) suffix() string {
	if c.Unit == 0 {
		return ""
	}
	return c.periods().Suffix()
}

// defaultName is the name of a limit that was given none.
func (l Limit) defaultName() string {
	if l.Algorithm == CalendarQuota {
		return l.Calendar.Per(0).Name
	}
	return l.Window.String()
}

// span says what a limit counts in, for errors.
func (l Limit) span() string {
	if l.Algorithm == CalendarQuota {
		return "Calendar " + l.Calendar.suffix()
	}
	return "Window " + l.Window.String()
}

// measure fills in the length of the periods around an instant of this process's clock.
func (p *Policy) measure(limits []LimitState, now time.Time) {
	for i := range limits {
		if limits[i].Algorithm == CalendarQuota {
			_, start, end := p.set.Period(i, now)
			limits[i].Window = end.Sub(start)
		}
	}
}
