package gateecho_test

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

func TestMain(m *testing.M) { redistest.Main(m) }

type (
	layers = []echo.MiddlewareFunc
	add    = adaptertest.Add[echo.MiddlewareFunc, echo.HandlerFunc]
)

var answer = adaptertest.NewAnswer[echo.HandlerFunc]

func TestConformance(t *testing.T) {
	adaptertest.Run(t, adaptertest.Framework[echo.MiddlewareFunc, echo.HandlerFunc]{
		Sessions: gateecho.Sessions, RequireLogin: gateecho.RequireLogin, RequireFresh: gateecho.RequireFresh, RequireLevel: gateecho.RequireLevel,
		Devices: gateecho.Devices, Logout: gateecho.Logout, LogoutEverywhere: gateecho.LogoutEverywhere, CrossOrigin: gateecho.CrossOrigin, RateLimit: gateecho.MustRateLimit,
		Recover: middleware.Recover, Beneath: adaptertest.Unwrap, Router: router,
		Handler: func(_ *session.Manager, h adaptertest.Handler) echo.HandlerFunc {
			return func(c echo.Context) error { return h(c.Response(), c.Request()) }
		},
		Answers: adaptertest.EchoAnswers(gateecho.Session,
			answer("HTTPError", 404, `{"message":"Not Found"}`+"\n", func(echo.Context) error { return echo.ErrNotFound }),
			answer("Error", 500, "*", func(c echo.Context) error { c.Error(errors.New("on purpose")); return nil }),
			answer("Attachment", 200, "*", func(c echo.Context) error { return c.Attachment("conformance_test.go", "x") }),
		),
	})
}

func router(use layers) (http.Handler, func(string, layers) add) {
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	e.Use(use...)
	return e, func(prefix string, use layers) add {
		group := e.Group(prefix, use...)
		return func(method, path string, h echo.HandlerFunc, use layers) {
			group.Add(method, adaptertest.Colons(path), h, use...)
		}
	}
}
