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

// Refusal returns the answer to an error of this package, and whether err is one. The
// request is the one that the handler got. It is a value, and as such no error: a nil
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

// answer is the refusal with a status.
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

// challenge is the WWW-Authenticate of a 401, which must have one (RFC 9110, 11.6.1). A
// browser asks its user for a password where it knows the scheme, and sends that to the
// site for good: the scheme of those who log in by a page is one that no browser knows.
func (m *Manager) challenge(r *http.Request) string {
	switch {
	case !m.cfg.Bearer:
		return "Session"
	case strings.HasPrefix(strings.ToLower(r.Header.Get("Authorization")), "bearer "):
		return `Bearer error="invalid_token"` // RFC 6750, 3.1
	}
	return "Bearer"
}

// ErrorHandler returns [Options.ErrorHandler]. Adapters of frameworks that have an error
// handler of their own ask that one where it is nil.
func (m *Manager) ErrorHandler() func(http.ResponseWriter, *http.Request, *gatekit.Refusal) {
	return m.cfg.ErrorHandler
}

// Refuse answers a request whose session could not be read or saved, or that a guard
// stopped: a redirect as it is, anything else by [Options.ErrorHandler] or, where there
// is none, by [gatekit.Refusal.Answer]. It takes back what the handler said about a body
// that is not coming.
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

// refusal is Refusal with 500 for the errors that it does not know.
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

// RequireLogin returns nil for a request of somebody who is logged in, by this manager's
// session whichever others the request has. Others are refused with a [*gatekit.Refusal]:
// browsers that load a page or send a form are sent to the page there; other clients, or
// all if there is "", get 401. A client that gives no sign of a browser (no
// Sec-Fetch-Mode, and no text/html in Accept) is another client. The page there finds the
// page that a browser wanted by [Next]; nothing is stored. A Redis that does not answer
// is neither: 503. Where the manager's middleware is not around the guard, nobody passes:
// 500, see [Manager.From].
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

// RequireFresh returns nil for a request of somebody who proved who they are at most
// maxAge ago. Others who are logged in are sent to the page there, which asks again and
// calls [Session.Elevate], or get 403; who is not logged in gets 401. The error is a
// [*gatekit.Refusal], as of [Manager.RequireLogin].
func (m *Manager) RequireFresh(r *http.Request, maxAge time.Duration, there string) error {
	if err := m.RequireLogin(r, ""); err != nil {
		return err
	}
	if s, _ := m.From(r.Context()); !s.Fresh(maxAge) {
		return m.away(r, there, http.StatusForbidden, ErrNotProven)
	}
	return nil
}

// RequireLevel returns nil for a request of somebody who proved who they are at least as
// strongly as the level; see [Session.Level]. Others are refused as by
// [Manager.RequireFresh].
func (m *Manager) RequireLevel(r *http.Request, level int, there string) error {
	if err := m.RequireLogin(r, ""); err != nil {
		return err
	}
	if s, _ := m.From(r.Context()); s.Level() < level {
		return m.away(r, there, http.StatusForbidden, ErrNotProven)
	}
	return nil
}

// Logout ends this manager's session of a POST, also one that could not be read, and
// returns nil when it has ended. Other methods are refused with 405, because any site can
// make a browser send a GET. The error is a [*gatekit.Refusal].
func (m *Manager) Logout(r *http.Request) error {
	if r.Method != http.MethodPost {
		return m.answer(r, http.StatusMethodNotAllowed, errMethod)
	}
	s, _ := m.From(r.Context()) // a session that can't be read can be ended
	if err := s.Logout(r.Context()); err != nil {
		return m.refusal(r, err)
	}
	return nil
}

// LogoutEverywhere ends all sessions of the user who sent a POST, this manager's, and
// returns nil when they have ended; see [Session.LogoutEverywhere]. Who is not logged in
// is refused with 401, other methods with 405. The error is a [*gatekit.Refusal].
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

// CrossOrigin returns the guard that refuses with 403 what another site makes a browser
// send and that could change something; see [http.CrossOriginProtection], of which nil is
// one without exceptions. Its error is a [*gatekit.Refusal].
//
// The handshake of a WebSocket is a GET, which p lets pass by itself. Here it is checked
// as a POST is: a page on another host of the same site sends SameSite=Lax cookies with
// it, and could read and write in the user's name.
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

// isHandshake reports whether the request asks for a connection of another protocol, as
// that of a WebSocket does in HTTP/1.1 by Upgrade and in HTTP/2 by an extended CONNECT.
func isHandshake(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect
}

// away is the answer to a request that lacks something which the page there asks for.
func (m *Manager) away(r *http.Request, there string, status int, err error) error {
	if there != "" && request.IsPage(r) {
		return &gatekit.Refusal{Status: http.StatusSeeOther, Location: withNext(r, there), Err: err}
	}
	return m.answer(r, status, err)
}
