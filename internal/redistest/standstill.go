package redistest

import (
	"sync"
	"testing"
	"time"
)

// Standstill knows when the machine stood still: tests share it with others, and a timer
// of 100 ms may then fire after 300. Upper bounds on latency leave such times out. It is
// safe for concurrent use.
type Standstill struct {
	mu    sync.Mutex // guards what follows
	spans []struct{ from, to time.Time }
}

// hang is what no busy machine explains: what takes that long waits for something else
// than its budget. Tests give the client time-outs that are longer.
const hang = 30 * time.Second

// Within judges what began at start and should have ended within most. How late a machine
// lets a program run decides no test: what came later is reported in the log, and only
// what took 30 s is a failure.
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
