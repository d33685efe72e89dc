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

// Sessions returns the middleware that gives each request its session; handlers get it by
// [Session] or [session.From]. It asks Redis nothing until a guard or handler asks for
// the session.
//
// It panics when m is nil. So does each function of this package that takes a manager.
func Sessions(m *session.Manager) echo.MiddlewareFunc {
	return SessionsWithConfig(SessionsConfig{Manager: m})
}

// SessionsConfig is Sessions in the form of Echo's own middlewares.
type SessionsConfig struct {
	// Skipper reports whether a request gets no session. Nil gives each request one.
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

// ToMiddleware is like SessionsWithConfig, but returns the error.
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
		if refusal, ok := err.(*gatekit.Refusal); ok { // the manager has sent it
			response.Status, response.Committed = refusal.Status, true
		}
		return err
	}), nil
}

// Session returns the request's session, as [session.From] does with the context of
// c.Request().
func Session(c echo.Context) (*session.Session, error) { return session.From(c.Request().Context()) }

// RequireLogin returns the middleware that lets only logged-in users pass; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) echo.MiddlewareFunc {
	return guard(m, func(r *http.Request) error { return m.RequireLogin(r, there) })
}

// RequireFresh returns the middleware that lets only users pass who proved their identity
// at most maxAge ago; see [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) echo.MiddlewareFunc {
	return guard(m, func(r *http.Request) error { return m.RequireFresh(r, maxAge, there) })
}

// RequireLevel returns the middleware that lets only users pass who proved their identity
// at least as strongly as the level; see [session.Manager.RequireLevel].
func RequireLevel(m *session.Manager, level int, there string) echo.MiddlewareFunc {
	return guard(m, func(r *http.Request) error { return m.RequireLevel(r, level, there) })
}

// CrossOrigin returns the middleware that answers 403 when another site makes a browser
// send a request that could change something, or the handshake of a WebSocket. Nil
// protects without exceptions. Echo's error handler answers, not the deny handler of p.
// See [session.CrossOrigin].
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

// Logout returns the handler that ends the session of a POST; other methods get 405. It
// redirects a browser that sent a form to the page there. Other clients get 204.
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

// around returns a middleware that calls run, or only next if skip reports true; skip may
// be nil.
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
