package gategin_test

import (
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gin-gonic/gin"
)

func hello(use ...gin.HandlerFunc) http.Handler {
	engine := gin.New()
	engine.Use(use...)
	engine.GET("/hello/:name", func(c *gin.Context) { c.String(http.StatusOK, "hello") })
	return engine
}

var overhead = adaptertest.Overhead[gin.HandlerFunc]{
	Router: hello, Sessions: gategin.Sessions,
	RateLimit: gategin.MustRateLimit,
}

func TestAllocations(t *testing.T) { overhead.Allocations(t, 3) }

func BenchmarkAdapter(b *testing.B) { overhead.Benchmark(b) }
