package ratelimit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/calendar"
	"github.com/gatekit/gatekit/internal/store"
)

// civilRow is a calendar under attack around its shortest period.
type civilRow struct {
	name     string
	unit     calendar.Unit
	around   []string // the instants at which everything is asked for, in Berlin
	nominal  time.Duration
	shortest time.Duration // of all periods
}

var civilRows = []civilRow{
	{"CalendarQuota, 24 h around a day of 23 h", calendar.Day, []string{
		"2026-03-27 23:59:59", "2026-03-28 00:00:00", "2026-03-28 23:59:59", "2026-03-29 12:00:00", "2026-03-29 23:59:59",
		"2026-03-30 00:00:00", "2026-03-30 23:59:59", "2026-03-31 00:00:00",
	}, 24 * time.Hour, 23 * time.Hour},
	{"CalendarQuota, 31 d around February", calendar.Month, []string{
		"2025-12-31 23:59:59", "2026-01-01 00:00:00", "2026-01-31 23:59:59", "2026-02-12 00:00:00", "2026-02-28 23:59:59",
		"2026-03-01 00:00:00", "2026-03-31 23:59:59", "2026-04-01 00:00:00",
	}, 31 * 24 * time.Hour, 28*24*time.Hour - time.Hour},
}

// attempts asks for twice the quota at each instant. back is how far the clock is set
// back after each, and forward again before the next.
func (row civilRow) attempts(t *testing.T, zone *time.Location, back time.Duration) (trace []attempt) {
	t.Helper()
	for _, text := range row.around {
		at, err := time.ParseInLocation(time.DateTime, text, zone)
		if err != nil {
			t.Fatal(err)
		}
		for n := range int64(2 * adversaryQuota) {
			real := at.UnixMicro() + 2*n
			trace = append(trace, attempt{real, real, 1})
			if back > 0 {
				trace = append(trace, attempt{real + 1, real - back.Microseconds(), 1})
			}
		}
	}
	return trace
}

// run checks the promises of a calendar: at most twice the quota in any span that is no
// longer than the shortest period, and three times in one of nominal length.
func (row civilRow) run(t *testing.T, ask func(store.LimitSpec) func() func(now, cost int64) bool, table *strings.Builder) {
	zone := zone(t, "Europe/Berlin")
	anchor := 0
	if row.unit == calendar.Month {
		anchor = 1
	}
	fresh := ask(store.LimitSpec{Name: "n", Algorithm: 'k', Quota: adversaryQuota, Calendar: calendar.Calendar{Unit: row.unit, Anchor: anchor, Zone: zone}})
	trace, stepping := row.attempts(t, zone, 0), row.attempts(t, zone, 20*time.Hour)
	_, total := worst(trace, 1, fresh())
	var short, most, stepped int64
	// What is asked for early is gone later, so each instant is once the first.
	for i := range row.around {
		from := i * len(trace) / len(row.around)
		found, _ := worst(trace[from:], row.shortest.Microseconds(), fresh())
		short = max(short, found)
		found, _ = worst(trace[from:], row.nominal.Microseconds(), fresh())
		most = max(most, found)
		found, _ = worst(stepping[2*from:], row.nominal.Microseconds(), fresh())
		stepped = max(stepped, found)
	}
	if short > 2*adversaryQuota || most > 3*adversaryQuota || stepped > 3*adversaryQuota {
		t.Errorf("%d in the shortest span, %d in the nominal one, with steps back %d", short, most, stepped)
	}
	if most < 3*adversaryQuota {
		t.Errorf("the adversary found only %d in a nominal span of %d: it is no adversary", most, adversaryQuota)
	}
	periods := map[int64]bool{}
	for _, a := range trace {
		id, _, _ := calendar.Calendar{Unit: row.unit, Anchor: anchor, Zone: zone}.Around(a.clock).Current()
		periods[id] = true
	}
	yield := float64(total) / float64(int64(len(periods))*adversaryQuota)
	if yield != 1 {
		t.Errorf("%d admitted in %d periods", total, len(periods))
	}
	t.Logf("spans no longer than the shortest period: %.2f", float64(short)/adversaryQuota)
	fmt.Fprintf(table, "| %s | %.2f | %.2f | %.2f |\n", row.name, float64(most)/adversaryQuota, float64(stepped)/adversaryQuota, yield)
}
