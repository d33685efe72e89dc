package main

import (
	"net/http"
	"slices"

	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gin-gonic/gin"
)

func init() { gin.SetMode(gin.ReleaseMode) } // it would print every route

// onGin mounts the routes on Gin.
func onGin(limiter *ratelimit.Limiter, routes []route) http.Handler {
	engine := gin.New()
	engine.HandleMethodNotAllowed = true // 405, not 404
	engine.RedirectTrailingSlash = false // 404, as everywhere else
	for _, r := range routes {
		handlers := []gin.HandlerFunc{func(c *gin.Context) { r.serve(c.Writer, c.Request) }}
		if len(r.rules) > 0 {
			handlers = slices.Insert(handlers, 0, gategin.MustRateLimit(limiter, ratelimit.GateOptions{}, r.rules...))
		}
		engine.Match(methods, r.path(), handlers...)
	}
	return engine
}
