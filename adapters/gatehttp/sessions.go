package gatehttp

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/session"
)

// Sessions returns the middleware that gives each request its session, for
// [session.From]. It asks Redis nothing until a handler does. What buffers or times out
// responses, such as [http.TimeoutHandler], goes inside it.
//
// It panics when m is nil, as all of this package that takes a manager does.
func Sessions(m *session.Manager) func(http.Handler) http.Handler {
	given.Must(m)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// The client has its answer; the manager's Logger knows what failed.
			_ = m.Serve(w, r, func(w http.ResponseWriter, r *http.Request) error {
				next.ServeHTTP(w, r)
				return nil
			})
		})
	}
}

// Logout returns the handler that logs out and redirects to the page there, for a form's
// POST; other methods get 405. It belongs behind [CrossOrigin] like every handler that
// changes something.
func Logout(m *session.Manager, there string) http.Handler {
	given.Must(m)
	return guard(m, m.Logout)(http.RedirectHandler(there, http.StatusSeeOther))
}

// LogoutEverywhere returns the handler that ends all sessions of the user and redirects
// to the page there, for a form's POST; see [session.Manager.LogoutEverywhere].
func LogoutEverywhere(m *session.Manager, there string) http.Handler {
	given.Must(m)
	return guard(m, m.LogoutEverywhere)(http.RedirectHandler(there, http.StatusSeeOther))
}

// Devices returns the handler that lists the user's sessions as JSON, a
// [session.DevicePage], for a "your devices" page.
func Devices(m *session.Manager) http.Handler {
	given.Must(m)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, err := m.Devices(r)
		if err != nil {
			m.Refuse(w, r, err)
			return
		}
		page.Header(w.Header())
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page)
	})
}

// RequireLogin returns the middleware that lets nobody pass who is not logged in; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) func(http.Handler) http.Handler {
	given.Must(m)
	return guard(m, func(r *http.Request) error { return m.RequireLogin(r, there) })
}

// RequireFresh returns the middleware for what asks for a recent proof of identity; see
// [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) func(http.Handler) http.Handler {
	given.Must(m)
	return guard(m, func(r *http.Request) error { return m.RequireFresh(r, maxAge, there) })
}

// CrossOrigin returns the middleware that refuses what another site makes a browser send,
// by the deny handler of p; nil protects without exceptions. Unlike p.Handler it checks
// the handshakes of WebSockets too, and answers 403 to those that it refuses; see
// [session.CrossOrigin].
func CrossOrigin(p *http.CrossOriginProtection) func(http.Handler) http.Handler {
	if p == nil {
		p = http.NewCrossOriginProtection()
	}
	check := session.CrossOrigin(p)
	deny := p.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // a handshake, which p lets pass
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
	}))
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if check(r) != nil {
				deny.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func guard(m *session.Manager, check func(*http.Request) error) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := check(r); err != nil {
				m.Refuse(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
