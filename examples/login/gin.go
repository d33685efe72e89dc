package main

import (
	"net/http"

	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gin-gonic/gin"
)

func init() { gin.SetMode(gin.ReleaseMode) } // it would print every route

// onGin mounts the routes on Gin.
func onGin(a *app, routes []route) http.Handler {
	engine := gin.New()
	engine.HandleMethodNotAllowed = true // 405, not 404
	engine.RedirectTrailingSlash = false // /devices/ is no page
	engine.Use(gategin.CrossOrigin(a.crossOrigin()), gategin.Sessions(a.sessions))
	guards := byLevel(gategin.RequireLogin(a.sessions, "/"), gategin.RequireFresh(a.sessions, a.fresh, "/confirm"))
	for _, r := range routes {
		engine.Match(r.methods(), r.colons(), append(guards[r.level], func(c *gin.Context) {
			for _, p := range c.Params {
				c.Request.SetPathValue(p.Key, p.Value)
			}
			r.serve(c.Writer, c.Request)
		})...)
	}
	return engine
}
