package gateecho

import (
	"errors"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v4"
)

// RateLimitConfig configures [RateLimitWithConfig].
type RateLimitConfig struct {
	// Skipper lets requests pass that no rule shall count; nil lets none.
	Skipper func(echo.Context) bool

	// Limiter counts. Required.
	Limiter *ratelimit.Limiter

	// Rules say which policy counts which requests, and by what key: 1 to 16.
	Rules []ratelimit.Rule

	// Gate are the options that all frameworks share. With Respond set, blocked requests
	// don't reach Echo's error handler.
	Gate ratelimit.GateOptions
}

// DefaultRateLimitConfig is what [RateLimit] starts from.
var DefaultRateLimitConfig = RateLimitConfig{Skipper: never}

// RateLimit returns a middleware that lets requests pass by the rules, in the order of
// [ratelimit.Gate.Check]. It panics on an error of [ratelimit.NewGate].
func RateLimit(limiter *ratelimit.Limiter, rules ...ratelimit.Rule) echo.MiddlewareFunc {
	return RateLimitWithConfig(RateLimitConfig{DefaultRateLimitConfig.Skipper, limiter, rules, DefaultRateLimitConfig.Gate})
}

// RateLimitWithConfig is RateLimit with a config.
func RateLimitWithConfig(config RateLimitConfig) echo.MiddlewareFunc {
	middleware, err := config.ToMiddleware()
	if err != nil {
		panic(err)
	}
	return middleware
}

// ToMiddleware is RateLimitWithConfig with an error in place of the panic.
func (config RateLimitConfig) ToMiddleware() (echo.MiddlewareFunc, error) {
	gate, err := ratelimit.NewGate(config.Limiter, config.Gate, config.Rules...)
	if err != nil {
		return nil, err
	}
	return around(config.Skipper, func(c echo.Context, next echo.HandlerFunc) error {
		r := c.Request()
		admitted, err := gate.Admit(c.Response().Header(), r, pattern(c))
		if err == nil {
			defer func() { request.GiveBack(r, c.Request()) }()
			c.SetRequest(admitted)
			return next(c)
		}
		var denied *ratelimit.Refusal
		errors.As(err, &denied)
		if config.Gate.Respond != nil {
			denied.Verdict.Respond(c.Response(), admitted)
			return nil
		}
		return echo.NewHTTPError(denied.StatusCode(), denied).SetInternal(denied)
	}), nil
}

// pattern is the route that Echo matched, for rules with PerRoute; empty ahead of
// routing.
func pattern(c echo.Context) string {
	if path := c.Path(); path != "" && c.Get(echo.ContextKeyHeaderAllow) == nil {
		return path
	}
	// No route matches, or none with this method, or Echo has not looked yet: look, with
	// a context to throw away.
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
