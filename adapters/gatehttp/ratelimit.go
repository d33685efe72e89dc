package gatehttp

import (
	"net/http"
	"path"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
)

// RateLimit returns a middleware that lets requests pass by the rules, as
// [ratelimit.Gate.Admit] does. The pattern of a request is its Pattern, which
// [http.ServeMux] sets, unless opts has a way to find it. The error is that of
// [ratelimit.NewGate]. The middleware is safe for concurrent use and may wrap many
// handlers.
func RateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) (func(http.Handler) http.Handler, error) {
	gate, err := ratelimit.NewGate(limiter, opts, rules...)
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			admitted, err := gate.Admit(w.Header(), r, r.Pattern)
			if err != nil {
				gate.Refuse(w, admitted, err)
				return
			}
			defer request.GiveBack(r, admitted)
			next.ServeHTTP(w, admitted)
		})
	}, nil
}

// MustRateLimit is RateLimit for rules that are written in the program; it panics on an
// error.
func MustRateLimit(limiter *ratelimit.Limiter, opts ratelimit.GateOptions, rules ...ratelimit.Rule) func(http.Handler) http.Handler {
	middleware, err := RateLimit(limiter, opts, rules...)
	if err != nil {
		panic(err)
	}
	return middleware
}

// MuxPattern is the Pattern of [ratelimit.GateOptions] for a middleware around the whole
// mux, which knows no pattern yet: it asks the mux, so that each request is matched
// twice. Requests that match nothing, or not with their method, are [ratelimit.NoRoute].
func MuxPattern(mux *http.ServeMux) func(*http.Request) string {
	return func(r *http.Request) string {
		_, pattern := mux.Handler(r)
		// For a CONNECT that it redirects to a trailing slash, a mux returns that path in
		// place of the pattern. The client chose it: /{tenant}/ would have as many quotas
		// as there are names.
		if pattern == "" || r.Method == http.MethodConnect && pattern == path.Clean("/"+r.URL.Path)+"/" {
			return ratelimit.NoRoute
		}
		return pattern
	}
}
