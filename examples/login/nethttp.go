package main

import (
	"net/http"
	"slices"

	"github.com/gatekit/gatekit/adapters/gatehttp"
)

// onNetHTTP mounts the routes on [http.ServeMux].
func onNetHTTP(a *app, routes []route) http.Handler {
	guards := byLevel(gatehttp.RequireLogin(a.sessions, "/"), gatehttp.RequireFresh(a.sessions, a.fresh, "/confirm"))
	mux := http.NewServeMux()
	for _, r := range routes {
		var h http.Handler = r.serve
		for _, guard := range slices.Backward(guards[r.level]) {
			h = guard(h)
		}
		mux.Handle(r.method+" "+r.pattern, h)
	}
	return gatehttp.CrossOrigin(a.crossOrigin())(gatehttp.Sessions(a.sessions)(mux))
}
