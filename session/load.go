package session

import (
	"context"
	"fmt"

	"github.com/gatekit/gatekit/internal/store"
)

// errUnread is for a session that From returned with an error, and that nobody has read
// since.
var errUnread = fmt.Errorf("session: it was not read, because From returned an error: %w", ErrUnavailable)

// unknown returns why nothing is known about the session, or nil. From returned an error
// then.
func (s *Session) unknown() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unknownLocked()
}

func (s *Session) unknownLocked() error {
	if s.state == unread {
		return errUnread
	}
	return s.err
}

// wanted is unknown for a change. It remembers that the change was asked for: a handler
// that ignores the error must not go on to tell the visitor that all is well.
func (s *Session) wanted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.unknownLocked()
	if err != nil && s.refused == nil {
		s.refused = err
	}
	return err
}

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

// takeLocked takes a newer snapshot. The pending changes stay.
func (s *Session) takeLocked(got view) {
	if got.token.IsZero() {
		got.token = s.token
	}
	got.bearer, got.minted, got.changes = s.bearer, s.minted, s.changes
	got.touch = got.touch || s.touch
	got.changes.sized = false
	s.view = got
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
