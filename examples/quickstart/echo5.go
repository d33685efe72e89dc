package main

import (
	"net/http"

	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v5"
)

// onEcho5 mounts the routes on Echo v5.
func onEcho5(limiter *ratelimit.Limiter, routes []route) http.Handler {
	e := echo.New()
	for _, r := range routes {
		var limit []echo.MiddlewareFunc
		if len(r.rules) > 0 {
			limit = append(limit, gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, r.rules...))
		}
		e.Match(methods, r.path(), func(c *echo.Context) error {
			r.serve(c.Response(), c.Request())
			return nil
		}, limit...)
	}
	return e
}
