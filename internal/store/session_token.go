package store

import (
	"context"
	"time"
)

// SessionGrace is how long the previous token is still accepted after its successor was
// first used. It is also how long an offered successor stays on offer after it was last
// handed out.
const SessionGrace = 10 * time.Second

// A SessionRotate offers a successor of the current token.
type SessionRotate struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented
	Nonce       int64       // random, 1 .. 2^52: the successor is derived from it and the current token
	NextHash    string      // of that successor
}

// SessionOffer is the reply of [Store.SessionRotate].
type SessionOffer struct {
	SessionReply
	Nonce  int64     // for deriving the successor: the caller's own nonce, or that of an earlier call
	Issued time.Time // when the successor was handed out, which is now
}

// SessionRotate offers a successor of the current token. If one is on offer already, it
// returns the nonce of that one, so that concurrent requests hand out the same successor.
// The successor becomes current when it is presented, see [Store.SessionConfirm].
// SessionPrevious and SessionNotDue mean that there is nothing to hand out. SessionReplay
// means that TokenHash is no token of the session.
func (s *Store) SessionRotate(ctx context.Context, rotate SessionRotate) (SessionOffer, error) {
	c := s.beginSession(ctx, sessionRotate, rotate.Keys)
	c.words = append(c.words, sessionInstant(rotate.Keys), rotate.GlobalEpoch, rotate.TokenHash, milliseconds(SessionGrace),
		rotate.Nonce, rotate.NextHash)
	r, err := s.do(c, 4)
	if err != nil {
		return SessionOffer{}, err
	}
	return SessionOffer{sessionReply(r), r[2], instantOf(r[3])}, nil
}

// A SessionConfirm presents a token that, as far as the caller knows, is not the current
// one.
type SessionConfirm struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented
	// RefuseOnly keeps a session whose old token was replayed; otherwise it is revoked.
	RefuseOnly bool
	// Ignore keeps the session too, and publishes nothing. It is for tokens of which the
	// caller does not know who presented them.
	Ignore bool
}

// SessionConfirmReply is the reply of [Store.SessionConfirm].
type SessionConfirmReply struct {
	SessionReply
	Authenticated time.Time // see [SessionMeta]
	Level         int       // the authentication level
}

// SessionConfirm decides what a token is. SessionOK: it is the current token, or it was
// on offer and becomes the current one by this first use. SessionPrevious: it was
// replaced within the grace time. SessionReplay: it is older, or was forged by somebody
// who knows the series, so the session is revoked unless RefuseOnly or Ignore is set.
func (s *Store) SessionConfirm(ctx context.Context, confirm SessionConfirm) (SessionConfirmReply, error) {
	c := s.beginSession(ctx, sessionConfirm, confirm.Keys)
	c.words = append(c.words, sessionInstant(confirm.Keys), confirm.GlobalEpoch, confirm.TokenHash, milliseconds(SessionGrace),
		confirm.replay(), s.channel())
	r, err := s.do(c, 4)
	if err != nil {
		return SessionConfirmReply{}, err
	}
	return SessionConfirmReply{sessionReply(r), instantOf(r[2]), int(r[3])}, nil
}

// replay returns what the script does about a replay, in its own words.
func (confirm *SessionConfirm) replay() string {
	switch {
	case confirm.Ignore:
		return "ignore"
	case confirm.RefuseOnly:
		return "refuse"
	}
	return "revoke"
}

// A SessionElevate raises the authentication level, or renews the authentication. The
// session gets a new token with it.
type SessionElevate struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented: the current one, or the one on offer
	NextHash    string      // of a fresh random token
	Level       int         // of authentication, 0 for a guest
}

// SessionElevateReply is the reply of [Store.SessionElevate].
type SessionElevateReply struct {
	SessionReply
	Authenticated time.Time // the session's time of authentication, once the new token is presented
}

// SessionElevate offers a fresh token. When that is presented, it becomes the current
// token, and the session gets the level. SessionPrevious and SessionReplay mean that
// nothing changed: only the current token, or the one on offer, can elevate.
func (s *Store) SessionElevate(ctx context.Context, elevate SessionElevate) (SessionElevateReply, error) {
	c := s.beginSession(ctx, sessionElevate, elevate.Keys)
	c.words = append(c.words, sessionInstant(elevate.Keys), elevate.GlobalEpoch, elevate.TokenHash, milliseconds(SessionGrace),
		elevate.NextHash, elevate.Level, s.channel())
	r, err := s.do(c, 3)
	if err != nil {
		return SessionElevateReply{}, err
	}
	return SessionElevateReply{sessionReply(r), instantOf(r[2])}, nil
}
