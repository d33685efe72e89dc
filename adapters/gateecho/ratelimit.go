package gateecho

import (
	"net/http"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v4"
)

// RateLimit returns a middleware that admits requests by the rules; see
// [ratelimit.Gate.Admit]. The pattern of a request is c.Path(), unless opts.Pattern is
// set. The error is that of [ratelimit.NewGate].
func RateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) (echo.MiddlewareFunc, error) {
	return RateLimitConfig{Limiter: limiter, Rules: rules, Options: opts}.ToMiddleware()
}

// MustRateLimit is RateLimit for rules that are written in the program; it panics on an
// error.
func MustRateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) echo.MiddlewareFunc {
	return RateLimitWithConfig(RateLimitConfig{Limiter: limiter, Rules: rules, Options: opts})
}

// RateLimitConfig is RateLimit in the form of Echo's own middlewares.
type RateLimitConfig struct {
	// Skipper reports whether a request passes without being counted. Nil counts all.
	Skipper func(echo.Context) bool

	// Limiter counts. Required.
	Limiter *ratelimit.Limiter

	// Rules say which policy counts which requests, and by which key: 1 to 16.
	Rules []ratelimit.Rule

	// Options are the same for all frameworks.
	Options ratelimit.GateOptions
}

// RateLimitWithConfig is RateLimit with a config. It panics on an error.
func RateLimitWithConfig(config RateLimitConfig) echo.MiddlewareFunc {
	middleware, err := config.ToMiddleware()
	if err != nil {
		panic(err)
	}
	return middleware
}

// ToMiddleware is like RateLimitWithConfig, but returns the error.
func (config RateLimitConfig) ToMiddleware() (echo.MiddlewareFunc, error) {
	gate, err := ratelimit.NewGate(config.Limiter, config.Options, config.Rules...)
	if err != nil {
		return nil, err
	}
	return around(config.Skipper, func(c echo.Context, next echo.HandlerFunc) error {
		r := c.Request()
		admitted, err := gate.Admit(c.Response().Header(), r, pattern(c))
		defer func() { request.GiveBack(r, c.Request()) }()
		c.SetRequest(admitted)
		if err != nil {
			return refuse(c, err, config.Options.ErrorHandler)
		}
		if gate.Settles() {
			return settle(gate, admitted, c, next)
		}
		return next(c)
	}), nil
}

// settle calls next, and settles the request when next has returned or panicked. An error
// is answered first, because its answer has the status.
func settle(gate *ratelimit.Gate, r *http.Request, c echo.Context, next echo.HandlerFunc) error {
	response, returned := c.Response(), false
	defer func() {
		done := ratelimit.Response{Bytes: response.Size, Panicked: !returned}
		if response.Committed {
			done.Status = response.Status
		}
		gate.Settle(r, done)
	}()
	err := next(c)
	if err != nil && !response.Committed {
		c.Error(err)
	}
	returned = true
	return err
}

// pattern returns the route that Echo matched, for rules with PerRoute. It is empty
// before routing.
func pattern(c echo.Context) string {
	if path := c.Path(); path != "" && c.Get(echo.ContextKeyHeaderAllow) == nil {
		return path
	}
	// Either no route matches (or none with this method), or Echo has not routed yet. Ask
	// the router, with a context that is thrown away.
	e, r := c.Echo(), c.Request()
	router, ok := e.Routers()[r.Host]
	if !ok {
		router = e.Router()
	}
	probe := e.NewContext(r, nil)
	router.Find(r.Method, echo.GetPath(r), probe)
	if probe.Path() != "" && probe.Get(echo.ContextKeyHeaderAllow) == nil {
		return ""
	}
	return ratelimit.NoRoute
}
