package main

import (
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/session"
)

// app is the site. It is safe for concurrent use.
type app struct {
	sessions *session.Manager
	throttle throttle
	users    *users
}

// The levels that a session of this site can have, see [session.Session.Level].
const (
	loggedIn  = 1
	confirmed = 2 // entered the password once more, after the login
)

// The theme is the one value that a guest has, and takes along into a login: see Carry in main.go.
const themeName = "theme"

var (
	theme  = session.NewKey[string](themeName)
	themes = []string{"auto", "light", "dark"}
)

//go:embed static
var static embed.FS

// handler returns the site. How long a confirmed password counts is fresh.
func (a *app) handler(fresh time.Duration) http.Handler {
	user := gatehttp.RequireLogin(a.sessions, "/")
	recent := gatehttp.RequireFresh(a.sessions, fresh, "/confirm")
	sensitive := func(h http.Handler) http.Handler { return user(a.requireConfirmed(recent(h))) }

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.page(a.home))
	mux.HandleFunc("POST /theme", a.page(a.setTheme))
	mux.HandleFunc("POST /login", a.page(a.login))
	mux.HandleFunc("POST /logout", a.logout)
	mux.Handle("GET /devices", user(a.page(a.devices)))
	mux.Handle("POST /devices/{id}/revoke", user(a.page(a.revoke)))
	mux.Handle("POST /devices/revoke-others", user(a.page(a.revokeOthers)))
	mux.Handle("GET /confirm", user(a.page(a.askPassword)))
	mux.Handle("POST /confirm", user(a.page(a.confirm)))
	mux.Handle("GET /account", sensitive(a.page(a.account)))
	mux.Handle("POST /account", sensitive(a.page(a.changeAccount)))
	mux.Handle("GET /static/", http.FileServerFS(static))

	// Browsers say where a request comes from; one that changes something and comes from another site stops here.
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, errCrossOrigin)
	}))
	return headers(sameOrigin.Handler(gatehttp.Sessions(a.sessions)(http.MaxBytesHandler(mux, 16<<10))))
}

// headers are those that every response of the site has.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// page makes a handler of a function that needs the session and may fail. Only here is the session asked for, so that
// there is one answer to a Redis that does not: 503, and not a page for guests.
func (a *app) page(serve func(http.ResponseWriter, *http.Request, *session.Session) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err == nil {
			err = serve(w, r, s)
		}
		if err != nil {
			a.sessions.Refuse(w, r, err) // calls fail
		}
	}
}

// requireConfirmed sends those who did not enter their password again since the login. [gatehttp.RequireFresh] asks how long
// ago that was, and would take the login itself for an answer.
func (a *app) requireConfirmed(next http.Handler) http.Handler {
	return a.page(func(w http.ResponseWriter, r *http.Request, s *session.Session) error {
		if s.Level() < confirmed {
			redirect(w, r, "/confirm")
			return nil
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

func (a *app) home(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	if s.UserID() == "" {
		return a.show(w, r, s, page{Name: "login", Title: "Log in", Data: loginForm{}})
	}
	return a.show(w, r, s, page{Name: "home", Title: "Home", Data: s})
}

func (a *app) setTheme(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	if name := r.PostFormValue("theme"); slices.Contains(themes, name) {
		if err := theme.Set(s, name); err != nil {
			return err
		}
	}
	redirect(w, r, "/")
	return nil
}

// redirect to a page of this site, with GET.
func redirect(w http.ResponseWriter, r *http.Request, path string) {
	http.Redirect(w, r, path, http.StatusSeeOther)
}

var errCrossOrigin = errors.New("a form of another site")

// fail answers when a page can't be shown: the session could not be read or written, or a handler returned an error. It
// leaves the session and the cookie alone.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := failure{http.StatusInternalServerError, "Something went wrong", "It was not your doing. Please try again."}
	var refusal *session.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Err == nil:
		refusal.Header(w.Header())
		f = failure{refusal.Status, http.StatusText(refusal.Status), "Log in, or confirm that it's you, and try again."}
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, errThrottleDown):
		w.Header().Set("Retry-After", "2")
		f = failure{http.StatusServiceUnavailable, "Back in a moment",
			"Logins can't be checked right now. If you were logged in you still are. Please try again shortly."}
	case errors.Is(err, session.ErrGone):
		f = failure{http.StatusUnauthorized, "This session has ended", "It was logged out here or on another device. Nothing was changed."}
	case errors.Is(err, session.ErrStaleLogin), errors.Is(err, session.ErrConflict):
		f = failure{http.StatusConflict, "Please try again", "Something else changed at the same moment. Nothing was changed."}
	case errors.Is(err, session.ErrTooLarge):
		f = failure{http.StatusRequestEntityTooLarge, "Too much", "There is no room for that."}
	case errors.Is(err, errCrossOrigin):
		f = failure{http.StatusForbidden, "Not from here", "The request came from another site, so nothing was done."}
	case r.Context().Err() != nil: // the visitor left
	default:
		slog.ErrorContext(r.Context(), "login: a page failed", "error", err)
	}
	render(w, f.Status, page{Name: "failure", Title: f.Title, Data: f})
}

// A failure is what a visitor is told about an error.
type failure struct {
	Status      int
	Title, Text string
}
