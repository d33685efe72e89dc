package redistest

// NewSingleWithHeldClock is NewSingleWithClock of a server that holds on to a reading of
// the clock.
var NewSingleWithHeldClock = newSingleWithClock
