package gategin

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

// Sessions returns the middleware that gives each request its session; handlers get it by
// [Session] or [session.From]. It asks Redis nothing until a guard or handler asks for
// the session.
//
// It panics when m is nil. So does each function of this package that takes a manager.
func Sessions(m *session.Manager) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) {
		under := &writer{ResponseWriter: c.Writer, c: c}
		err := m.Serve((*direct)(under), c.Request, func(w http.ResponseWriter, r *http.Request) error {
			under.out = w
			defer func() { request.GiveBack(r, c.Request) }()
			c.Writer, c.Request = under, r
			c.Next()
			return nil
		})
		if last := c.Errors.Last(); err != nil && (last == nil || last.Err != err) { // Gin's renderers may have added it
			_ = c.Error(err)
		}
		if err != nil && errors.As(err, new(*gatekit.Refusal)) { // tested first: nil costs no allocation
			c.Writer = answered{c.Writer}
		}
	}
}

// Session returns the request's session, as [session.From] does with the context of
// c.Request.
func Session(c *gin.Context) (*session.Session, error) { return session.From(c.Request.Context()) }

// RequireLogin returns the middleware that lets only logged-in users pass; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) { stop(c, m, m.RequireLogin(c.Request, there)) }
}

// RequireFresh returns the middleware that lets only users pass who proved their identity
// at most maxAge ago; see [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) { stop(c, m, m.RequireFresh(c.Request, maxAge, there)) }
}

// RequireLevel returns the middleware that lets only users pass who proved their identity
// at least as strongly as the level; see [session.Manager.RequireLevel].
func RequireLevel(m *session.Manager, level int, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) { stop(c, m, m.RequireLevel(c.Request, level, there)) }
}

// CrossOrigin returns the middleware that answers 403 when another site makes a browser
// send a request that could change something, or the handshake of a WebSocket. Nil
// protects without exceptions. The deny handler of p answers if p has one. See
// [session.CrossOrigin].
func CrossOrigin(p *http.CrossOriginProtection) gin.HandlerFunc {
	if p == nil {
		p = http.NewCrossOriginProtection()
	}
	check := session.CrossOrigin(p)
	return func(c *gin.Context) {
		var refusal *gatekit.Refusal
		if err := check(c.Request); errors.As(err, &refusal) {
			answer(c, err, func(w http.ResponseWriter, r *http.Request) {
				request.Deny(p, w, r, func(w http.ResponseWriter) { refusal.Answer(w, r) })
			})
		}
	}
}

// Logout returns the handler that ends the session of a POST; other methods get 405. It
// redirects a browser that sent a form to the page there. Other clients get 204.
func Logout(m *session.Manager, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) {
		if !stop(c, m, m.Logout(c.Request)) {
			goodbye(c, there)
		}
	}
}

// LogoutEverywhere returns the handler that ends all sessions of the user and answers as
// [Logout] does; see [session.Manager.LogoutEverywhere].
func LogoutEverywhere(m *session.Manager, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) {
		if !stop(c, m, m.LogoutEverywhere(c.Request)) {
			goodbye(c, there)
		}
	}
}

func goodbye(c *gin.Context, there string) {
	if request.IsPage(c.Request) {
		c.Redirect(http.StatusSeeOther, there)
		return
	}
	c.Status(http.StatusNoContent)
}

// Devices returns the handler that lists the user's sessions as JSON, a
// [session.DevicePage], for a "your devices" page.
func Devices(m *session.Manager) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) {
		page, err := m.Devices(c.Request)
		if !stop(c, m, err) {
			page.Header(c.Writer.Header())
			c.JSON(http.StatusOK, page)
		}
	}
}

// stop answers the request if err is not nil, and keeps the remaining handlers from
// running. It reports whether it did.
func stop(c *gin.Context, m *session.Manager, err error) bool {
	if err == nil {
		return false
	}
	answer(c, err, func(w http.ResponseWriter, r *http.Request) { m.Refuse(w, r, err) })
	return true
}

// answer calls respond in place of the remaining handlers. It adds the error to c.Errors
// for loggers only: a middleware that answers c.Errors finds the response complete.
func answer(c *gin.Context, err error, respond http.HandlerFunc) {
	_ = c.Error(err)
	c.Abort()
	respond(c.Writer, c.Request)
	c.Writer.WriteHeaderNow()
	c.Writer = answered{c.Writer}
}
