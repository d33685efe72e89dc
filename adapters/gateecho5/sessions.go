package gateecho5

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v5"
)

// Sessions returns the middleware that gives each request its session; handlers get it by
// [Session] or [session.From]. It asks Redis nothing until a guard or handler asks for
// the session.
//
// It panics when m is nil. So does each function of this package that takes a manager.
func Sessions(m *session.Manager) echo.MiddlewareFunc {
	return SessionsWithConfig(SessionsConfig{Manager: m})
}

// SessionsConfig is an [echo.MiddlewareConfigurator].
type SessionsConfig struct {
	Skipper func(*echo.Context) bool // reports whether a request gets no session; nil gives each one
	Manager *session.Manager         // required
}

// SessionsWithConfig is [SessionsConfig.ToMiddleware], but panics on an error.
func SessionsWithConfig(config SessionsConfig) echo.MiddlewareFunc { return must(config) }

// ToMiddleware returns the middleware, or an error when there is no Manager.
func (config SessionsConfig) ToMiddleware() (echo.MiddlewareFunc, error) {
	if err := given.Check(config.Manager); err != nil {
		return nil, err
	}
	return middleware(func(c *echo.Context, next echo.HandlerFunc) error {
		if config.Skipper != nil && config.Skipper(c) {
			return next(c)
		}
		return config.Manager.Serve(c.Response(), c.Request(), func(w http.ResponseWriter, r *http.Request) error {
			defer func() { request.GiveBack(r, c.Request()) }()
			c.SetRequest(r)
			c.SetResponse(w)
			err := next(c)
			if f, ok := config.Manager.Refusal(r, err); ok {
				var coded echo.HTTPStatusCoder
				errors.As(err, &coded)
				if _, ours := coded.(*gatekit.Refusal); ours || coded == nil { // the handler set no status of its own
					err = refuse(c, &f, config.Manager.ErrorHandler())
				}
			}
			if sent, _ := echo.UnwrapResponse(w); err != nil && (sent == nil || !sent.Committed) {
				c.Echo().HTTPErrorHandler(c, err) // now, while the session can be committed with the answer
			}
			return err
		})
	}).around, nil
}

// Session returns the request's session, as [session.From] does with the context of
// c.Request().
func Session(c *echo.Context) (*session.Session, error) { return session.From(c.Request().Context()) }

// CrossOrigin returns the middleware that answers 403 when another site makes a browser
// send a request that could change something, or the handshake of a WebSocket. Nil
// protects without exceptions. Echo's error handler answers, not the deny handler of p.
// See [session.CrossOrigin].
func CrossOrigin(p *http.CrossOriginProtection) echo.MiddlewareFunc {
	return guard(session.CrossOrigin(p), nil).around
}

// RequireFresh returns the middleware that lets only users pass who proved their identity
// at most maxAge ago; see [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) echo.MiddlewareFunc {
	given.Must(m)
	return guard(func(r *http.Request) error { return m.RequireFresh(r, maxAge, there) }, m.ErrorHandler()).around
}

// RequireLevel returns the middleware that lets only users pass who proved their identity
// at least as strongly as the level; see [session.Manager.RequireLevel].
func RequireLevel(m *session.Manager, level int, there string) echo.MiddlewareFunc {
	given.Must(m)
	return guard(func(r *http.Request) error { return m.RequireLevel(r, level, there) }, m.ErrorHandler()).around
}

// RequireLogin returns the middleware that lets only logged-in users pass; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) echo.MiddlewareFunc {
	given.Must(m)
	return guard(func(r *http.Request) error { return m.RequireLogin(r, there) }, m.ErrorHandler()).around
}

// Devices returns the handler that lists the user's sessions as JSON, a
// [session.DevicePage], for a "your devices" page.
func Devices(m *session.Manager) echo.HandlerFunc {
	given.Must(m)
	return func(c *echo.Context) error {
		page, err := m.Devices(c.Request())
		if err != nil {
			return refuse(c, err, m.ErrorHandler())
		}
		page.Header(c.Response().Header())
		return c.JSON(http.StatusOK, page)
	}
}

// Logout returns the handler that ends the session of a POST; other methods get 405. It
// redirects a browser that sent a form to the page there. Other clients get 204.
func Logout(m *session.Manager, there string) echo.HandlerFunc {
	given.Must(m)
	return guard(m.Logout, m.ErrorHandler()).around(goodbye(there))
}

// LogoutEverywhere returns the handler that ends all sessions of the user and answers as
// [Logout] does; see [session.Manager.LogoutEverywhere].
func LogoutEverywhere(m *session.Manager, there string) echo.HandlerFunc {
	given.Must(m)
	return guard(m.LogoutEverywhere, m.ErrorHandler()).around(goodbye(there))
}

func goodbye(there string) echo.HandlerFunc {
	return func(c *echo.Context) error {
		if request.IsPage(c.Request()) {
			return c.Redirect(http.StatusSeeOther, there)
		}
		return c.NoContent(http.StatusNoContent)
	}
}

// middleware does something around next.
type middleware func(c *echo.Context, next echo.HandlerFunc) error

// around is m as an [echo.MiddlewareFunc].
func (m middleware) around(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error { return m(c, next) }
}

func guard(check func(*http.Request) error, handler func(http.ResponseWriter, *http.Request, *gatekit.Refusal)) middleware {
	return func(c *echo.Context, next echo.HandlerFunc) error {
		if err := check(c.Request()); err != nil {
			return refuse(c, err, handler)
		}
		return next(c)
	}
}

func must(config echo.MiddlewareConfigurator) echo.MiddlewareFunc {
	m, err := config.ToMiddleware()
	if err != nil {
		panic(err)
	}
	return m
}
