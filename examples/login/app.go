package main

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

// app is the site. It is safe for concurrent use.
type app struct {
	sessions *session.Manager
	throttle throttle
	users    *users
	fresh    time.Duration // how long a confirmed password counts
}

func newApp(kv *gatekit.Redis, fresh time.Duration, insecureCookie bool) (*app, error) {
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		return nil, err
	}
	a := &app{users: demoUsers(), throttle: throttle{limiter}, fresh: fresh}
	a.sessions, err = session.New(kv, session.Options{
		Carry:          []string{themeName}, // a login drops all other values of a guest
		InsecureCookie: insecureCookie,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal) { a.fail(w, r, refusal) },
	})
	return a, err
}

// The levels of this site's sessions, see [session.Session.Level]. A route requires one
// of them.
const (
	guest     = 0
	loggedIn  = 1
	confirmed = 2 // entered the password once more, after the login
)

// themeName is the key of a guest's only value, which the login keeps: see Carry in
// newApp.
const themeName = "theme"

var (
	theme  = session.NewKey[string](themeName)
	themes = []string{"auto", "light", "dark"}
)

// A serveFunc answers a request whose session could be read.
type serveFunc func(http.ResponseWriter, *http.Request, *session.Session) error

// page makes a handler of a function that needs the session and may fail. Only page reads
// the session. So there is one place that answers 503, not a page for guests, when Redis
// does not answer.
func (a *app) page(serve serveFunc) http.HandlerFunc {
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

// whenConfirmed redirects visitors who did not enter their password again since the
// login. RequireFresh is not enough here: it only compares how long ago the last proof
// was, and the login itself is one.
func (a *app) whenConfirmed(serve serveFunc) serveFunc {
	return func(w http.ResponseWriter, r *http.Request, s *session.Session) error {
		if err := a.sessions.RequireLevel(r, confirmed, "/confirm"); err != nil {
			return err
		}
		return serve(w, r, s)
	}
}

func (a *app) home(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	if s.UserID() == "" {
		return a.show(w, r, s, page{Name: "login", Title: "Log in", Data: loginForm{Next: session.Next(r, "/")}})
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

// crossOrigin returns the protection against requests that change something and that
// another site made the browser send.
func (a *app) crossOrigin() *http.CrossOriginProtection {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, session.CrossOrigin(p)(r))
	}))
	return p
}

// fail answers when a page can't be shown: the session could not be read or written, or a
// handler returned an error. It leaves the session and the cookie alone.
func (a *app) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := failure{http.StatusInternalServerError, "Something went wrong", "It was not your doing. Please try again."}
	var refusal *gatekit.Refusal
	switch {
	case errors.Is(err, session.ErrNotLoggedIn), errors.Is(err, session.ErrNotProven), errors.As(err, &refusal) && refusal.Status == http.StatusMethodNotAllowed:
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
	case errors.As(err, &refusal) && refusal.Status == http.StatusForbidden: // with a reason: see crossOrigin
		f = failure{http.StatusForbidden, "Not from here", "The request came from another site, so nothing was done."}
	case r.Context().Err() != nil: // the visitor left
	default:
		slog.ErrorContext(r.Context(), "login: a page failed", "error", err)
	}
	render(w, f.Status, page{Name: "failure", Title: f.Title, Data: f})
}

// A failure is the data of the page about an error.
type failure struct {
	Status      int
	Title, Text string
}
