package calendar

import (
	"fmt"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests must not depend on the machine's zones
)

// zones are those with the oddest days: midnights that are skipped or come twice, days
// that don't exist, offsets that are no whole hours.
var zones = strings.Fields(`UTC Europe/Berlin America/New_York America/Sao_Paulo America/Havana
	America/St_Johns America/Asuncion America/Santiago Asia/Beirut Asia/Gaza Asia/Amman Asia/Tehran
	Asia/Kolkata Asia/Kathmandu Africa/Cairo Pacific/Apia Pacific/Kwajalein Australia/Lord_Howe
	Antarctica/Troll Atlantic/Azores`)

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// TestStarts compares the start of each civil date from 1972 to 2037 with what the zone's
// clocks show.
func TestStarts(t *testing.T) {
	days, skipped, wrong, lengths := 0, 0, 0, map[time.Duration]int{}
	for _, name := range zones {
		zone := location(t, name)
		for year := 1972; year <= 2037; year++ {
			for day := 1; id(year, 1, day) < int64(year+1)*10000; day++ {
				from, date := start(year, 1, day, zone), id(year, 1, day)
				problem := checkStart(from, date, zone)
				length := start(year, 1, day+1, zone).Sub(from)
				switch {
				case problem != "":
					t.Fatalf("%s, %d: %v: %s", name, date, from.In(zone), problem)
				case length < 0:
					t.Fatalf("%s, %d: %v comes after the next day's start", name, date, from.In(zone))
				case length == 0:
					skipped++
				case length != 24*time.Hour:
					lengths[length]++
				}
				if !time.Date(year, 1, day, 0, 0, 0, 0, zone).Equal(from) {
					wrong++
				}
				days++
			}
		}
	}
	t.Logf("%d days, %d skipped, %d that time.Date starts elsewhere; lengths other than 24 h: %v", days, skipped, wrong, lengths)
	if skipped == 0 || wrong == 0 {
		t.Error("no odd day among them: the test proves nothing")
	}
}

// checkStart returns what is wrong with the start of a date.
func checkStart(from time.Time, date int64, zone *time.Location) string {
	shows := func(t time.Time) int64 { return id(t.In(zone).Date()) }
	if shows(from) < date {
		return "the clocks show an earlier date"
	}
	for _, before := range []time.Duration{time.Microsecond, 30 * time.Minute, time.Hour, 2 * time.Hour, 12 * time.Hour, 30 * time.Hour} {
		if shows(from.Add(-before)) >= date {
			return fmt.Sprintf("the clocks showed the date %v before", before)
		}
	}
	return ""
}

// TestAround: the instants around each boundary, and random ones, are in the period that
// a plain search finds.
func TestAround(t *testing.T) {
	for _, name := range zones {
		zone := location(t, name)
		for _, c := range []Calendar{
			{Day, 0, zone}, {Week, 0, zone}, {Week, 1, zone}, {Week, 6, zone},
			{Month, 1, zone}, {Month, 15, zone}, {Month, 29, zone}, {Month, 30, zone}, {Month, 31, zone},
		} {
			at := time.Date(2010, 12, 20, 0, 0, 0, 0, time.UTC).UnixMicro()
			end := time.Date(2013, 1, 10, 0, 0, 0, 0, time.UTC).UnixMicro()
			for at < end {
				p := c.Around(at)
				checkAround(t, c, p, at)
				_, _, next := p.Current()
				checkAround(t, c, c.Around(next-1), next-1)
				if c.Around(next-1).word != p.word {
					t.Fatalf("%s: the period of %d ends before %d", c.Suffix(), at, next)
				}
				at = next
			}
		}
	}
}

func checkAround(t *testing.T, c Calendar, p *Periods, at int64) {
	t.Helper()
	id, start, end := p.Current()
	if !p.At(at) || at < start || at >= end {
		t.Fatalf("%s: %d is not in [%d, %d)", c.Suffix(), at, start, end)
	}
	for i := 1; i < known; i++ {
		if p.starts[i] <= p.starts[i-1] || p.ids[i] <= p.ids[i-1] {
			t.Fatalf("%s at %d: the periods %v, %v don't rise", c.Suffix(), at, p.ids, p.starts)
		}
	}
	if want := fmt.Sprintf("%d%d", p.ids[1], p.starts[1]); p.Word()[24:48] != want || len(p.Word()) != 24*known {
		t.Fatalf("%s: word %s, want %s as its second period", c.Suffix(), p.Word(), want)
	}
	if from, to, ok := p.Find(id); !ok || from != start || to != end {
		t.Fatalf("%s: Find(%d) = %d, %d, %v", c.Suffix(), id, from, to, ok)
	}
	if _, _, ok := p.Find(p.ids[known-1]); ok {
		t.Fatalf("%s: the end of the last period is not known", c.Suffix())
	}
}

