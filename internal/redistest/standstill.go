package redistest

import (
	"sync"
	"testing"
	"time"
)

// Standstill records when the machine stood still. Tests share the machine with others,
// and a timer of 100 ms may then fire after 300. Upper bounds on latency leave such times
// out. It is safe for concurrent use.
type Standstill struct {
	mu    sync.Mutex // guards what follows
	spans []struct{ from, to time.Time }
}

// hang is longer than any busy machine explains: a call that takes that long waits for
// something else than its budget. Tests give the client longer time-outs.
const hang = 30 * time.Second

// Within judges an operation that began at start and should end within most. A late
// machine fails no test: Within logs an operation that ended later, and fails the test
// only if it took 30 s.
func (s *Standstill) Within(tb testing.TB, what string, start time.Time, most time.Duration) {
	tb.Helper()
	switch took := s.Since(start); {
	case took > hang:
		tb.Errorf("%s: took %v, want %v at most", what, took, most)
	case took > most:
		tb.Logf("%s: LATE, took %v, want %v at most: a busy machine, or a fault to look into", what, took, most)
	}
}

const standstillTick = 2 * time.Millisecond

// WatchStandstill watches until the end of the test.
func WatchStandstill(tb testing.TB) *Standstill {
	s, stop, stopped := &Standstill{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			from := time.Now().Add(standstillTick)
			time.Sleep(standstillTick)
			if to := time.Now(); to.Sub(from) > standstillTick {
				s.mu.Lock()
				s.spans = append(s.spans, struct{ from, to time.Time }{from, to})
				s.mu.Unlock()
			}
		}
	}()
	tb.Cleanup(func() { close(stop); <-stopped })
	return s
}

// Since returns how long ago start was, without the times in between at which the machine
// stood still.
func (s *Standstill) Since(start time.Time) (d time.Duration) {
	time.Sleep(standstillTick) // a standstill that goes on ends before the next tick
	end := time.Now().Add(-standstillTick)
	s.mu.Lock()
	defer s.mu.Unlock()
	d = end.Sub(start)
	for _, span := range s.spans {
		from, to := span.from, span.to
		if from.Before(start) {
			from = start
		}
		if to.After(end) {
			to = end
		}
		d -= max(to.Sub(from), 0)
	}
	return max(d, 0)
}
