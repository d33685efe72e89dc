package lua_test

import (
	"sync"
	"testing"
	"time"
)

// standstill knows when the machine stood still: tests share it with others, and a timer of 100 ms may then fire after 300.
// Upper bounds on latency leave such times out.
type standstill struct {
	mu    sync.Mutex // guards what follows
	spans []struct{ from, to time.Time }
}

const tick = 2 * time.Millisecond

func watchStandstill(t testing.TB) *standstill {
	s, stop, stopped := &standstill{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			from := time.Now().Add(tick)
			time.Sleep(tick)
			if to := time.Now(); to.Sub(from) > tick {
				s.mu.Lock()
				s.spans = append(s.spans, struct{ from, to time.Time }{from, to})
				s.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return s
}

// since returns how long ago start was, without the times in between at which the machine stood still.
func (s *standstill) since(start time.Time) (d time.Duration) {
	time.Sleep(tick) // a standstill that goes on ends before the next tick
	end := time.Now().Add(-tick)
	s.mu.Lock()
	defer s.mu.Unlock()
	d = end.Sub(start)
	for _, span := range s.spans {
		if from, to := maxTime(span.from, start), minTime(span.to, end); to.After(from) {
			d -= to.Sub(from)
		}
	}
	return max(d, 0)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
