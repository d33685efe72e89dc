package gatehttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatekit/gatekit/session"
)

// Sessions returns the middleware that gives each request its session, for [session.From]. It asks Redis nothing until a
// handler does. What buffers or times out responses, such as [http.TimeoutHandler], goes inside it.
func Sessions(m *session.Manager) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := m.Begin(r)
			defer m.Finish(r.Context(), s)
			out, done := m.Wrap(w, s)
			next.ServeHTTP(out, r.WithContext(s.Context()))
			done()
		})
	}
}

// Logout returns the handler that logs out and redirects to the page there, for a form's POST; other methods get 405.
// It belongs behind [http.CrossOriginProtection] like every handler that changes something.
func Logout(m *session.Manager, there string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		s, _ := session.From(r.Context()) // a session that can't be read can be ended
		if err := s.Logout(r.Context()); err != nil {
			m.Refuse(w, r, err)
			return
		}
		http.Redirect(w, r, there, http.StatusSeeOther)
	})
}

// device is an entry of [Devices].
type device struct {
	ID        string    `json:"id"`
	Label     string    `json:"label,omitempty"`
	UserAgent string    `json:"user_agent,omitempty"`
	IP        string    `json:"ip,omitempty"`
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"last_seen"`
	Expires   time.Time `json:"expires"`
	Current   bool      `json:"current"`
}

// Devices returns the handler that lists the user's sessions as JSON, for a "your devices" page: {"devices": [...],
// "next": cursor of the next page, to be passed as ?cursor=, absent on the last}. Put it behind [RequireLogin].
func Devices(m *session.Manager) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := loggedIn(m, w, r)
		if !ok {
			return
		}
		infos, next, err := m.List(r.Context(), s.UserID(), r.URL.Query().Get("cursor"))
		switch {
		case errors.Is(err, session.ErrUnavailable):
			m.Refuse(w, r, err)
			return
		case err != nil: // a cursor that List did not give
			http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
			return
		}
		page := struct {
			Devices []device `json:"devices"`
			Next    string   `json:"next,omitempty"`
		}{make([]device, 0, len(infos)), next}
		for _, i := range infos {
			page.Devices = append(page.Devices, device{
				i.ID, i.Device.Label, i.Device.UserAgent, i.Device.IP, i.Created, i.LastSeen, i.Expires, i.Current,
			})
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_ = json.NewEncoder(w).Encode(page)
	})
}

// RequireLogin returns the middleware that lets nobody pass who is not logged in: browsers that load a page or send a form
// are redirected to the page there, other clients, or all if there is "", get 401. A Redis that does not answer is neither: it gets 503.
func RequireLogin(m *session.Manager, there string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := session.From(r.Context())
			switch {
			case err != nil:
				m.Refuse(w, r, err)
			case s.UserID() == "":
				sendAway(w, r, there, http.StatusUnauthorized)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

// RequireFresh returns the middleware for what asks for a recent proof of identity, at most maxAge old: others are sent to
// the page there, which asks again and calls [session.Session.Elevate], or get 403. Who is not logged in gets 401.
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, ok := loggedIn(m, w, r)
			switch {
			case !ok:
			case !s.Fresh(maxAge):
				sendAway(w, r, there, http.StatusForbidden)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}

// loggedIn returns the session of a user, or has answered.
func loggedIn(m *session.Manager, w http.ResponseWriter, r *http.Request) (*session.Session, bool) {
	s, err := session.From(r.Context())
	switch {
	case err != nil:
		m.Refuse(w, r, err)
	case s.UserID() == "":
		sendAway(w, r, "", http.StatusUnauthorized)
	default:
		return s, true
	}
	return nil, false
}

// isPage reports whether a browser will show the answer as a page. Forms count: what a form left open too long has sent is
// lost in any case, and a redirect shows the way on.
func isPage(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || strings.Contains(r.Header.Get("Accept"), "text/html")
}

func sendAway(w http.ResponseWriter, r *http.Request, there string, status int) {
	if there != "" && isPage(r) {
		http.Redirect(w, r, there, http.StatusSeeOther)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}
