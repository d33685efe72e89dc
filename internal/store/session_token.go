package store

import (
	"context"
	"time"
)

// SessionGrace is how long the previous token is still accepted after its successor was
// first used, and how long an offered successor stays on offer.
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
	Nonce  int64     // the successor is derived from it: the caller's own nonce, or that of an earlier call
	Issued time.Time // when the successor was handed out, which is now
}

// SessionRotate offers a successor of the current token, or tells the nonce of the one
// that is on offer, so that all callers at once hand out the same. The successor becomes
// current when it is presented, see [Store.SessionConfirm]. SessionPrevious,
// SessionNotDue: there is nothing to hand out. SessionReplay: TokenHash is no token of
// the session.
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

// A SessionConfirm presents a token that is not the current one, as far as the caller
// knows.
type SessionConfirm struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented
	// RefuseOnly keeps a session whose old token was replayed; otherwise it is revoked.
	RefuseOnly bool
	// Ignore keeps it too, and publishes nothing: nobody knows who presented the token.
	Ignore bool
}

// SessionConfirmReply is the reply of [Store.SessionConfirm].
type SessionConfirmReply struct {
	SessionReply
	Authenticated time.Time // see [SessionMeta]
	Level         int       // the authentication level
}

// SessionConfirm decides what a token is. SessionOK: the current one, perhaps because it
// was on offer and is used for the first time now; SessionPrevious: replaced within the
// grace time; SessionReplay: older, or forged by somebody who knows the series, so the
// session is revoked.
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

// replay is what the script does about one.
func (confirm *SessionConfirm) replay() string {
	switch {
	case confirm.Ignore:
		return "ignore"
	case confirm.RefuseOnly:
		return "refuse"
	}
	return "revoke"
}

// A SessionElevate raises the authentication level, or renews the authentication,
// together with the token.
type SessionElevate struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented, which must be the current one
	NextHash    string      // of a fresh random token
	Level       int         // of authentication, 0 for a guest
}

// SessionElevateReply is the reply of [Store.SessionElevate].
type SessionElevateReply struct {
	SessionReply
	Authenticated time.Time // the time of authentication that the new token brings
}

// SessionElevate offers a fresh token; once presented it is current and brings the level.
// SessionPrevious and SessionReplay changed nothing: only the holder of the current token
// elevates.
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
