package session

import (
	"sync/atomic"
	"time"
)

// clock follows Redis's clock, so that a host with a wrong clock judges deadlines like
// all other hosts. It keeps two offsets: to the wall clock, and to the time since the
// program began. Of the two times it returns the later one. If the wall clock was stepped
// or the host suspended, we may ask Redis once more than needed, but we never accept an
// expired session.
type clock struct {
	wall, run atomic.Int64 // ms
	known     atomic.Bool
}

var programBegan = time.Now()

// learn takes the server's time from a script's reply. It ignores the zero time.
func (c *clock) learn(server time.Time) {
	if server.IsZero() {
		return
	}
	ms := server.UnixMilli()
	c.wall.Store(ms - time.Now().UnixMilli())
	c.run.Store(ms - time.Since(programBegan).Milliseconds())
	c.known.Store(true)
}

// now returns the time by Redis's clock, in whole milliseconds, and whether that clock is
// known. Before the first reply it returns this host's time.
func (c *clock) now() (now time.Time, known bool) {
	known = c.known.Load()
	ms := time.Now().UnixMilli() + c.wall.Load()
	if known {
		ms = max(ms, time.Since(programBegan).Milliseconds()+c.run.Load())
	}
	return time.UnixMilli(ms), known
}

// now returns the time by Redis's clock, as far as it is known.
func (m *Manager) now() time.Time {
	now, _ := m.clock.now()
	return now
}
