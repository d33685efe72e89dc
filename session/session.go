package session

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// A Session is one request's view of a session: a snapshot that was taken when [From] was
// first called, with the request's own changes on top. Set, Delete, Clear, Flash and
// [Counter.Add] collect changes. One script writes them ahead of the first byte of the
// response. It writes only the values that were changed, so parallel requests keep each
// other's changes. Login, Elevate, Rotate, Logout, Pop, SetNX and Update act at once.
//
// Each request has a Session, also that of a visitor without a cookie. It gets a record
// in Redis and a cookie when a value is set.
//
// Several goroutines of a request may use its Session at once. After the handler has
// returned, every change returns [ErrTooLate].
type Session struct {
	m     *Manager
	r     *http.Request
	ctx   requestContext
	began time.Time           // when the request began, monotonic
	under http.ResponseWriter // that of Serve; nil without it

	// ops lets one call of this request to Redis run at a time, because two logins of one
	// request must not interleave. Methods that only read take mu and do not wait for
	// Redis. No lock is held while a function of the program runs that may use the
	// session: the f of an Update, or a codec.
	ops turn

	mu       sync.Mutex    // guards the fields below
	view                   // which session this request is in
	accessed bool          // the handler asked for the session, so the response varies by cookie
	rivals   []token.Token // in place of one token, when the request brought several: see choose
	updating []string      // the values of which an Update is under way
	out      outgoing      // the Set-Cookie that is due
	phase    phase
	manual   bool  // Save was called: changes are accepted while the response runs
	refused  error // the error of a failed change, which the response must not hide
	lost     error // why a change was not made: goes to the log when the handler has returned
	wasUser  bool  // the session ended during the request, and was a login
	result   error // of the commit
	told     bool  // the client got the answer to result
	after    after
	known    map[string]int64 // epochs that this request itself set, by user
}

// phase is how far the response is.
type phase uint8

const (
	before     phase = iota // nothing was sent
	committing              // changes are being written, ahead of the first byte
	started                 // the first byte is out
	finished                // the handler has returned
)

// outgoing is the cookie of the response.
type outgoing struct {
	token token.Token
	life  time.Duration // 0: ends with the browser
	clear bool
	again bool // this Set-Cookie may be lost: the next request gets the same token
}

// after is the work that is left when the response is out.
type after struct {
	login bool                // a login happened in this request
	drop  []store.SessionKeys // the sessions that it replaced
	made  []store.SessionKeys // those that this request made, and replaced by another login
	send  func()              // sends the response, before those sessions end; nil if no writer holds it
	old   *view               // the view to return to when the login is undone
}

type contextKey struct{}

// requestContext is the request's context with the session in it. It is a part of the
// session, which saves an allocation.
type requestContext struct {
	context.Context
	s *Session
}

// ownKey is the key of the session that one manager keeps of a request.
type ownKey struct{ m *Manager }

// Value returns the session for the package's own keys.
func (c *requestContext) Value(key any) any {
	switch k := key.(type) {
	case contextKey:
		return c.s
	case ownKey:
		if k.m == c.s.m {
			return c.s
		}
	}
	return c.Context.Value(key)
}

// From returns the request's session. The first call reads it from Redis. The session is
// never nil. The error is [ErrUnavailable] or [ErrNoMiddleware]. The session is then
// empty and refuses changes, and the right answer is 503, not a page for guests.
//
// If the middlewares of several managers are around a handler, From returns the session
// of the innermost. [Manager.From] returns that of the manager it is called on.
func From(ctx context.Context) (*Session, error) {
	s, ok := ctx.Value(contextKey{}).(*Session)
	if !ok {
		return &Session{view: view{state: failed, err: ErrNoMiddleware}}, ErrNoMiddleware
	}
	return s, s.load(ctx)
}

