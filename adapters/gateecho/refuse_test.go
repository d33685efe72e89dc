package gateecho_test

import (
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/labstack/echo/v4"
)

// A handler of errors that sends the status alone, as JSON, does not lose it.
func TestRefusalWithoutBodyKeepsItsStatus(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	for _, method := range []string{"GET", "HEAD"} {
		e := quiet()
		e.HTTPErrorHandler = func(err error, c echo.Context) {
			c.Response().Header().Set("Content-Type", "application/json")
			_ = c.NoContent(http.StatusUnauthorized)
		}
		e.Use(gateecho.Sessions(manager))
		e.Add(method, "/", func(c echo.Context) error { return c.String(200, "in") }, gateecho.RequireLogin(manager, ""))
		w := ask(e, method, "/")
		if w.Code != 401 {
			t.Errorf("%s: got %d, want 401", method, w.Code)
		}
	}
}
