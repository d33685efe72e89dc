package gateecho

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v4"
)

// SessionsConfig configures [SessionsWithConfig].
type SessionsConfig struct {
	// Skipper leaves requests without a session; nil leaves none.
	Skipper func(echo.Context) bool

	// Manager keeps the sessions. Required.
	Manager *session.Manager
}

// DefaultSessionsConfig is what [Sessions] starts from.
var DefaultSessionsConfig = SessionsConfig{Skipper: never}

// Sessions returns the middleware that gives each request its session, for [Session] and
// [session.From]. It asks Redis nothing until a handler does.
//
// It panics when m is nil, as all of this package that takes a manager does.
func Sessions(m *session.Manager) echo.MiddlewareFunc {
	return SessionsWithConfig(SessionsConfig{DefaultSessionsConfig.Skipper, m})
}

// SessionsWithConfig is Sessions with a config.
func SessionsWithConfig(config SessionsConfig) echo.MiddlewareFunc {
	m := config.Manager
	given.Must(m)
	return around(config.Skipper, func(c echo.Context, next echo.HandlerFunc) error {
		response := c.Response()
		err := m.Serve(response.Writer, c.Request(), func(w http.ResponseWriter, r *http.Request) error {
			response.Writer = w
			defer func() { request.GiveBack(r, c.Request()) }()
			c.SetRequest(r)
			err := next(c)
			if refusal, ok := m.Refusal(r, err); ok && !errors.As(err, new(*echo.HTTPError)) {
				answer := refusal // a copy, so that only a refused request allocates it
				err = refuse(c, &answer)
			}
			if err != nil && !response.Committed {
				c.Error(err) // now, while the session can be committed with the response
			}
			return err
		})
		if refusal, ok := err.(*session.Refusal); ok { // was sent by the manager
			response.Status, response.Committed = refusal.Status, true
		}
		return err
	})
}

// Session returns the request's session, as [session.From] does with the context of
// c.Request().
func Session(c echo.Context) (*session.Session, error) { return session.From(c.Request().Context()) }

// RequireLogin returns the middleware that lets nobody pass who is not logged in; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) echo.MiddlewareFunc {
	given.Must(m)
	return guard(func(r *http.Request) error { return m.RequireLogin(r, there) })
}

// RequireFresh returns the middleware for what asks for a recent proof of identity; see
// [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) echo.MiddlewareFunc {
	given.Must(m)
	return guard(func(r *http.Request) error { return m.RequireFresh(r, maxAge, there) })
}

// CrossOrigin returns the middleware that refuses what another site makes a browser send;
// see [session.CrossOrigin].
func CrossOrigin(p *http.CrossOriginProtection) echo.MiddlewareFunc {
	return guard(session.CrossOrigin(p))
}

func guard(check func(*http.Request) error) echo.MiddlewareFunc {
	return around(never, func(c echo.Context, next echo.HandlerFunc) error {
		if err := check(c.Request()); err != nil {
			return refuse(c, err)
		}
		return next(c)
	})
}

// Logout returns the handler that logs out and redirects to the page there, for a form's
// POST; other methods get 405.
func Logout(m *session.Manager, there string) echo.HandlerFunc {
	given.Must(m)
	return guard(m.Logout)(func(c echo.Context) error { return c.Redirect(http.StatusSeeOther, there) })
}

// LogoutEverywhere returns the handler that ends all sessions of the user and redirects
// to the page there, for a form's POST; see [session.Manager.LogoutEverywhere].
func LogoutEverywhere(m *session.Manager, there string) echo.HandlerFunc {
	given.Must(m)
	return guard(m.LogoutEverywhere)(func(c echo.Context) error { return c.Redirect(http.StatusSeeOther, there) })
}

// Devices returns the handler that lists the user's sessions as JSON, a
// [session.DevicePage], for a "your devices" page.
func Devices(m *session.Manager) echo.HandlerFunc {
	given.Must(m)
	return func(c echo.Context) error {
		page, err := m.Devices(c.Request())
		if err != nil {
			return refuse(c, err)
		}
		page.Header(c.Response().Header())
		return c.JSON(http.StatusOK, page)
	}
}

// refuse redirects, or returns the error for Echo to answer.
func refuse(c echo.Context, err error) error {
	var refusal *session.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	refusal.Header(c.Response().Header())
	if refusal.Location != "" {
		http.Redirect(c.Response(), c.Request(), refusal.Location, refusal.Status)
		return nil
	}
	return echo.NewHTTPError(refusal.Status).SetInternal(refusal)
}

func never(echo.Context) bool { return false }

// around makes a middleware of what is to happen around next; skip may be nil.
func around(skip func(echo.Context) bool, run func(c echo.Context, next echo.HandlerFunc) error) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if skip != nil && skip(c) {
				return next(c)
			}
			return run(c, next)
		}
	}
}
