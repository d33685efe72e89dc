package main

import (
	"errors"
	"net/http"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/labstack/echo/v5"
)

// onEcho5 mounts the routes on Echo v5.
func onEcho5(a *app, routes []route) http.Handler {
	e := echo.New()
	others := echo.DefaultHTTPErrorHandler(false)
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		if out, _ := echo.UnwrapResponse(c.Response()); out != nil && out.Committed { // this is the second call
			return
		}
		if errors.As(err, new(*gatekit.Refusal)) { // of CrossOrigin
			a.sessions.Refuse(c.Response(), c.Request(), err)
			return
		}
		others(c, err)
	}
	e.Use(gateecho5.CrossOrigin(a.crossOrigin()), gateecho5.Sessions(a.sessions))
	guards := byLevel(gateecho5.RequireLogin(a.sessions, "/"), gateecho5.RequireFresh(a.sessions, a.fresh, "/confirm"))
	for _, r := range routes {
		e.Match(r.methods(), r.colons(), func(c *echo.Context) error {
			for _, p := range c.PathValues() {
				c.Request().SetPathValue(p.Name, p.Value)
			}
			r.serve(c.Response(), c.Request())
			return nil
		}, guards[r.level]...)
	}
	return e
}
