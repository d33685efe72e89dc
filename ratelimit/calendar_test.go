package ratelimit_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	_ "time/tzdata" // the tests must not depend on the machine's zones

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestCalendarRefusals(t *testing.T) {
	good := ratelimit.Calendar{Unit: ratelimit.Month, Anchor: 31, Zone: time.UTC}
	with := func(change func(*ratelimit.Limit)) ratelimit.Limit {
		l := good.Per(10)
		change(&l)
		return l
	}
	for _, c := range []struct {
		name, want string
		limits     []ratelimit.Limit
	}{
		{"good", "", []ratelimit.Limit{good.Per(ratelimit.MaxBucketQuota), ratelimit.PerCalendarDay(1, zone(t, "Europe/Berlin")), ratelimit.PerDay(1)}},
		{"same calendar", "Calendar m31:UTC with CalendarQuota twice", []ratelimit.Limit{good.Per(1), with(func(l *ratelimit.Limit) { l.Name = "other" })}},
		{"two zones", "", []ratelimit.Limit{good.Per(1), with(func(l *ratelimit.Limit) { l.Name, l.Calendar.Zone = "other", zone(t, "Asia/Tokyo") })}},
		{"same zone, loaded twice", "twice", []ratelimit.Limit{ratelimit.PerCalendarDay(1, zone(t, "Asia/Tokyo")), func() ratelimit.Limit {
			l := ratelimit.PerCalendarDay(1, zone(t, "Asia/Tokyo"))
			l.Name = "other"
			return l
		}()}},
		{"no unit", "Calendar.Unit 0: want Day, Week or Month", []ratelimit.Limit{with(func(l *ratelimit.Limit) { l.Calendar.Unit = 0 })}},
		{"anchor 0", "Calendar.Anchor 0 of a month: want 1 to 31", []ratelimit.Limit{with(func(l *ratelimit.Limit) { l.Calendar.Anchor = 0 })}},
		{"anchor 32", "want 1 to 31", []ratelimit.Limit{with(func(l *ratelimit.Limit) { l.Calendar.Anchor = 32 })}},
		{"anchor of a week", "Calendar.Anchor 7 of a week: want 0 to 6", []ratelimit.Limit{ratelimit.Calendar{Unit: ratelimit.Week, Anchor: 7, Zone: time.UTC}.Per(1)}},
		{"anchor of a day", "Calendar.Anchor 1 of a day: want 0 to 0", []ratelimit.Limit{ratelimit.Calendar{Unit: ratelimit.Day, Anchor: 1, Zone: time.UTC}.Per(1)}},
		{"no zone", "Calendar.Zone is nil", []ratelimit.Limit{ratelimit.PerCalendarDay(1, nil)}},
		{"local zone", "time.Local", []ratelimit.Limit{ratelimit.PerCalendarDay(1, time.Local)}},
		{"named Local", "time.Local", []ratelimit.Limit{ratelimit.PerCalendarDay(1, time.FixedZone("Local", 0))}},
		{"zone without a name", `Calendar.Zone ""`, []ratelimit.Limit{ratelimit.PerCalendarDay(1, time.FixedZone("", 3600))}},
		{"zone with a brace", `Calendar.Zone "{a}"`, []ratelimit.Limit{ratelimit.PerCalendarDay(1, time.FixedZone("{a}", 3600))}},
		{"window", "Window 1s with CalendarQuota: want 0", []ratelimit.Limit{with(func(l *ratelimit.Limit) { l.Window = time.Second })}},
		{"another algorithm", "Calendar with SlidingWindow: want CalendarQuota", []ratelimit.Limit{with(func(l *ratelimit.Limit) { l.Algorithm = 0 })}},
		{"beside slots", "a CalendarQuota beside a Concurrent limit", []ratelimit.Limit{good.Per(1), ratelimit.Slots(2)}},
		{"quota", "Quota 1000000001: want 1 to 1000000000 with CalendarQuota", []ratelimit.Limit{good.Per(ratelimit.MaxBucketQuota + 1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ratelimit.NewPolicy("p", c.limits...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "ratelimit: ")) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestCalendarNames: a limit without a name gets that of its unit, and the week begins on
// Monday.
func TestCalendarNames(t *testing.T) {
	l := ratelimit.PerCalendarWeek(7, time.UTC)
	l.Name = ""
	got := ratelimit.MustPolicy("p", l).Limits()[0]
	if got.Name != "calendar-week" || got.Calendar.Anchor != int(time.Monday) || got.Algorithm.String() != "CalendarQuota" || got.Quota != 7 {
		t.Errorf("%+v", got)
	}
	for unit, want := range map[ratelimit.Unit]string{ratelimit.Day: "day", ratelimit.Month: "month", 9: "Unit(9)"} {
		if unit.String() != want {
			t.Errorf("%v, want %s", unit, want)
		}
	}
}

// TestCalendarDecisions: what a limit has, a calendar has.
func TestCalendarDecisions(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l := gateLimiter(t, srv, ratelimit.Options{})
		p := ratelimit.MustPolicy("calendar", ratelimit.PerCalendarMonth(10, zone(t, "Europe/Berlin")), ratelimit.PerHour(100))
		check := func(what string, d ratelimit.Decision, err error, allowed bool, left int64) {
			t.Helper()
			if err != nil || d.Degraded != nil || d.Allowed != allowed || d.Limits[0].Remaining != left {
				t.Fatalf("%s: %+v, %v; want allowed %v with %d left", what, d, err, allowed, left)
			}
			if days := d.Limits[0].Window / (24 * time.Hour); days < 27 || days > 31 {
				t.Errorf("%s: a month of %v", what, d.Limits[0].Window)
			}
		}
		first, err := l.TakeN(t.Context(), p, "k", 6)
		check("take", first, err, true, 4)
		denied, err := l.TakeN(t.Context(), p, "k", 5)
		check("denied", denied, err, false, 4)
		if denied.RetryAfter != denied.Limits[0].ResetAfter || denied.RetryAfter <= 0 || denied.Limits[1].Remaining != 94 {
			t.Errorf("denied: %+v", denied)
		}
		never, err := l.TakeN(t.Context(), p, "k", 11)
		check("never", never, err, false, ratelimit.Unknown)
		if never.RetryAfter != ratelimit.Never {
			t.Errorf("never: %v", never.RetryAfter)
		}
		peek, err := l.Peek(t.Context(), p, "k")
		check("peek", peek, err, true, 4)
		ds, err := l.TakeMany(t.Context(), []ratelimit.Request{{Policy: p, Key: "k", Cost: 4}, {Policy: p, Key: "k", Cost: 1}, {Policy: p, Key: "other", Cost: 1}})
		if err != nil {
			t.Fatal(err)
		}
		check("many 0", ds[0], nil, true, 0)
		check("many 1", ds[1], nil, false, 0)
		check("many 2", ds[2], nil, true, 9)
		if n, err := l.Refund(t.Context(), first); n != 2 || err != nil {
			t.Errorf("refund: %d, %v", n, err)
		}
		if n, err := l.Refund(t.Context(), first); n != 0 || err != nil {
			t.Errorf("second refund: %d, %v", n, err)
		}
		peek, err = l.Peek(t.Context(), p, "k")
		check("after the refund", peek, err, true, 6)
		if err := l.Reset(t.Context(), p, "k"); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Refund(t.Context(), ds[0]); n != 0 || err != nil {
			t.Errorf("refund of what was reset: %d, %v", n, err)
		}
		peek, err = l.Peek(t.Context(), p, "k")
		check("after the reset", peek, err, true, 10)
		if peek.Limits[0].ResetAfter != 0 {
			t.Errorf("nothing is spent, and ResetAfter is %v", peek.Limits[0].ResetAfter)
		}
	})
}

// TestCalendarExactUnderLoad: callers at the same time get the quota, and not one more.
func TestCalendarExactUnderLoad(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		l := gateLimiter(t, srv, ratelimit.Options{})
		const quota = 60
		// The year would have to end in this test for another period to begin.
		p := ratelimit.MustPolicy("load", ratelimit.PerCalendarMonth(quota, time.UTC))
		var passed atomic.Int64
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				for range 6 {
					if d, err := l.Take(t.Context(), p, "k"); err == nil && d.Allowed && d.Degraded == nil {
						passed.Add(1)
					}
				}
			})
		}
		group.Wait()
		if passed.Load() != quota {
			t.Errorf("%d passed, want %d", passed.Load(), quota)
		}
	})
}

