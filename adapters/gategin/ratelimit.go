package gategin

import (
	"net/http"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gin-gonic/gin"
)

// RateLimit returns a middleware that admits requests by the rules; see
// [ratelimit.Gate.Admit]. The pattern of a request is c.FullPath(), unless opts.Pattern
// is set. The error is that of [ratelimit.NewGate].
func RateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) (gin.HandlerFunc, error) {
	gate, err := ratelimit.NewGate(limiter, opts, rules...)
	if err != nil {
		return nil, err
	}
	return func(c *gin.Context) {
		r := c.Request
		admitted, err := gate.Admit(c.Writer.Header(), r, pattern(c))
		defer func() { request.GiveBack(r, c.Request) }()
		c.Request = admitted
		if err != nil {
			answer(c, err, func(w http.ResponseWriter, r *http.Request) { gate.Refuse(w, r, err) })
			return
		}
		if gate.Settles() {
			settle(gate, admitted, c)
			return
		}
		c.Next()
	}, nil
}

// settle runs the remaining handlers, and settles the request when they have returned or
// panicked.
func settle(gate *ratelimit.Gate, r *http.Request, c *gin.Context) {
	out, returned := c.Writer, false
	defer func() {
		done := ratelimit.Response{Bytes: max(int64(out.Size()), 0), Panicked: !returned}
		if out.Written() || returned { // Gin sends a status that was only set later
			done.Status = out.Status()
		}
		gate.Settle(r, done)
	}()
	c.Next()
	returned = true
}

// MustRateLimit is RateLimit for rules that are written in the program; it panics on an
// error.
func MustRateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) gin.HandlerFunc {
	middleware, err := RateLimit(limiter, opts, rules...)
	if err != nil {
		panic(err)
	}
	return middleware
}

// pattern returns the route that Gin matched, for rules with PerRoute. Gin runs
// middlewares only after routing.
func pattern(c *gin.Context) string {
	if c.FullPath() == "" {
		return ratelimit.NoRoute
	}
	return c.FullPath()
}
