package main

import (
	"errors"
	"net/http"

	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v5"
)

// onEcho5 mounts the routes on Echo v5.
func onEcho5(limiter *ratelimit.Limiter, routes []route) http.Handler {
	e := echo.New()
	others := echo.DefaultHTTPErrorHandler(false)
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		if out, _ := echo.UnwrapResponse(c.Response()); out != nil && out.Committed { // asked a second time
			return
		}
		var denied *ratelimit.Refusal
		if errors.As(err, &denied) {
			denied.Verdict.Respond(c.Response(), c.Request()) // problem details, as with net/http
			return
		}
		others(c, err)
	}
	for _, r := range routes {
		var limit []echo.MiddlewareFunc
		if len(r.rules) > 0 {
			limit = append(limit, gateecho5.RateLimit(limiter, r.rules...))
		}
		e.Match(methods, r.path(), func(c *echo.Context) error {
			r.serve(c.Response(), c.Request())
			return nil
		}, limit...)
	}
	return e
}
