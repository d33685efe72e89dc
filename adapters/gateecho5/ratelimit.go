package gateecho5

import (
	"net/http"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v5"
)

// RateLimit returns a middleware that admits requests by the rules; see
// [ratelimit.Gate.Admit]. The pattern of a request is the Path of c.RouteInfo(), unless
// opts.Pattern is set. The error is that of [ratelimit.NewGate].
func RateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) (echo.MiddlewareFunc, error) {
	return RateLimitConfig{Limiter: limiter, Rules: rules, Options: opts}.ToMiddleware()
}

// MustRateLimit is RateLimit for rules that are written in the program; it panics on an
// error.
func MustRateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) echo.MiddlewareFunc {
	return RateLimitWithConfig(RateLimitConfig{Limiter: limiter, Rules: rules, Options: opts})
}

// RateLimitConfig is an [echo.MiddlewareConfigurator].
type RateLimitConfig struct {
	Skipper func(*echo.Context) bool // reports whether a request passes uncounted; nil counts all
	Limiter *ratelimit.Limiter       // required
	Rules   []ratelimit.Rule         // which policy counts which requests, and by which key: 1 to 16
	Options ratelimit.GateOptions    // the same for all frameworks
}

// RateLimitWithConfig is [RateLimitConfig.ToMiddleware], but panics on an error.
func RateLimitWithConfig(config RateLimitConfig) echo.MiddlewareFunc { return must(config) }

// ToMiddleware returns the middleware, or an error of [ratelimit.NewGate].
func (config RateLimitConfig) ToMiddleware() (echo.MiddlewareFunc, error) {
	gate, err := ratelimit.NewGate(config.Limiter, config.Options, config.Rules...)
	if err != nil {
		return nil, err
	}
	return middleware(func(c *echo.Context, next echo.HandlerFunc) error {
		if config.Skipper != nil && config.Skipper(c) {
			return next(c)
		}
		r := c.Request()
		admitted, err := gate.Admit(c.Response().Header(), r, pattern(c.RouteInfo()))
		defer func() { request.GiveBack(r, c.Request()) }()
		c.SetRequest(admitted)
		if err != nil {
			return refuse(c, err, config.Options.ErrorHandler)
		}
		if gate.Settles() {
			return settle(gate, admitted, c, next)
		}
		return next(c)
	}).around, nil
}

// settle calls next, and settles the request when next has returned or panicked. An error
// is answered first, because its answer has the status.
func settle(gate *ratelimit.Gate, r *http.Request, c *echo.Context, next echo.HandlerFunc) error {
	response, _ := echo.UnwrapResponse(c.Response())
	returned := false
	defer func() {
		done := ratelimit.Response{Panicked: !returned}
		if response != nil {
			done.Bytes = response.Size
			if response.Committed {
				done.Status = response.Status
			}
		}
		gate.Settle(r, done)
	}()
	err := next(c)
	if err != nil && (response == nil || !response.Committed) {
		c.Echo().HTTPErrorHandler(c, err)
	}
	returned = true
	return err
}

// pattern returns the route that Echo matched, for rules with PerRoute. It is empty
// before routing.
func pattern(route echo.RouteInfo) string {
	if route.Method == echo.RouteNotFound || route.Name == echo.NotFoundRouteName || route.Name == echo.MethodNotAllowedRouteName {
		return ratelimit.NoRoute
	}
	return route.Path
}
