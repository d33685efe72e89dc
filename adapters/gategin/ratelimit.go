package gategin

import (
	"errors"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gin-gonic/gin"
)

// RateLimit returns a middleware that lets requests pass by the rules, in the order of
// [ratelimit.Gate.Check]. The error is that of [ratelimit.NewGate].
func RateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) (gin.HandlerFunc, error) {
	gate, err := ratelimit.NewGate(limiter, opts, rules...)
	if err != nil {
		return nil, err
	}
	return func(c *gin.Context) {
		r := c.Request
		admitted, err := gate.Admit(c.Writer.Header(), r, pattern(c))
		if err != nil {
			var denied *ratelimit.Refusal
			errors.As(err, &denied)
			answer(c, err, denied.Verdict.Respond)
			return
		}
		defer func() { request.GiveBack(r, c.Request) }()
		c.Request = admitted
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

// pattern is the route that Gin matched, for rules with PerRoute. Gin runs no middleware
// ahead of routing.
func pattern(c *gin.Context) string {
	if c.FullPath() == "" {
		return ratelimit.NoRoute
	}
	return c.FullPath()
}