// atClock moves the server's clock to an instant.
func atClock(clock *redistest.Clock, at time.Time) {
	clock.Step(time.Until(at) - clock.Offset())
}

// TestCalendarRollover: the clock of a real server goes over the ends of periods, far
// from the clock of this process. RetryAfter ends there, what was spent before can still
// be given back, and the header says how long the period is.
func TestCalendarRollover(t *testing.T) {
	srv, clock := redistest.NewSingleWithClock(t)
	client, prefix := srv.Client(t), redistest.Prefix(t)
	l, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: prefix, Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	berlin := zone(t, "Europe/Berlin")
	p := ratelimit.MustPolicy("rollover", ratelimit.Calendar{Unit: ratelimit.Month, Anchor: 31, Zone: berlin}.Per(2), ratelimit.PerCalendarDay(2, berlin))
	gate := newGate(t, l, ratelimit.GateOptions{}, ratelimit.Rule{Policy: p, Key: byIP})
	take := func(allowed bool) ratelimit.Decision {
		t.Helper()
		d, err := l.Take(t.Context(), p, "k")
		if err != nil || d.Degraded != nil || d.Allowed != allowed {
			t.Fatalf("%+v, %v; want allowed %v", d, err, allowed)
		}
		redistest.NoImmortalKeys(t, client, prefix)
		return d
	}
	// The day of 23 hours is the first of a period of the month: the 31st, or the last.
	begin := time.Date(2041, 3, 31, 0, 0, 0, 0, berlin)
	atClock(clock, begin.Add(-time.Hour))
	first := take(true)
	take(true)
	d := take(false)
	if left := d.RetryAfter; left > time.Hour || d.Limits[1].ResetAfter != left || d.Limits[0].Window != 31*24*time.Hour || d.Limits[1].Window != 24*time.Hour {
		t.Errorf("an hour before the rollover: %+v", d)
	}
	atClock(clock, begin.Add(time.Hour))
	take(true)
	if n, err := l.Refund(t.Context(), first); n != 2 || err != nil {
		t.Errorf("the refund of the last period gave back in %d limits, %v", n, err)
	}
	last := take(true)
	if last.Remaining != 0 || last.Limits[1].Window != 23*time.Hour || last.Limits[0].Window != 30*24*time.Hour-time.Hour {
		t.Errorf("the refund went to the wrong period: %+v", last)
	}
	take(false)
	v := gate.Check(apiRequest(), "")
	h := http.Header{}
	v.Header(h)
	if want := fmt.Sprintf(`"rollover-calendar-month";q=2;w=%d, "rollover-calendar-day";q=2;w=82800`, (30*24-1)*3600); h.Get("RateLimit-Policy") != want {
		t.Errorf("RateLimit-Policy %s, want %s", h.Get("RateLimit-Policy"), want)
	}
	// Half a day back: the period of March 30th gave one back, and holds one.
	atClock(clock, begin.Add(-time.Hour))
	take(true)
	if d := take(false); d.RetryAfter < 24*time.Hour {
		t.Errorf("the next day is full, and RetryAfter is %v", d.RetryAfter)
	}
	h = http.Header{}
	gate.Check(apiRequest(), "").Header(h)
	if !strings.HasSuffix(h.Get("RateLimit-Policy"), "w=86400") {
		t.Errorf("RateLimit-Policy %s, want that of a day of 24 h", h.Get("RateLimit-Policy"))
	}
}

// TestCalendarRemembersADay: a clock that steps back by less than a day finds what its
// day, and the one before, hold. After a day of 23 hours that is the one before the last.
func TestCalendarRemembersADay(t *testing.T) {
	srv, clock := redistest.NewSingleWithClock(t)
	l, err := ratelimit.New(kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	berlin := zone(t, "Europe/Berlin")
	p := ratelimit.MustPolicy("day", ratelimit.PerCalendarDay(1, berlin))
	take := func(at time.Time, allowed bool) {
		t.Helper()
		atClock(clock, at)
		d, err := l.Take(t.Context(), p, "k")
		if err != nil || d.Degraded != nil || d.Allowed != allowed {
			t.Fatalf("at %v: %+v, %v; want allowed %v", at, d, err, allowed)
		}
	}
	take(time.Date(2041, 3, 30, 23, 50, 0, 0, berlin), true)
	take(time.Date(2041, 3, 31, 12, 0, 0, 0, berlin), true)
	take(time.Date(2041, 4, 1, 0, 10, 0, 0, berlin), true)
	take(time.Date(2041, 3, 30, 23, 55, 0, 0, berlin), false)
}
