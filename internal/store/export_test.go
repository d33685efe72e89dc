package store

import "time"

// PipelineAbove sets how many calls go out each by itself; 0 has all share the
// auto-pipeline.
func (s *Store) PipelineAbove(n int64) { s.shared.above = n }

// PipelineRests reports whether all calls go around the auto-pipeline for a while.
func (s *Store) PipelineRests() bool { return s.shared.resting() }

// WaitForBackground waits for the calls that outlived their callers: a client that is
// closed while its Sentinels are asked leaves a goroutine behind.
func (s *Store) WaitForBackground() {
	for range cap(s.ready.room) {
		s.ready.room <- struct{}{}
	}
	for range cap(s.ready.room) {
		<-s.ready.room
	}
}

// The bounds of calls that go out together.
const (
	Chunk          = chunk
	UnderWayAtOnce = underWayAtOnce
)

// RememberUnserving sets for how long a server that let a call wait in vain is asked once
// by each call.
func (s *Store) RememberUnserving(d time.Duration) { s.unserving.keep = d }

// Waiting is how many batches wait for their turn.
func (s *Store) Waiting() int {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return len(s.turns.waiting)
}
