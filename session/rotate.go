package session

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// Elevate notes that the user proved again, or more strongly, who they are. It sets the
// level, and the time for [Session.Fresh]. The session gets a new random token, which
// only this response carries. Later requests have the level once that token is used, so a
// copy of the old token gains nothing. Errors: [ErrConflict] if the request came with a
// token that was just replaced, [ErrNotLoggedIn], [ErrGone], [ErrTooLate],
// [ErrUnavailable].
func (s *Session) Elevate(ctx context.Context, level int) error {
	if level < 1 {
		return fmt.Errorf("session: elevate: level %d: want 1 or more", level)
	}
	return s.replace(ctx, func(ctx context.Context, mt meta, t token.Token, epoch int64) (token.Token, error) {
		next := t.Fresh()
		reply, err := s.m.store.SessionElevate(ctx, store.SessionElevate{
			Keys: mt.keys, GlobalEpoch: epoch, TokenHash: t.Hash().String(), NextHash: next.Hash().String(), Level: level,
		})
		if err != nil {
			return token.Token{}, s.m.unavailable("elevate", err)
		}
		s.m.written(reply.SessionReply)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.replacedLocked(reply.Status); err != nil {
			return token.Token{}, err
		}
		s.meta.Authenticated, s.meta.Level = reply.Authenticated, level
		return next, nil
	})
}

// Rotate replaces the token now, ahead of [Lifetime.Rotate]. The old token stays good
// until the new one is used, and 10 s longer for requests under way. Parallel requests
// get the same new token. Errors as for [Session.Elevate].
func (s *Session) Rotate(ctx context.Context) error {
	return s.replace(ctx, s.offer)
}

// replace changes the token of a stored session and sends the new one with the response.
func (s *Session) replace(ctx context.Context, next func(context.Context, meta, token.Token, int64) (token.Token, error)) error {
	if err := s.wanted(); err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.mu.Lock()
	mt, t := s.meta, s.token
	err := s.replaceableLocked()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	epoch, err := s.m.epoch.get(ctx)
	if err != nil {
		return s.m.unavailable("replace the token", err)
	}
	successor, err := next(ctx, mt, t, epoch)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handOutLocked(successor)
	return nil
}

func (s *Session) replaceableLocked() error {
	switch {
	case s.phase != before:
		return ErrTooLate
	case s.meta.user == "":
		return s.nobodyLocked()
	case s.meta.previous:
		return ErrConflict
	case !s.out.token.IsZero() && s.out.token == s.token && !s.out.again:
		return errtext.Errorf("session", "the token is new in this request: %w", ErrConflict)
	}
	return nil
}

// replacedLocked returns the error for a rotation that did not happen, else nil.
func (s *Session) replacedLocked(status store.SessionStatus) error {
	switch status {
	case store.SessionPrevious:
		s.meta.previous = true
		return ErrConflict
	case store.SessionNotDue:
		return ErrConflict
	}
	return s.endedLocked(status)
}

// offer asks Redis for the successor of a token. It is derived from our nonce, or from
// that of an earlier call.
func (s *Session) offer(ctx context.Context, mt meta, t token.Token, epoch int64) (token.Token, error) {
	// The nonce is no secret: the successor is derived from it and from the old token's
	// secret.
	nonce := 1 + rand.Int64N(1<<52-1)
	next := t.Successor(nonce)
	reply, err := s.m.store.SessionRotate(ctx, store.SessionRotate{
		Keys: mt.keys, GlobalEpoch: epoch, TokenHash: t.Hash().String(), Nonce: nonce, NextHash: next.Hash().String(),
	})
	if err != nil {
		return token.Token{}, s.m.unavailable("rotate", err)
	}
	s.m.written(reply.SessionReply)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.replacedLocked(reply.Status); err != nil {
		return token.Token{}, err
	}
	if reply.Nonce != nonce {
		next = t.Successor(reply.Nonce)
	}
	return next, nil
}

// rotateIfDue sends a successor with the response if rotation is due. The handler did not
// ask for it, so a failure does not fail the response: the next request tries again. The
// caller holds ops.
func (s *Session) rotateIfDue(ctx context.Context) {
	s.mu.Lock()
	mt, t := s.meta, s.token
	due := s.state == loaded && mt.rotate > 0 && !mt.previous && !s.bearer && s.out.token.IsZero() && !s.out.clear &&
		s.m.now().Sub(mt.issued) >= mt.rotate
	s.mu.Unlock()
	if !due {
		return
	}
	epoch, err := s.m.epoch.get(ctx)
	if err != nil {
		return
	}
	next, err := s.offer(ctx, mt, t, epoch)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handOutLocked(next)
}
