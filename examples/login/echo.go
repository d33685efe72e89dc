package main

import (
	"errors"
	"net/http"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/labstack/echo/v4"
)

// onEcho mounts the routes on Echo v4.
func onEcho(a *app, routes []route) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if c.Response().Committed { // this is the second call
			return
		}
		if errors.As(err, new(*gatekit.Refusal)) { // of CrossOrigin
			a.sessions.Refuse(c.Response(), c.Request(), err)
			return
		}
		e.DefaultHTTPErrorHandler(err, c)
	}
	e.Use(gateecho.CrossOrigin(a.crossOrigin()), gateecho.Sessions(a.sessions))
	guards := byLevel(gateecho.RequireLogin(a.sessions, "/"), gateecho.RequireFresh(a.sessions, a.fresh, "/confirm"))
	for _, r := range routes {
		e.Match(r.methods(), r.colons(), func(c echo.Context) error {
			for i, name := range c.ParamNames() {
				c.Request().SetPathValue(name, c.ParamValues()[i])
			}
			r.serve(c.Response(), c.Request())
			return nil
		}, guards[r.level]...)
	}
	return e
}
