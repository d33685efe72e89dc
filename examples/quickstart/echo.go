package main

import (
	"errors"
	"net/http"

	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v4"
)

// onEcho mounts the routes on Echo v4.
func onEcho(limiter *ratelimit.Limiter, routes []route) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if c.Response().Committed { // asked a second time
			return
		}
		var denied *ratelimit.Refusal
		if errors.As(err, &denied) {
			denied.Verdict.Respond(c.Response(), c.Request()) // problem details, as with net/http
			return
		}
		e.DefaultHTTPErrorHandler(err, c)
	}
	for _, r := range routes {
		var limit []echo.MiddlewareFunc
		if len(r.rules) > 0 {
			limit = append(limit, gateecho.RateLimit(limiter, r.rules...))
		}
		e.Match(methods, r.path(), func(c echo.Context) error {
			r.serve(c.Response(), c.Request())
			return nil
		}, limit...)
	}
	return e
}