// TestOddPeriods: dates that were worked out by hand.
func TestOddPeriods(t *testing.T) {
	for _, c := range []struct {
		name     string
		calendar Calendar
		at       string // in the zone
		id       int64
		length   time.Duration
	}{
		{"a day of 23 h", Calendar{Day, 0, location(t, "Europe/Berlin")}, "2026-03-29 12:00", 20260329, 23 * time.Hour},
		{"a day of 25 h", Calendar{Day, 0, location(t, "Europe/Berlin")}, "2026-10-25 12:00", 20261025, 25 * time.Hour},
		{"no midnight", Calendar{Day, 0, location(t, "America/Sao_Paulo")}, "2017-10-15 01:00", 20171015, 23 * time.Hour},
		{"the day before one that was skipped", Calendar{Day, 0, location(t, "Pacific/Apia")}, "2011-12-29 12:00", 20111229, 24 * time.Hour},
		{"the day after one that was skipped", Calendar{Day, 0, location(t, "Pacific/Apia")}, "2011-12-31 12:00", 20111231, 24 * time.Hour},
		{"a week without Friday", Calendar{Week, 1, location(t, "Pacific/Apia")}, "2011-12-29 12:00", 20111226, 6 * 24 * time.Hour},
		{"a week from Friday on", Calendar{Week, 5, location(t, "Pacific/Apia")}, "2011-12-31 12:00", 20111230, 6 * 24 * time.Hour},
		{"a day of 22 h", Calendar{Day, 0, location(t, "Antarctica/Troll")}, "2026-03-29 12:00", 20260329, 22 * time.Hour},
		{"a month from the 31st", Calendar{Month, 31, time.UTC}, "2026-02-15 12:00", 20260131, 28 * 24 * time.Hour},
		{"a month to the 31st", Calendar{Month, 31, time.UTC}, "2026-03-01 12:00", 20260228, 31 * 24 * time.Hour},
		{"a leap year", Calendar{Month, 30, time.UTC}, "2028-02-29 00:00", 20280229, 30 * 24 * time.Hour},
		{"before the anchor", Calendar{Month, 15, time.UTC}, "2026-01-14 23:59", 20251215, 31 * 24 * time.Hour},
		{"a week across the year", Calendar{Week, 1, time.UTC}, "2027-01-01 00:00", 20261228, 7 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, err := time.ParseInLocation("2006-01-02 15:04", c.at, c.calendar.Zone)
			if err != nil {
				t.Fatal(err)
			}
			id, from, to := c.calendar.Around(at.UnixMicro()).Current()
			if length := time.Duration(to-from) * time.Microsecond; id != c.id || length != c.length {
				t.Errorf("period %d of %v, want %d of %v", id, length, c.id, c.length)
			}
		})
	}
}

// TestAroundNonsense: a clock that is centuries off gets periods that don't include it.
func TestAroundNonsense(t *testing.T) {
	c := Calendar{Month, 31, time.UTC}
	for _, at := range []int64{-1 << 62, 0, 1, 1 << 62} {
		if p := c.Around(at); p.At(at) || len(p.Word()) != 24*known {
			t.Errorf("%d: the word is %s", at, p.Word())
		}
	}
}

// TestSuffix: another unit, anchor or zone is another key.
func TestSuffix(t *testing.T) {
	if got := (Calendar{Month, 31, location(t, "Europe/Berlin")}).Suffix(); got != "m31:Europe/Berlin" {
		t.Errorf("got %s", got)
	}
}

func BenchmarkAround(b *testing.B) {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	c := Calendar{Month, 31, zone}
	for b.Loop() {
		c.Around(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC).UnixMicro())
	}
}
