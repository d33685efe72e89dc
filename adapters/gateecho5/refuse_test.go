package gateecho5_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/labstack/echo/v5"
)

// A handler of errors that sends the status alone, as JSON, does not lose it.
func TestRefusalWithoutBodyKeepsItsStatus(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	for _, method := range []string{"GET", "HEAD"} {
		e := echo.New()
		e.HTTPErrorHandler = func(c *echo.Context, err error) {
			c.Response().Header().Set("Content-Type", "application/json")
			_ = c.NoContent(http.StatusUnauthorized)
		}
		e.Use(gateecho5.Sessions(manager))
		e.Add(method, "/", func(c *echo.Context) error { return c.String(200, "in") }, gateecho5.RequireLogin(manager, ""))
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest(method, "/", nil))
		if w.Code != 401 {
			t.Errorf("%s: got %d, want 401", method, w.Code)
		}
	}
}
