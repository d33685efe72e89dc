package store

import (
	"context"
	"time"
)

// A SessionTouch asks to note that the session was seen now.
type SessionTouch struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	// Every is how long after the last written touch the next one is written. The
	// deadlines are checked in any case.
	Every time.Duration
	// Idle raises the session's idle timeout if that is shorter; then the touch is
	// written in any case. 0 does not change it.
	Idle time.Duration
}

// SessionTouchReply is the reply of [Store.SessionTouch].
type SessionTouchReply struct {
	SessionReply
	Seen     time.Time // when the use of the session was last noted
	Absolute time.Time // when the session ends at the latest
}

// SessionTouch notes that the session was seen. That moves its idle deadline, and never
// the absolute one. It also decides by the server's clock whether the session lives:
// SessionOK, SessionGone or SessionSuperseded.
func (s *Store) SessionTouch(ctx context.Context, touch SessionTouch) (SessionTouchReply, error) {
	c := s.beginSession(ctx, sessionTouch, touch.Keys)
	c.words = append(c.words, sessionInstant(touch.Keys), touch.GlobalEpoch, milliseconds(touch.Every), milliseconds(touch.Idle))
	r, err := s.do(c, 4)
	if err != nil {
		return SessionTouchReply{}, err
	}
	return SessionTouchReply{sessionReply(r), instantOf(r[2]), instantOf(r[3])}, nil
}
