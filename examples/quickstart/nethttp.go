package main

import (
	"net/http"

	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/ratelimit"
)

// onNetHTTP mounts the routes on [http.ServeMux].
func onNetHTTP(limiter *ratelimit.Limiter, routes []route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		var h http.Handler = r.serve
		if len(r.rules) > 0 {
			h = gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, r.rules...)(h)
		}
		mux.Handle("GET "+r.pattern, h)
	}
	return mux
}
