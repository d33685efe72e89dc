package gatehttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/session"
)

// Sessions returns the middleware that gives each request its session; handlers get it by
// [Session] or [session.From]. It asks Redis nothing until a guard or handler asks for
// the session. Mount a middleware that buffers or times out responses, such as
// [http.TimeoutHandler], inside it.
//
// It panics when m is nil. So does each function of this package that takes a manager.
func Sessions(m *session.Manager) func(http.Handler) http.Handler {
	given.Must(m)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Serve has answered the client, and the manager's Logger has the failure.
			_ = m.Serve(w, r, func(w http.ResponseWriter, r *http.Request) error {
				next.ServeHTTP(w, r)
				return nil
			})
		})
	}
}

// Session returns the request's session, as [session.From] does with its context.
func Session(r *http.Request) (*session.Session, error) { return session.From(r.Context()) }

// Logout returns the handler that ends the session of a POST; other methods get 405. It
// redirects a browser that sent a form to the page there. Other clients get 204. Mount it
// behind [CrossOrigin], like every handler that changes something.
func Logout(m *session.Manager, there string) http.Handler {
	given.Must(m)
	return guard(m, m.Logout)(goodbye(there))
}

// LogoutEverywhere returns the handler that ends all sessions of the user and answers as
// [Logout] does; see [session.Manager.LogoutEverywhere].
func LogoutEverywhere(m *session.Manager, there string) http.Handler {
	given.Must(m)
	return guard(m, m.LogoutEverywhere)(goodbye(there))
}

func goodbye(there string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if request.IsPage(r) {
			http.Redirect(w, r, there, http.StatusSeeOther)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
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

// RequireLogin returns the middleware that lets only logged-in users pass; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) func(http.Handler) http.Handler {
	given.Must(m)
	return guard(m, func(r *http.Request) error { return m.RequireLogin(r, there) })
}

// RequireFresh returns the middleware that lets only users pass who proved their identity
// at most maxAge ago; see [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) func(http.Handler) http.Handler {
	given.Must(m)
	return guard(m, func(r *http.Request) error { return m.RequireFresh(r, maxAge, there) })
}

// RequireLevel returns the middleware that lets only users pass who proved their identity
// at least as strongly as the level; see [session.Manager.RequireLevel].
func RequireLevel(m *session.Manager, level int, there string) func(http.Handler) http.Handler {
	given.Must(m)
	return guard(m, func(r *http.Request) error { return m.RequireLevel(r, level, there) })
}

// CrossOrigin returns the middleware that answers 403 when another site makes a browser
// send a request that could change something, or the handshake of a WebSocket. Nil
// protects without exceptions. The deny handler of p answers if p has one. See
// [session.CrossOrigin].
func CrossOrigin(p *http.CrossOriginProtection) func(http.Handler) http.Handler {
	if p == nil {
		p = http.NewCrossOriginProtection()
	}
	check := session.CrossOrigin(p)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var refusal *gatekit.Refusal
			if errors.As(check(r), &refusal) {
				request.Deny(p, w, r, func(w http.ResponseWriter) { refusal.Answer(w, r) })
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
