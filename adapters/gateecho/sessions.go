package gateecho

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v4"
)

// Sessions returns the middleware that gives each request its session, for [Session] and
// [session.From]. It asks Redis nothing until a handler does.
//
// It panics when m is nil, as all of this package that takes a manager does.
func Sessions(m *session.Manager) echo.MiddlewareFunc {
	return SessionsWithConfig(SessionsConfig{Manager: m})
}

// SessionsConfig is Sessions in the form of Echo's own middlewares.
type SessionsConfig struct {
	// Skipper leaves requests without a session; nil leaves none.
	Skipper func(echo.Context) bool

	// Manager keeps the sessions. Required.
	Manager *session.Manager
}

// SessionsWithConfig is Sessions with a config. It panics on an error.
func SessionsWithConfig(config SessionsConfig) echo.MiddlewareFunc {
	middleware, err := config.ToMiddleware()
	if err != nil {
		panic(err)
	}
	return middleware
}

// ToMiddleware is SessionsWithConfig with an error in place of the panic.
func (config SessionsConfig) ToMiddleware() (echo.MiddlewareFunc, error) {
	m := config.Manager
	if err := given.Check(m); err != nil {
		return nil, err
	}
	return around(config.Skipper, func(c echo.Context, next echo.HandlerFunc) error {
		response := c.Response()
		err := m.Serve(response.Writer, c.Request(), func(w http.ResponseWriter, r *http.Request) error {
			response.Writer = w
			defer func() { request.GiveBack(r, c.Request()) }()
			c.SetRequest(r)
			err := next(c)
			if refusal, ok := m.Refusal(r, err); ok && !errors.As(err, new(*echo.HTTPError)) {
				answer := refusal // a copy, so that only a refused request allocates it
				err = refuse(c, &answer, m.ErrorHandler())
			}
			if err != nil && !response.Committed {
				c.Error(err) // now, while the session can be committed with the response
			}
			return err
		})
		if refusal, ok := err.(*gatekit.Refusal); ok { // was sent by the manager
			response.Status, response.Committed = refusal.Status, true
		}
		return err
	}), nil
}

// Session returns the request's session, as [session.From] does with the context of
// c.Request().
func Session(c echo.Context) (*session.Session, error) { return session.From(c.Request().Context()) }

// RequireLogin returns the middleware that lets nobody pass who is not logged in; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) echo.MiddlewareFunc {
	return guard(m, func(r *http.Request) error { return m.RequireLogin(r, there) })
}

// RequireFresh returns the middleware for what asks for a recent proof of identity; see
// [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) echo.MiddlewareFunc {
	return guard(m, func(r *http.Request) error { return m.RequireFresh(r, maxAge, there) })
}

// RequireLevel returns the middleware for what asks for a strong proof of identity; see
// [session.Manager.RequireLevel].
func RequireLevel(m *session.Manager, level int, there string) echo.MiddlewareFunc {
	return guard(m, func(r *http.Request) error { return m.RequireLevel(r, level, there) })
}

// CrossOrigin returns the middleware that refuses with 403 what another site makes a
// browser send, the handshakes of WebSockets included; nil protects without exceptions.
// Echo's error handler answers, and not the deny handler of p. See [session.CrossOrigin].
func CrossOrigin(p *http.CrossOriginProtection) echo.MiddlewareFunc {
	check := session.CrossOrigin(p)
	return around(nil, func(c echo.Context, next echo.HandlerFunc) error {
		if err := check(c.Request()); err != nil {
			return refuse(c, err, nil)
		}
		return next(c)
	})
}

func guard(m *session.Manager, check func(*http.Request) error) echo.MiddlewareFunc {
	given.Must(m)
	return around(nil, func(c echo.Context, next echo.HandlerFunc) error {
		if err := check(c.Request()); err != nil {
			return refuse(c, err, m.ErrorHandler())
		}
		return next(c)
	})
}

// Logout returns the handler that logs out, for a POST; other methods get 405. A page of
// a browser is redirected to the page there, other clients get 204.
func Logout(m *session.Manager, there string) echo.HandlerFunc {
	given.Must(m)
	return guard(m, m.Logout)(goodbye(there))
}

// LogoutEverywhere returns the handler that ends all sessions of the user and answers as
// [Logout] does; see [session.Manager.LogoutEverywhere].
func LogoutEverywhere(m *session.Manager, there string) echo.HandlerFunc {
	given.Must(m)
	return guard(m, m.LogoutEverywhere)(goodbye(there))
}

func goodbye(there string) echo.HandlerFunc {
	return func(c echo.Context) error {
		if request.IsPage(c.Request()) {
			return c.Redirect(http.StatusSeeOther, there)
		}
		return c.NoContent(http.StatusNoContent)
	}
}

// Devices returns the handler that lists the user's sessions as JSON, a
// [session.DevicePage], for a "your devices" page.
func Devices(m *session.Manager) echo.HandlerFunc {
	given.Must(m)
	return func(c echo.Context) error {
		page, err := m.Devices(c.Request())
		if err != nil {
			return refuse(c, err, m.ErrorHandler())
		}
		page.Header(c.Response().Header())
		return c.JSON(http.StatusOK, page)
	}
}

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
