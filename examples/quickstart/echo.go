package main

import (
	"net/http"

	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v4"
)

// onEcho mounts the routes on Echo v4.
func onEcho(limiter *ratelimit.Limiter, routes []route) http.Handler {
	e := echo.New()
	for _, r := range routes {
		var limit []echo.MiddlewareFunc
		if len(r.rules) > 0 {
			limit = append(limit, gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, r.rules...))
		}
		e.Match(methods, r.path(), func(c echo.Context) error {
			r.serve(c.Response(), c.Request())
			return nil
		}, limit...)
	}
	return e
}
