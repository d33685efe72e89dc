package gateecho_test

import (
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/labstack/echo/v4"
)

var overhead = adaptertest.Overhead[echo.MiddlewareFunc]{Sessions: gateecho.Sessions, Router: hello, RateLimit: gateecho.MustRateLimit}

func hello(use ...echo.MiddlewareFunc) http.Handler {
	e := echo.New()
	e.Use(use...)
	e.GET("/hello/:name", func(c echo.Context) error { return c.String(http.StatusOK, "hello") })
	return e
}

func TestAllocations(t *testing.T) { overhead.Allocations(t, 3) }

func BenchmarkAdapter(b *testing.B) { overhead.Benchmark(b) }
