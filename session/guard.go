package session

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Refusal is the answer to a request that must not go on: a guard's, or one whose
// session could not be read or written. It is an error, for frameworks whose handlers
// return errors; [Manager.Refuse] answers it where there is none.
type Refusal struct {
	// Status is 303, 400, 401, 403, 405, 409, 413, 500 or 503.
	Status int

	// Location is where a 303 leads; else empty.
	Location string

	// Err is why, one of this package's errors; nil when nothing failed, as for a visitor
	// who is not logged in. It is for logs, not for the client.
	Err error
}

// Error returns the status and the reason. It holds no token.
func (f *Refusal) Error() string {
	text := "session: refused with " + strconv.Itoa(f.Status)
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (f *Refusal) Unwrap() error { return f.Err }

// StatusCode returns Status, for frameworks that ask errors for it.
func (f *Refusal) StatusCode() int { return f.Status }

// Header sets what belongs to the answer beside its status: Cache-Control, and where they
// apply Location, Retry-After (in seconds) and Allow.
func (f *Refusal) Header(h http.Header) {
	h.Set("Cache-Control", "no-store")
	switch f.Status {
	case http.StatusSeeOther:
		h.Set("Location", f.Location)
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	}
}

// Refusal returns the answer to an error of this package, and whether err is one. The
// request is the one that the handler got. It is a value, and as such no error: a nil
// *Refusal in an error would not equal nil.
func (m *Manager) Refusal(r *http.Request, err error) (f Refusal, ok bool) {
	if err == nil {
		return Refusal{}, false
	}
	if known := new(Refusal); errors.As(err, &known) {
		return *known, true
	}
	s, found := m.find(r.Context())
	code := status(err, found && s.wasLogin())
	if code == http.StatusInternalServerError && !errors.Is(err, ErrTooLate) && !errors.Is(err, ErrNoMiddleware) {
		return Refusal{}, false
	}
	return Refusal{Status: code, Err: err}, true
}

// Refuse answers a request whose session could not be read or saved, or that a guard
// stopped: a redirect as it is, anything else by [Options.ErrorHandler]. It takes back
// what the handler said about a body that is not coming.
func (m *Manager) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	for _, field := range []string{
		"Content-Length", "Content-Encoding", "Content-Type", "Etag", "Last-Modified", "Cache-Control", "Location",
	} {
		h.Del(field)
	}
	f := m.refusal(r, err)
	switch {
	case f.Location != "":
		f.Header(h)
		http.Redirect(w, r, f.Location, f.Status)
	case m.cfg.ErrorHandler != nil:
		m.cfg.ErrorHandler(w, r, err)
	default:
		f.Header(h)
		http.Error(w, http.StatusText(f.Status), f.Status)
	}
}

// refusal is Refusal with 500 for the errors that it does not know.
func (m *Manager) refusal(r *http.Request, err error) *Refusal {
	if f, ok := m.Refusal(r, err); ok {
		return &f
	}
	return &Refusal{Status: http.StatusInternalServerError, Err: err}
}

func (s *Session) wasLogin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wasUser || s.meta.user != ""
}

// RequireLogin returns nil for a request of somebody who is logged in, by this manager's
// session whichever others the request has. Others are refused with a *[Refusal]:
// browsers that load a page or send a form are sent to the page there; other clients, or
// all if there is "", get 401. A Redis that does not answer is neither: 503. Where the
// manager's middleware is not around the guard, nobody passes: 500, see [Manager.From].
func (m *Manager) RequireLogin(r *http.Request, there string) error {
	s, err := m.From(r.Context())
	switch {
	case err != nil:
		return m.refusal(r, err)
	case s.UserID() == "":
		return away(r, there, http.StatusUnauthorized)
	}
	return nil
}

// RequireFresh returns nil for a request of somebody who proved who they are at most
// maxAge ago. Others who are logged in are sent to the page there, which asks again and
// calls [Session.Elevate], or get 403; who is not logged in gets 401. The error is a
// *[Refusal], as of [Manager.RequireLogin].
func (m *Manager) RequireFresh(r *http.Request, maxAge time.Duration, there string) error {
	if err := m.RequireLogin(r, ""); err != nil {
		return err
	}
	if s, _ := m.From(r.Context()); !s.Fresh(maxAge) {
		return away(r, there, http.StatusForbidden)
	}
	return nil
}

// Logout ends this manager's session of a POST, also one that could not be read, and
// returns nil when it has ended. Other methods are refused with 405, because any site can
// make a browser send a GET. The error is a *[Refusal].
func (m *Manager) Logout(r *http.Request) error {
	if r.Method != http.MethodPost {
		return &Refusal{Status: http.StatusMethodNotAllowed}
	}
	s, _ := m.From(r.Context()) // a session that can't be read can be ended
	if err := s.Logout(r.Context()); err != nil {
		return m.refusal(r, err)
	}
	return nil
}

// LogoutEverywhere ends all sessions of the user who sent a POST, this manager's, and
// returns nil when they have ended; see [Session.LogoutEverywhere]. Who is not logged in
// is refused with 401, other methods with 405. The error is a *[Refusal].
func (m *Manager) LogoutEverywhere(r *http.Request) error {
	if r.Method != http.MethodPost {
		return &Refusal{Status: http.StatusMethodNotAllowed}
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
// one without exceptions. Its error is a *[Refusal].
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
			return &Refusal{Status: http.StatusForbidden, Err: err}
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
func away(r *http.Request, there string, status int) error {
	if there != "" && isPage(r) {
		return &Refusal{Status: http.StatusSeeOther, Location: there}
	}
	return &Refusal{Status: status}
}

// isPage reports whether a browser will show the answer as a page. Forms count: what a
// form left open too long has sent is lost in any case, and a redirect shows the way on.
func isPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || strings.Contains(r.Header.Get("Accept"), "text/html")
}
