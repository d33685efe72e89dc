package session

import (
	"context"
	"slices"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// Logout ends the session at once and removes the cookie. Requests under way can't bring
// it back. If the session could not be read, Logout reads it again. After
// [ErrUnavailable] it is not known whether the session has ended, so the cookie stays.
// Unless the handler answers otherwise, the visitor then gets a 503: "try again", not
// "goodbye".
//
// A value that is set after a logout makes a new guest.
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
		// It is not known whether the token may end the session. Its series alone may
		// not, because old copies of the token have the series too.
		s.refused = err
		s.mu.Unlock()
		return err
	case len(s.unclear) > 0:
		ends = s.unclear
	case st != loaded: // nothing to end; the cookie of a dead session is not removed
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

// LogoutEverywhere ends all sessions of the user and removes the cookie: it is
// [Manager.RevokeUser] and [Session.Logout] in one. It also ends this session, and those
// whose login is under way. It returns how many sessions it found. A login later in the
// same request is not refused.
//
// Errors: [ErrNotLoggedIn] for a guest, who has no user id; [ErrGone]; [ErrTooLate]; and
// [ErrUnavailable]. After ErrUnavailable either this session has ended, or the visitor
// gets a 503 and may try again.
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
		s.refused = err // the response must not say that they ended: it is not known
	}
	return n, err
}

// nobodyLocked returns the error for a call that only a user can make, when nobody is
// logged in.
func (s *Session) nobodyLocked() error {
	switch s.state {
	case superseded:
		return ErrGone // a request with the newest cookie can make the call
	case missing:
		return errtext.Errorf("session", "%w: %w", ErrGone, ErrNotLoggedIn)
	}
	return ErrNotLoggedIn
}

// askAgain reads the session if From could not read it. The caller holds ops.
func (s *Session) askAgain(ctx context.Context) {
	s.mu.Lock()
	again := s.m != nil && (s.state == failed || s.state == unread) && s.phase == before
	s.mu.Unlock()
	if !again {
		return
	}
	_ = s.read(ctx) // the view has the error
}

// endLocked leaves the request without a session, and removes the cookie.
func (s *Session) endLocked() {
	if came := s.cameLocked(); s.after.login && came.PublicID != "" && !slices.Contains(s.after.drop, came.keys) {
		s.after.drop = append(s.after.drop, came.keys) // the login that replaces it has ended
	}
	s.out = outgoing{clear: !s.bearer}
	s.view, s.refused = view{state: none}, nil
	s.after.login, s.after.old = false, nil
}

// RevokeOthers ends all other sessions of the user, also those whose login is under way,
// and returns how many it found. They are all over from its first command on. If the call
// fails half-way, it has not deleted some of them; their next use ends those. Errors:
// [ErrGone] when this session itself has ended, [ErrNotLoggedIn], [ErrUnavailable].
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
