package gateecho5

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v5"
)

// RateLimit returns a middleware that lets requests pass by the rules, in the order of
// [ratelimit.Gate.Check]. It panics on an error of [ratelimit.NewGate].
func RateLimit(limiter *ratelimit.Limiter, rules ...ratelimit.Rule) echo.MiddlewareFunc {
	return RateLimitWithConfig(RateLimitConfig{DefaultRateLimitConfig.Skipper, limiter, rules, DefaultRateLimitConfig.Gate})
}

// DefaultRateLimitConfig is what [RateLimit] starts from.
var DefaultRateLimitConfig = RateLimitConfig{Skipper: never}

// RateLimitConfig is an [echo.MiddlewareConfigurator].
type RateLimitConfig struct {
	Skipper func(*echo.Context) bool // lets requests pass that no rule shall count; nil lets none
	Limiter *ratelimit.Limiter       // required
	Rules   []ratelimit.Rule         // which policy counts which requests, and by what key: 1 to 16
	Gate    ratelimit.GateOptions    // with Respond set, blocked requests don't reach Echo's error handler
}

// RateLimitWithConfig is [RateLimitConfig.ToMiddleware]; it panics where that returns an
// error.
func RateLimitWithConfig(config RateLimitConfig) echo.MiddlewareFunc { return must(config) }

// ToMiddleware returns the middleware, or an error of [ratelimit.NewGate].
func (config RateLimitConfig) ToMiddleware() (echo.MiddlewareFunc, error) {
	gate, err := ratelimit.NewGate(config.Limiter, config.Gate, config.Rules...)
	if err != nil {
		return nil, err
	}
	return middleware(func(c *echo.Context, next echo.HandlerFunc) error {
		if config.Skipper != nil && config.Skipper(c) {
			return next(c)
		}
		r := c.Request()
		admitted, err := gate.Admit(c.Response().Header(), r, pattern(c.RouteInfo()))
		if err == nil {
			defer func() { request.GiveBack(r, c.Request()) }()
			c.SetRequest(admitted)
			return next(c)
		}
		var f *ratelimit.Refusal
		errors.As(err, &f)
		if config.Gate.Respond != nil {
			f.Verdict.Respond(c.Response(), admitted)
			return nil
		}
		return denied{f}
	}).around, nil
}

// pattern is the route that Echo matched, for rules with PerRoute; empty ahead of
// routing.
func pattern(route echo.RouteInfo) string {
	if route.Method == echo.RouteNotFound || route.Name == echo.NotFoundRouteName || route.Name == echo.MethodNotAllowedRouteName {
		return ratelimit.NoRoute
	}
	return route.Path
}

// denied is an [echo.HTTPError] around the refusal, of which Echo's error handlers send
// the problem details.
type denied struct{ *ratelimit.Refusal }

// Unwrap returns the HTTPError.
func (d denied) Unwrap() error {
	return echo.NewHTTPError(d.StatusCode(), http.StatusText(d.StatusCode())).Wrap(d.Refusal)
}

// ProblemError is for [echo.ProblemDetailsHTTPErrorHandler].
func (d denied) ProblemError() *echo.ProblemError {
	problem := &echo.ProblemError{Status: d.StatusCode()}
	_ = json.Unmarshal(d.Verdict.Body(), problem)
	return problem
}
