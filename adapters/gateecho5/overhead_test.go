package gateecho5_test

import (
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/labstack/echo/v5"
)

var overhead = adaptertest.Overhead[echo.MiddlewareFunc]{
	Sessions:  gateecho5.Sessions,
	RateLimit: gateecho5.MustRateLimit,
	Router: func(use ...echo.MiddlewareFunc) http.Handler {
		e := echo.New()
		e.GET("/hello/:name", func(c *echo.Context) error { return c.String(http.StatusOK, "hello") })
		e.Use(use...)
		return e
	},
}

func BenchmarkAdapter(b *testing.B) { overhead.Benchmark(b) }

func TestAllocations(t *testing.T) { overhead.Allocations(t, 3) }
