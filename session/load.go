package session

import (
	"context"

	"github.com/gatekit/gatekit/internal/store"
)

// load reads the session from Redis the first time it is called. Only From calls it, and
// a long upload; so the methods of a Session find it read.
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

// read reads the session that the request brought, and makes it this request's. The
// caller holds ops.
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
		return true, ErrTooLate // carrying another kit's session over would write
	}
	return s.state != unread, s.err
}

// Reload takes a new snapshot. Pending changes stay on top of it. The error is [ErrGone]
// if the session has ended meanwhile, or [ErrUnavailable]; the old snapshot then stays. A
// stream calls Reload from time to time, so that it ends when the session does. Reload
// counts as use, see [Session.Touch].
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
		// The token was judged when the request began. If other requests of this browser
		// have rotated it since, that is no theft.
		got.meta.previous, got.meta.made = !current, made
		got = s.m.checkDeadlines(ctx, got)
	}
	if got.state == failed {
		return got.err
	}
	if err := s.renew(got); err != nil {
		return err
	}
	_ = s.noteUse(ctx) // the snapshot is new, even if this fails
	return nil
}

// renew replaces the snapshot by a newer one.
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
