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
		c.Next()
	}, nil
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
