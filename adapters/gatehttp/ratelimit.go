package gatehttp

import (
	"net/http"
	"path"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
)

// RateLimit returns a middleware that admits requests by the rules; see
// [ratelimit.Gate.Admit]. The pattern is the Pattern of the request, which
// [http.ServeMux] sets, unless opts.Pattern is set. The error is that of
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
			if gate.Settles() {
				settle(gate, w, admitted, next)
				return
			}
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

// MuxPattern returns a Pattern for the [ratelimit.GateOptions] of a middleware around the
// whole mux. There the request has no pattern yet, so the function asks the mux; each
// request is matched twice. It returns [ratelimit.NoRoute] for a request that matches no
// pattern, or none with its method.
func MuxPattern(mux *http.ServeMux) func(*http.Request) string {
	return func(r *http.Request) string {
		_, pattern := mux.Handler(r)
		// When a mux redirects a CONNECT to a trailing slash, it returns the path in
		// place of the pattern. The client chose that path: with /{tenant}/ each name
		// would have a quota of its own.
		if pattern == "" || r.Method == http.MethodConnect && pattern == path.Clean("/"+r.URL.Path)+"/" {
			return ratelimit.NoRoute
		}
		return pattern
	}
}
