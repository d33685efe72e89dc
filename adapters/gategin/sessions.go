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

// Sessions returns the middleware that gives each request its session, for [Session] and
// [session.From]. It asks Redis nothing until a handler does.
//
// It panics when m is nil, as all of this package that takes a manager does.
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
		if last := c.Errors.Last(); err != nil && (last == nil || last.Err != err) { // as Gin's renderers put it there
			_ = c.Error(err)
		}
		if err != nil && errors.As(err, new(*gatekit.Refusal)) { // nil costs no allocation
			c.Writer = answered{c.Writer}
		}
	}
}

// Session returns the request's session, as [session.From] does with the context of
// c.Request.
func Session(c *gin.Context) (*session.Session, error) { return session.From(c.Request.Context()) }

// RequireLogin returns the middleware that lets nobody pass who is not logged in; see
// [session.Manager.RequireLogin].
func RequireLogin(m *session.Manager, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) { stop(c, m, m.RequireLogin(c.Request, there)) }
}

// RequireFresh returns the middleware for what asks for a recent proof of identity; see
// [session.Manager.RequireFresh].
func RequireFresh(m *session.Manager, maxAge time.Duration, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) { stop(c, m, m.RequireFresh(c.Request, maxAge, there)) }
}

// RequireLevel returns the middleware for what asks for a strong proof of identity; see
// [session.Manager.RequireLevel].
func RequireLevel(m *session.Manager, level int, there string) gin.HandlerFunc {
	given.Must(m)
	return func(c *gin.Context) { stop(c, m, m.RequireLevel(c.Request, level, there)) }
}

// CrossOrigin returns the middleware that refuses with 403 what another site makes a
// browser send, the handshakes of WebSockets included; nil protects without exceptions.
// The deny handler of p answers where it has one. See [session.CrossOrigin].
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

// Logout returns the handler that logs out, for a POST; other methods get 405. A page of
// a browser is redirected to the page there, other clients get 204.
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

// stop answers a refused request and keeps the handlers that are still to come from
// running. It reports whether it did.
func stop(c *gin.Context, m *session.Manager, err error) bool {
	if err == nil {
		return false
	}
	answer(c, err, func(w http.ResponseWriter, r *http.Request) { m.Refuse(w, r, err) })
	return true
}

// answer has a request answered in place of the handlers that are still to come. The
// error is for loggers: a middleware that answers what is in c.Errors finds the response
// complete.
func answer(c *gin.Context, err error, respond http.HandlerFunc) {
	_ = c.Error(err)
	c.Abort()
	respond(c.Writer, c.Request)
	c.Writer.WriteHeaderNow()
	c.Writer = answered{c.Writer}
}
