package calendar

import (
	"strconv"
	"time"
)

// Unit is the kind of a period; its value is its letter in keys.
type Unit byte

// The units.
const (
	Day   Unit = 'd'
	Week  Unit = 'w'
	Month Unit = 'm'
)

// A Calendar divides time into periods. Package ratelimit checks its fields. The zero
// value is no calendar.
type Calendar struct {
	Unit   Unit
	Anchor int            // Week: the weekday of the first day, 0 is Sunday. Month: its date, 1 to 31
	Zone   *time.Location // not nil
}

// Suffix names the calendar in keys: m1:Europe/Berlin.
func (c Calendar) Suffix() string {
	return string(rune(c.Unit)) + strconv.Itoa(c.Anchor) + ":" + c.Zone.String()
}

// firstDay returns the date on which a period begins: that of the date year, month, day,
// or the one n periods later. The result may be outside of its month, as for [time.Date].
func (c Calendar) firstDay(year int, month time.Month, day, n int) (int, time.Month, int) {
	switch c.Unit {
	case Week:
		weekday := int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday())
		return year, month, day - (weekday-c.Anchor+7)%7 + 7*n
	case Month:
		month += time.Month(n)
		last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		return year, month, min(c.Anchor, last)
	}
	return year, month, day + n
}

// id returns the number of a date, yyyymmdd.
func id(year int, month time.Month, day int) int64 {
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return int64(t.Year()*10000 + int(t.Month())*100 + t.Day())
}
