package session

import (
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// state is what a request knows about its session.
type state uint8

const (
	unread     state = iota // the request has a token, or another kit's cookie; Redis was not asked yet
	none                    // no token, or one that is malformed
	loaded                  // the record is here
	missing                 // Redis has no such session
	superseded              // it was ended or replaced a moment ago: empty, and read-only
	failed                  // Redis did not answer: nothing is known about the session
)

// view holds the session that a request is in, and what the request knows of it and
// changed in it. A login, a logout and a new snapshot replace the whole view. The zero
// view is that of a session that was not read yet.
type view struct {
	state   state
	err     error // why nothing is known, if state is failed
	token   token.Token
	bearer  bool        // the token travels in the Authorization header
	minted  token.Token // the token that this visitor gets if a value is set, see mintedLocked
	meta    meta
	record  store.SessionRecord // the snapshot, if state is loaded
	changes changes             // the values that differ from the snapshot
	touch   bool                // a note of use is due when the response is out
	unclear []store.SessionKeys // the sessions of rivals, if more than one of them lives
}

// meta holds the facts about a session other than its values. All times are by Redis's
// clock.
type meta struct {
	store.SessionMeta
	keys     store.SessionKeys
	user     string        // id of the user, "" for a guest
	stamp    int64         // global epoch at the creation
	rotate   time.Duration // 0 is never
	persist  bool          // the cookie outlives the browser
	issued   time.Time     // when the current token became current
	made     bool          // this request made it: it is not known yet whether the visitor keeps the cookie
	previous bool          // the request came with the token that was just replaced
}

// errUnread is the error for a session that From returned with an error and that was not
// read since.
var errUnread = errtext.Errorf("session", "it was not read, because From returned an error: %w", ErrUnavailable)

// unknown returns why nothing is known about the session: From returned an error.
// Otherwise it returns nil.
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

// wanted does the same for a change, and notes the error. If the handler ignores it, the
// response must still be an error.
func (s *Session) wanted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.unknownLocked()
	if err != nil && s.refused == nil {
		s.refused = err
	}
	return err
}

// takeLocked replaces the view by a newer snapshot. The pending changes stay.
func (s *Session) takeLocked(got view) {
	if got.token.IsZero() {
		got.token = s.token
	}
	got.bearer, got.minted, got.changes = s.bearer, s.minted, s.changes
	got.touch = got.touch || s.touch
	got.changes.sized = false
	s.view = got
}

// endedLocked returns the error for the status of a script that refused, or nil for OK.
func (s *Session) endedLocked(status store.SessionStatus) error {
	switch status {
	case store.SessionOK:
		return nil
	case store.SessionGone, store.SessionReplay, store.SessionSuperseded:
		// The session is over for this request. A later change must not make a guest's
		// session that gets its values.
		s.wasUser = s.meta.user != ""
		s.view = view{state: superseded, token: s.token, bearer: s.bearer, unclear: s.unclear}
		return ErrGone
	case store.SessionBadType:
		return errtext.Errorf("session", "counter: %w", errCounter)
	}
	return errtext.Errorf("session", "script answered %d: %w", status, ErrConflict)
}

// handOutLocked sends the successor with the response. This request continues under its
// own token.
func (s *Session) handOutLocked(successor token.Token) {
	s.out = outgoing{token: successor}
	if s.meta.persist {
		s.out.life = s.meta.Absolute.Sub(s.m.now())
	}
}
