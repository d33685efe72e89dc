package store

import (
	"context"
	"errors"
)

// A SessionCommit is the change of a session's values at the end of a request.
type SessionCommit struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	Nonce       string      // random, at most 64 bytes: shows after a lost reply whether the commit was made
	Set         []Field     // values to write
	Delete      []string    // names to remove
	Add         []Delta     // numbers to add, after Set and Delete
}

// SessionCommit changes only the fields named, all or none: SessionOK, SessionGone,
// SessionSuperseded, SessionBadType. If the reply is lost, it looks for its nonce in the
// record. If the nonce is not there, the error is [ErrUnknownOutcome]. Then do not repeat
// the commit: that could undo a later commit, or add a number twice.
func (s *Store) SessionCommit(ctx context.Context, commit SessionCommit) (SessionReply, error) {
	if err := checkFields(commit.Set); err != nil {
		return SessionReply{}, err
	}
	c := s.beginSession(ctx, sessionCommit, commit.Keys)
	c.words = append(c.words, sessionInstant(commit.Keys), commit.GlobalEpoch, &commit.Nonce, len(commit.Set), len(commit.Delete))
	c.fields(commit.Set)
	for i := range commit.Delete {
		if err := checkName(commit.Delete[i]); err != nil {
			return SessionReply{}, err
		}
		c.words = append(c.words, &commit.Delete[i])
	}
	for i := range commit.Add {
		if err := checkName(commit.Add[i].Name); err != nil {
			return SessionReply{}, err
		}
		if n := commit.Add[i].Add; n < -1<<53 || n > 1<<53 {
			return SessionReply{Status: SessionBadType}, nil
		}
		c.words = append(c.words, &commit.Add[i].Name, commit.Add[i].Add)
	}
	r, err := s.do(c, 2)
	if errors.Is(err, ErrUnknownOutcome) {
		if nonce, nerr := s.SessionNonce(ctx, commit.Keys); nerr == nil && nonce == commit.Nonce {
			return SessionReply{Status: SessionOK}, nil
		}
	}
	if err != nil {
		return SessionReply{}, err
	}
	return sessionReply(r), nil
}

// SessionNonce returns the nonce of the last commit, "" if there was none.
func (s *Store) SessionNonce(ctx context.Context, keys SessionKeys) (string, error) {
	return s.get(ctx, "session_nonce", "hget", s.recordKey(keys), "!n")
}

// SessionValue is the reply of the scripts that work on one value.
type SessionValue struct {
	SessionReply
	Found bool   // whether the session had the value
	Value string // the value that the script found
}

// SessionPop takes a value out of the session, at most once. If the reply is lost, the
// value may be lost too.
func (s *Store) SessionPop(ctx context.Context, keys SessionKeys, globalEpoch int64, name string) (SessionValue, error) {
	return s.sessionValue(ctx, sessionPop, keys, globalEpoch, name)
}

// SessionSetNX sets a value if the session does not have it. If the session has it, Found
// is true and Value is the present value.
func (s *Store) SessionSetNX(ctx context.Context, keys SessionKeys, globalEpoch int64, name, value string) (SessionValue, error) {
	return s.sessionValue(ctx, sessionSetNX, keys, globalEpoch, name, value)
}

// A SessionSwap changes one value if it is still the one that the caller read.
type SessionSwap struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	Name        string      // of the value
	Present     bool        // whether there was a value when the caller read it
	Old, New    string      // the value that the caller read, and the one to replace it
}

// SessionCompareAndSet sets New if the value is still Old. Otherwise the status is
// SessionConflict and Value is the present value.
func (s *Store) SessionCompareAndSet(ctx context.Context, swap SessionSwap) (SessionValue, error) {
	return s.sessionValue(ctx, sessionSwap, swap.Keys, swap.GlobalEpoch, swap.Name, btoi(swap.Present), swap.Old, swap.New)
}

func (s *Store) sessionValue(ctx context.Context, script *script, keys SessionKeys, globalEpoch int64, name string, args ...any) (SessionValue, error) {
	if err := checkName(name); err != nil {
		return SessionValue{}, err
	}
	c := s.beginSession(ctx, script, keys)
	c.words = append(c.words, sessionInstant(keys), globalEpoch, name)
	c.words = append(c.words, args...)
	r, err := s.doText(c, 4)
	if err != nil {
		return SessionValue{}, err
	}
	n, err := c.integers(r[:3])
	if err != nil {
		return SessionValue{}, err
	}
	return SessionValue{sessionReply(n), n[2] == 1, r[3]}, nil
}
