package store

import (
	"context"
	"time"
)

// PipelineAbove sets how many calls go out each by itself; 0 sends all in pipelines.
func (s *Store) PipelineAbove(n int64) { s.shared.above = n }

// PipelineRests reports whether all calls go by themselves for a while.
func (s *Store) PipelineRests() bool { return s.shared.resting() }

// Lanes returns how many servers have a pipeline under way.
func (s *Store) Lanes() int {
	s.shared.lanes.mu.Lock()
	defer s.shared.lanes.mu.Unlock()
	return len(s.shared.lanes.servers)
}

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

// SessionCreate has the fields of all three ways to make a session, for tests that use
// all of them. Without a user it makes a guest's session, with Old it carries one over,
// otherwise it is a login.
type SessionCreate struct {
	Keys                 SessionKeys
	PublicID, TokenHash  string
	Idle, Life           time.Duration
	Values               []Field
	GlobalEpoch          int64
	Old                  string
	OldLife              time.Duration
	Authenticated        time.Time
	KnownEpoch           int64
	Level                int
	Cap                  int
	CapPolicy            CapPolicy
	Replace              string
	From                 SessionKeys
	UserAgent, Label, IP string
}

// SessionCreate makes the session by the script that fits create.
func (s *Store) SessionCreate(ctx context.Context, create SessionCreate) (SessionNewReply, error) {
	made := SessionNew{
		Keys: create.Keys, PublicID: create.PublicID, TokenHash: create.TokenHash,
		Idle: create.Idle, Life: create.Life, Values: create.Values, GlobalEpoch: create.GlobalEpoch,
	}
	owner := SessionOwner{
		Authenticated: create.Authenticated, Level: create.Level, Cap: create.Cap, CapPolicy: create.CapPolicy,
		UserAgent: create.UserAgent, Label: create.Label, IP: create.IP,
	}
	switch {
	case create.Old != "":
		return s.SessionCarry(ctx, SessionCarry{SessionNew: made, SessionOwner: owner, Old: create.Old, OldLife: create.OldLife})
	case create.Keys.User == "":
		reply, err := s.SessionGuest(ctx, made)
		return SessionNewReply{SessionReply: reply}, err
	}
	return s.SessionLogin(ctx, SessionLogin{
		SessionNew: made, SessionOwner: owner, KnownEpoch: create.KnownEpoch, Replace: create.Replace, From: create.From,
	})
}

// MostMembers is how many calls a batch may have.
const MostMembers = mostMembers

// Queued is how many calls wait behind those under way for a key.
func (s *Store) Queued(set *LimitSet, tag Tag) int {
	key := flightKey{set, tag}
	t := s.merger.stripe(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.flights[key]; f != nil {
		return len(f.waiting)
	}
	return 0
}

// Flights is how many keys have a call under way.
func (s *Store) Flights() (n int) {
	for i := range s.merger.stripes {
		t := &s.merger.stripes[i]
		t.mu.Lock()
		n += len(t.flights)
		t.mu.Unlock()
	}
	return n
}