// From returns the session that this manager keeps of the request. It works like the
// package's [From], and the middlewares of other managers, inside or outside, don't
// matter. If this manager's own middleware is not around the handler, the error is
// [ErrNoMiddleware]. It names the prefixes and is logged once: the program is wrong, and
// the right answer is 500.
func (m *Manager) From(ctx context.Context) (*Session, error) {
	if s, ok := m.find(ctx); ok {
		return s, s.load(ctx)
	}
	err := m.notMounted(ctx)
	return &Session{view: view{state: failed, err: err}}, err
}

// find returns the session that this manager keeps of the request, if its middleware is
// around.
func (m *Manager) find(ctx context.Context) (*Session, bool) {
	s, ok := ctx.Value(ownKey{m}).(*Session)
	return s, ok
}

// notMounted returns the error for a handler or guard that has no middleware of the
// manager around it. It logs the error once.
func (m *Manager) notMounted(ctx context.Context) error {
	there := "nor is any other"
	if s, ok := ctx.Value(contextKey{}).(*Session); ok {
		there = fmt.Sprintf("that of the one with Prefix %q is", s.m.store.Prefix())
	}
	err := errtext.Errorf("session", "the middleware of the manager with Prefix %q is not around this handler or guard, %s: "+
		"mount it around them, or pass them the manager that is meant: %w", m.store.Prefix(), there, ErrNoMiddleware)
	if m.misplaced.CompareAndSwap(false, true) {
		m.logger.ErrorContext(ctx, "gatekit: a handler or guard has no session to ask", "error", err)
	}
	return err
}

// ID returns the public id of the session, a UUIDv7 in base64url: for device lists, logs
// and [Manager.Revoke]. It is empty as long as nothing is stored.
func (s *Session) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meta.PublicID
}

// UserID returns the id of the user who is logged in, "" for a guest. If [From] returned
// an error, "" says nothing: a user may be logged in.
func (s *Session) UserID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meta.user
}

// AuthTime returns when the user last proved who they are, by Redis's clock; zero for a
// guest, and if it is not known: see [Carried].
func (s *Session) AuthTime() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta.user == "" {
		return time.Time{}
	}
	return s.meta.Authenticated
}

// Level returns how strongly the user proved who they are: the level that Login or
// Elevate was given, 0 for a guest. If the request came with a token that was just
// replaced, Level returns at most 1, so that a copy of the old token gains no elevation.
func (s *Session) Level() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta.previous {
		return min(s.meta.Level, 1)
	}
	return s.meta.Level
}

// Fresh reports whether the user proved who they are within maxAge. It is false for a
// request that came with a token that was just replaced, and for a session with an
// unknown AuthTime.
func (s *Session) Fresh(maxAge time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.meta.Authenticated
	return !at.IsZero() && !s.meta.previous && s.m.now().Sub(at) <= maxAge
}

// Expires returns when the session ends if it is not used again, by Redis's clock; zero
// while nothing is stored.
func (s *Session) Expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta.PublicID == "" {
		return time.Time{}
	}
	return s.meta.Expires()
}

// BearerToken returns the new token of a bearer session, which the handler sends to the
// client in the body. The request gets one by a Login with [LoginOptions.Bearer], by
// Elevate or by Rotate; otherwise BearerToken returns "". It never returns the token of a
// cookie.
func (s *Session) BearerToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bearer {
		return ""
	}
	return s.out.token.Reveal()
}

// writableLocked returns why a change is refused, or nil.
func (s *Session) writableLocked() error {
	switch {
	case s.state == failed, s.state == unread:
		if s.refused == nil {
			s.refused = s.unknownLocked()
		}
		return s.unknownLocked()
	case s.phase == finished, s.phase != before && !s.manual:
		s.lost = ErrTooLate
		return ErrTooLate
	case s.state == superseded, s.bearer && s.state == missing:
		return ErrGone
	}
	return nil
}

// String shows the public id only.
func (s *Session) String() string { return "session(" + s.ID() + ")" }

// Format shows the public id only, whatever the verb.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue shows the public id only.
func (s *Session) LogValue() slog.Value { return slog.StringValue(s.ID()) }

// MarshalJSON shows the public id only.
func (s *Session) MarshalJSON() ([]byte, error) { return []byte(`"` + s.ID() + `"`), nil }
