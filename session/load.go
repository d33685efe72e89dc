package session

import (
	"context"

	"github.com/gatekit/gatekit/internal/store"
)

// load reads the session when it is asked for the first time. Only From does so, and a
// long upload: the methods of a Session find it read.
func (s *Session) load(ctx context.Context) error {
	if done, err := s.isRead(); done {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	if done, err := s.isRead(); done {
		return err
	}
	return s.read(ctx)
}

// read asks Redis which session the request brought, and takes it. The caller holds ops.
func (s *Session) read(ctx context.Context) error {
	got := s.ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	carried := len(s.rivals) == 0 && s.token.IsZero()
	s.takeLocked(got)
	if carried && s.state == loaded && !s.meta.previous {
		s.handOutLocked(s.token)
		s.out.again = true
	}
	return s.err
}

func (s *Session) ask(ctx context.Context) view {
	switch {
	case len(s.rivals) > 0:
		return s.m.choose(ctx, s.rivals)
	case s.token.IsZero():
		return s.m.legacy.find(ctx, s.r, s.began)
	}
	return s.m.fetch(ctx, s.token, replayOf(s.m.cfg.KeepReplayed))
}

func (s *Session) isRead() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accessed = true
	if s.state == unread && s.phase == finished && s.token.IsZero() {
		return true, ErrTooLate // carrying another kit's session over is no mere reading
	}
	return s.state != unread, s.err
}

// Reload takes a new snapshot. Pending changes stay, and so do those of others that they
// don't touch. The error is [ErrGone] when the session has ended meanwhile, or
// [ErrUnavailable], after which the old snapshot stands. A stream calls it from time to
// time, to end with the session; it counts as use, see [Session.Touch].
func (s *Session) Reload(ctx context.Context) error {
	if err := s.unknown(); err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.mu.Lock()
	t, st, made := s.token, s.state, s.meta.made
	s.mu.Unlock()
	if st != loaded {
		if st == none {
			return nil
		}
		return ErrGone
	}
	got, current := s.m.read(ctx, t)
	if got.state == loaded {
		// The token was judged when the request began. That others of this browser have
		// rotated it since is no theft.
		got.meta.previous, got.meta.made = !current, made
		got = s.m.checkDeadlines(ctx, got)
	}
	if got.state == failed {
		return got.err
	}
	if err := s.renew(got); err != nil {
		return err
	}
	_ = s.noteUse(ctx) // the snapshot is here
	return nil
}

// renew takes a newer snapshot.
func (s *Session) renew(got view) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.forget()
	if got.state != loaded {
		return s.endedLocked(store.SessionGone)
	}
	s.takeLocked(got)
	return nil
}
