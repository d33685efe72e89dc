package ratelimit

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// TestLocalCalendar: while Redis is away, this process counts its share by its own clock
// and the limit's zone.
func TestLocalCalendar(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	again, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	wall := time.Date(2026, 3, 29, 23, 0, 0, 0, berlin)
	l := newLocal(2)
	l.wall = func() time.Time { return wall }
	p := MustPolicy("p", PerCalendarDay(5, berlin))
	other := MustPolicy("p", PerCalendarDay(5, again)) // as another process would load it
	check := func(p *Policy, cost int64, want bool, wait time.Duration) *localSpent {
		t.Helper()
		spent, got := l.take(p, store.LimitCall{Tag: localTag(p, "k"), Cost: cost})
		if (spent != nil) != want || got != wait {
			t.Fatalf("at %v: allowed %v, wait %v; want %v, %v", wall, spent != nil, got, want, wait)
		}
		return spent
	}
	first := check(p, 1, true, 0)
	check(other, 1, true, 0)
	check(p, 1, false, time.Hour)
	check(p, 3, false, time.Hour) // more than the share
	if ok, wait := peeked(l, p, "k"); ok || wait != time.Hour {
		t.Errorf("peek: %v, %v", ok, wait)
	}
	wall = wall.Add(time.Hour)
	check(p, 2, true, 0)
	if n := l.refund(p, store.LimitCall{Tag: localTag(p, "k"), Cost: 1}, first); n != 1 {
		t.Errorf("the refund after the rollover gave back in %d limits", n)
	}
	check(p, 1, false, 24*time.Hour)
	wall = wall.Add(-time.Hour)
	check(p, 1, true, 0)
	check(p, 1, false, time.Hour)
	l.reset(p, localTag(p, "k"))
	check(p, 2, true, 0)
	wall = wall.Add(time.Hour)
	check(p, 1, false, 24*time.Hour)
}
