package session

import (
	"context"
	"slices"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// Logout ends the session, at once, and removes the cookie; requests under way can't
// bring it back. When the session could not be read it is read again. On [ErrUnavailable]
// nobody knows that it has ended, so the cookie stays, and unless the handler answers
// otherwise the visitor gets a 503: "try again", not "goodbye".
//
// A value that is set afterwards makes a new guest.
func (s *Session) Logout(ctx context.Context) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.askAgain(ctx)
	s.mu.Lock()
	st, ends, err := s.state, []store.SessionKeys{s.meta.keys}, s.err
	switch {
	case s.m == nil:
		s.mu.Unlock()
		return err
	case s.phase != before:
		s.mu.Unlock()
		return ErrTooLate
	case st == failed:
		// Nobody knows whether the token is one that may end a session: its series alone,
		// which old copies have, is not.
		s.refused = err
		s.mu.Unlock()
		return err
	case len(s.unclear) > 0:
		ends = s.unclear
	case st != loaded: // nothing to end, and a cookie is not removed for being dead
		s.discardLocked()
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	for _, keys := range ends {
		reply, err := s.m.store.SessionDrop(ctx, keys, true, "logout")
		if err != nil {
			err = s.m.unavailable("log out", err)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refused = err
			return err
		}
		s.m.written(reply)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
	return nil
}

// LogoutEverywhere ends all sessions of the user, this one and those whose login is under
// way included, and removes the cookie: [Manager.RevokeUser] and [Session.Logout] in one.
// It returns how many it found. A login later in the same request is not refused.
//
// Errors: [ErrNotLoggedIn] for a guest, of whom nobody knows whose sessions are meant;
// [ErrGone]; [ErrTooLate]; and [ErrUnavailable]. After that last one this session has
// ended, or the visitor gets a 503 and may try again.
func (s *Session) LogoutEverywhere(ctx context.Context) (int, error) {
	if err := s.wanted(); err != nil {
		return 0, err
	}
	if err := s.take(ctx); err != nil {
		return 0, err
	}
	defer s.give()
	s.mu.Lock()
	user, begun, nobody := s.meta.user, s.phase != before, s.nobodyLocked()
	s.mu.Unlock()
	switch {
	case begun:
		return 0, ErrTooLate
	case user == "":
		return 0, nobody
	}
	n, epoch, err := s.m.revoke(ctx, user, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch > 0 {
		s.knowLocked(user, epoch)
		s.endLocked()
	} else if err != nil {
		s.refused = err // the visitor must not be told that they ended: nobody knows
	}
	return n, err
}

// nobodyLocked returns the error for a call that only a user can make, when nobody is
// logged in.
func (s *Session) nobodyLocked() error {
	switch s.state {
	case superseded:
		return ErrGone // the request that comes with the newest cookie can
	case missing:
		return errtext.Errorf("session", "%w: %w", ErrGone, ErrNotLoggedIn)
	}
	return ErrNotLoggedIn
}

// askAgain reads the session if From could not. The caller holds ops.
func (s *Session) askAgain(ctx context.Context) {
	s.mu.Lock()
	again := s.m != nil && (s.state == failed || s.state == unread) && s.phase == before
	s.mu.Unlock()
	if !again {
		return
	}
	_ = s.read(ctx) // the view has the error
}

// endLocked makes the session that of a visitor who has none, and removes the cookie.
func (s *Session) endLocked() {
	if came := s.cameLocked(); s.after.login && came.PublicID != "" && !slices.Contains(s.after.drop, came.keys) {
		s.after.drop = append(s.after.drop, came.keys) // the login that it gave way to has ended
	}
	s.out = outgoing{clear: !s.bearer}
	s.view, s.refused = view{state: none}, nil
	s.after.login, s.after.old = false, nil
}

// RevokeOthers ends all other sessions of the user, those whose login is under way
// included, and returns how many it found. They are over from the first moment on: those
// that a call did not come to, because it failed half-way, are ended by their next use.
// Errors: [ErrGone] when this session itself has ended, [ErrNotLoggedIn],
// [ErrUnavailable].
func (s *Session) RevokeOthers(ctx context.Context) (int, error) {
	if err := s.wanted(); err != nil {
		return 0, err
	}
	if err := s.take(ctx); err != nil {
		return 0, err
	}
	defer s.give()
	s.mu.Lock()
	mt, nobody := s.meta, s.nobodyLocked()
	s.mu.Unlock()
	if mt.user == "" {
		return 0, nobody
	}
	n, epoch, err := s.m.revoke(ctx, mt.user, &mt.keys)
	if epoch > 0 {
		s.know(mt.user, epoch)
	}
	return n, err
}
