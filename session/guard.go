package session

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/request"
)

// Refusal returns the answer to an error of this package, and whether err is one. r is
// the request that the handler got. The answer is a value and not an error, because a nil
// *gatekit.Refusal in an error would not equal nil.
func (m *Manager) Refusal(r *http.Request, err error) (f gatekit.Refusal, ok bool) {
	if err == nil {
		return gatekit.Refusal{}, false
	}
	if known := new(gatekit.Refusal); errors.As(err, &known) {
		return *known, true
	}
	s, found := m.find(r.Context())
	code := status(err, found && s.wasLogin())
	if code == http.StatusInternalServerError && !errors.Is(err, ErrTooLate) && !errors.Is(err, ErrNoMiddleware) {
		return gatekit.Refusal{}, false
	}
	return *m.answer(r, code, err), true
}

// answer returns the refusal with a status.
func (m *Manager) answer(r *http.Request, status int, err error) *gatekit.Refusal {
	f := &gatekit.Refusal{Status: status, Err: err}
	switch status {
	case http.StatusUnauthorized:
		f.Challenge, f.Detail = m.challenge(r), "Log in first."
	case http.StatusForbidden:
		f.Detail = "Prove once more who you are."
	case http.StatusMethodNotAllowed:
		f.Allow = http.MethodPost
	case http.StatusServiceUnavailable:
		f.RetryAfter, f.Detail = time.Second, "The session cannot be read or saved at the moment. Try again later."
	}
	return f
}

// challenge returns the WWW-Authenticate field, which a 401 must have (RFC 9110, 11.6.1).
// If a browser knows the scheme, it asks the user for a password, and sends that with
// every request from then on. So sites with a login page get a scheme that no browser
// knows.
func (m *Manager) challenge(r *http.Request) string {
	switch {
	case !m.cfg.Bearer:
		return "Session"
	case strings.HasPrefix(strings.ToLower(r.Header.Get("Authorization")), "bearer "):
		return `Bearer error="invalid_token"` // RFC 6750, 3.1
	}
	return "Bearer"
}

// ErrorHandler returns [Options.ErrorHandler]. If it is nil, adapters call their
// framework's own error handler, where it has one.
func (m *Manager) ErrorHandler() func(http.ResponseWriter, *http.Request, *gatekit.Refusal) {
	return m.cfg.ErrorHandler
}

// Refuse answers a request whose session could not be read or saved, or that a guard
// stopped. It sends a redirect as it is. For all else it calls [Options.ErrorHandler] or,
// where there is none, [gatekit.Refusal.Answer]. It removes the header fields that the
// handler set for a body of its own.
func (m *Manager) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := m.refusal(r, err)
	if f.Location != "" || m.cfg.ErrorHandler == nil {
		f.Answer(w, r)
		return
	}
	request.Retract(w.Header())
	f.Header(w.Header())
	m.cfg.ErrorHandler(w, r, f)
}

// refusal returns what Refusal does, and 500 for the errors that Refusal does not know.
func (m *Manager) refusal(r *http.Request, err error) *gatekit.Refusal {
	if f, ok := m.Refusal(r, err); ok {
		return &f
	}
	return &gatekit.Refusal{Status: http.StatusInternalServerError, Err: err}
}

func (s *Session) wasLogin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wasUser || s.meta.user != ""
}

// RequireLogin returns nil if a user is logged in. Only this manager's session counts,
// whichever others the request has. Otherwise the error is a [*gatekit.Refusal]. A
// browser that loads a page or sends a form is redirected to the page there. Other
// clients get 401, and so does everybody if there is "". A client that does not look like
// a browser (no Sec-Fetch-Mode, and no text/html in Accept) is another client. The page
// there learns by [Next] which page the browser wanted; nothing is stored. If Redis does
// not answer, the refusal is a 503. If the manager's middleware is not around the guard,
// nobody passes: 500, see [Manager.From].
func (m *Manager) RequireLogin(r *http.Request, there string) error {
	s, err := m.From(r.Context())
	switch {
	case err != nil:
		return m.refusal(r, err)
	case s.UserID() == "":
		return m.away(r, there, http.StatusUnauthorized, ErrNotLoggedIn)
	}
	return nil
}

