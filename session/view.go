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
	unread     state = iota // there is a token, or another kit's cookie; Redis was not asked yet
	none                    // no token, or one that is malformed
	loaded                  // the record is here
	missing                 // Redis has no such session
	superseded              // it was ended or replaced a moment ago: empty, and read-only
	failed                  // Redis did not answer: nothing is known
)

// view is which session a request is in, and what the request knows and changed of it. A
// login, a logout and a new snapshot replace it as a whole. The zero view is of a session
// that was not read yet.
type view struct {
	state   state
	err     error // why nothing is known, if state is failed
	token   token.Token
	bearer  bool        // the token travels in the Authorization header
	minted  token.Token // that this visitor will have if a value is set, see mintedLocked
	meta    meta
	record  store.SessionRecord // the snapshot, if state is loaded
	changes changes             // what differs from the snapshot
	touch   bool                // the use is to be noted when the response is out
	unclear []store.SessionKeys // the sessions of rivals, if more than one of them lives
}

// meta is what the kit knows about a session beside its values. All times are by Redis's
// clock.
type meta struct {
	store.SessionMeta
	keys     store.SessionKeys
	user     string        // id of the user, "" for a guest
	stamp    int64         // global epoch at the creation
	rotate   time.Duration // 0 is never
	persist  bool          // the cookie outlives the browser
	issued   time.Time     // when the current token became current
	made     bool          // by this request: it is not known yet whether the visitor keeps the cookie
	previous bool          // the request came with the token that was just replaced
}

// errUnread is for a session that From returned with an error, and that nobody has read
// since.
var errUnread = errtext.Errorf("session", "it was not read, because From returned an error: %w", ErrUnavailable)

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

// endedLocked returns the error for the answer of a script that refused, nil for one that
// did its work.
func (s *Session) endedLocked(status store.SessionStatus) error {
	switch status {
	case store.SessionOK:
		return nil
	case store.SessionGone, store.SessionReplay, store.SessionSuperseded:
		// The session is over for this request: its values must not end up in a guest's
		// session that a later change would make.
		s.wasUser = s.meta.user != ""
		s.view = view{state: superseded, token: s.token, bearer: s.bearer, unclear: s.unclear}
		return ErrGone
	case store.SessionBadType:
		return errtext.Errorf("session", "counter: %w", errCounter)
	}
	return errtext.Errorf("session", "script answered %d: %w", status, ErrConflict)
}

// handOutLocked sends the successor with the response. Until it is used this request goes
// on under its own token.
func (s *Session) handOutLocked(successor token.Token) {
	s.out = outgoing{token: successor}
	if s.meta.persist {
		s.out.life = s.meta.Absolute.Sub(s.m.now())
	}
}
