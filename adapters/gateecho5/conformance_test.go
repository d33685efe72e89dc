package gateecho5_test

import (
	"io"
	"log/slog"
	"net/http"
	"testing"
	"testing/fstest"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

func TestMain(m *testing.M) { redistest.Main(m) }

func TestConformance(t *testing.T) {
	files := fstest.MapFS{"x": {Data: []byte("body")}}
	adaptertest.Run(t, adaptertest.Framework[echo.MiddlewareFunc, echo.HandlerFunc]{
		Handler: func(_ *session.Manager, h adaptertest.Handler) echo.HandlerFunc {
			return func(c *echo.Context) error { return h(c.Response(), c.Request()) }
		},
		Recover: middleware.Recover, Router: serving,
		Beneath: func(w http.ResponseWriter) http.ResponseWriter {
			own, _ := echo.UnwrapResponse(w)
			return own.Unwrap()
		},
		Logout: gateecho5.Logout, LogoutEverywhere: gateecho5.LogoutEverywhere, Devices: gateecho5.Devices, Sessions: gateecho5.Sessions, RateLimit: gateecho5.MustRateLimit,
		CrossOrigin: gateecho5.CrossOrigin, RequireFresh: gateecho5.RequireFresh, RequireLevel: gateecho5.RequireLevel, RequireLogin: gateecho5.RequireLogin,
		Answers: adaptertest.EchoAnswers(gateecho5.Session,
			own("FileFS", 200, "body", func(c *echo.Context) error { return c.FileFS("x", files) }),
			own("HTTPError", 400, `{"message":"no"}`+"\n", func(*echo.Context) error { return echo.NewHTTPError(400, "no") }),
		),
	})
}

var own = adaptertest.NewAnswer[echo.HandlerFunc]

type mount = func(method, path string, h echo.HandlerFunc, use []echo.MiddlewareFunc)

func serving(around []echo.MiddlewareFunc) (http.Handler, func(string, []echo.MiddlewareFunc) mount) {
	e := echo.NewWithConfig(echo.Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	e.Use(around...)
	return e, func(prefix string, use []echo.MiddlewareFunc) mount {
		in := e.Group(prefix, use...)
		return func(method, path string, h echo.HandlerFunc, use []echo.MiddlewareFunc) {
			in.Add(method, adaptertest.Colons(path), h, use...)
		}
	}
}