// RequireFresh returns nil if the user proved who they are at most maxAge ago. Other
// users who are logged in are redirected to the page there, which asks again and calls
// [Session.Elevate], or they get 403. Visitors who are not logged in get 401. The error
// is a [*gatekit.Refusal], as for [Manager.RequireLogin].
func (m *Manager) RequireFresh(r *http.Request, maxAge time.Duration, there string) error {
	if err := m.RequireLogin(r, ""); err != nil {
		return err
	}
	if s, _ := m.From(r.Context()); !s.Fresh(maxAge) {
		return m.away(r, there, http.StatusForbidden, ErrNotProven)
	}
	return nil
}

// RequireLevel returns nil if the user has at least the level; see [Session.Level]. It
// refuses others as [Manager.RequireFresh] does.
func (m *Manager) RequireLevel(r *http.Request, level int, there string) error {
	if err := m.RequireLogin(r, ""); err != nil {
		return err
	}
	if s, _ := m.From(r.Context()); s.Level() < level {
		return m.away(r, there, http.StatusForbidden, ErrNotProven)
	}
	return nil
}

// Logout ends this manager's session of a POST request, and returns nil when it has
// ended. It does so too if the session could not be read before. Other methods are
// refused with 405, because any site can make a browser send a GET. The error is a
// [*gatekit.Refusal].
func (m *Manager) Logout(r *http.Request) error {
	if r.Method != http.MethodPost {
		return m.answer(r, http.StatusMethodNotAllowed, errMethod)
	}
	s, _ := m.From(r.Context()) // Logout reads a session again that From could not read
	if err := s.Logout(r.Context()); err != nil {
		return m.refusal(r, err)
	}
	return nil
}

// LogoutEverywhere ends all of this manager's sessions of the user who sent a POST
// request, and returns nil when they have ended; see [Session.LogoutEverywhere]. A
// visitor who is not logged in is refused with 401, other methods with 405. The error is
// a [*gatekit.Refusal].
func (m *Manager) LogoutEverywhere(r *http.Request) error {
	if r.Method != http.MethodPost {
		return m.answer(r, http.StatusMethodNotAllowed, errMethod)
	}
	s, err := m.From(r.Context())
	if err == nil {
		_, err = s.LogoutEverywhere(r.Context())
	}
	if err != nil {
		return m.refusal(r, err)
	}
	return nil
}

// CrossOrigin returns a guard against requests that another site makes a browser send.
// The guard refuses them with 403 if they could change something; see
// [http.CrossOriginProtection]. A nil p means one without exceptions. The guard's error
// is a [*gatekit.Refusal].
//
// The handshake of a WebSocket is a GET, which p alone would let pass. The guard checks
// it like a POST: a page on another host of the same site sends SameSite=Lax cookies with
// the handshake, and could read and write in the user's name.
func CrossOrigin(p *http.CrossOriginProtection) func(*http.Request) error {
	if p == nil {
		p = http.NewCrossOriginProtection()
	}
	return func(r *http.Request) error {
		if isHandshake(r) {
			asked := *r
			asked.Method, r = http.MethodPost, &asked
		}
		if err := p.Check(r); err != nil {
			return &gatekit.Refusal{Status: http.StatusForbidden, Err: errtext.Errorf("session", "%w", err),
				Detail: "Another site made the browser send the request."}
		}
		return nil
	}
}

// isHandshake reports whether the request asks for a connection of another protocol. A
// WebSocket's handshake does so in HTTP/1.1 by Upgrade, and in HTTP/2 by an extended
// CONNECT.
func isHandshake(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect
}

// away returns a redirect to the page there for browsers, and the status for other
// clients.
func (m *Manager) away(r *http.Request, there string, status int, err error) error {
	if there != "" && request.IsPage(r) {
		return &gatekit.Refusal{Status: http.StatusSeeOther, Location: withNext(r, there), Err: err}
	}
	return m.answer(r, status, err)
}
