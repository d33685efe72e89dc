package calendar

import "time"

// start returns the first instant at which the clocks of the zone show the civil date or
// a later one. The day may be outside of its month: it is carried over as by [time.Date].
//
// time.Date(year, month, day, 0, 0, 0, 0, zone) is another instant where midnight is
// skipped or comes twice: on one day in 2,000 of the world's zones.
func start(year int, month time.Month, day int, zone *time.Location) time.Time {
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	// No zone was ever a day and a half ahead of UTC. From there on, go from one change
	// of the offset to the next.
	from := midnight.Add(-36 * time.Hour)
	for {
		in := from.In(zone)
		_, offset := in.Zone()
		_, end := in.ZoneBounds()
		shown := midnight.Add(-time.Duration(offset) * time.Second)
		switch {
		case shown.Before(from):
			return from // the change skipped midnight
		case end.IsZero() || shown.Before(end):
			return shown
		}
		from = end
	}
}
