package gatehttp

import (
	"errors"
	"net/http"
	"path"

	"github.com/gatekit/gatekit/internal/request"
	"github.com/gatekit/gatekit/ratelimit"
)

// Options of [RateLimit]; the zero value is ready to use.
type Options struct {
	// Gate are the options that all frameworks share: skip, dry run, header fields, the
	// answer to blocked requests.
	Gate ratelimit.GateOptions

	// Pattern tells the pattern that the router matched, for rules with PerRoute; see the
	// package comment. It returns [ratelimit.NoRoute] for a request that no route
	// matches, and an empty string when it cannot know. It is called by many goroutines
	// at once. Nil means the request's Pattern, which [http.ServeMux] sets.
	Pattern func(*http.Request) string
}

// RateLimit returns a middleware that lets requests pass by the rules, in the order of
// [ratelimit.Gate.Check]. The error is that of [ratelimit.NewGate]. The middleware is
// safe for concurrent use and may wrap many handlers.
func RateLimit(limiter *ratelimit.Limiter, opts Options, rules ...ratelimit.Rule) (func(http.Handler) http.Handler, error) {
	gate, err := ratelimit.NewGate(limiter, opts.Gate, rules...)
	if err != nil {
		return nil, err
	}
	pattern := opts.Pattern
	if pattern == nil {
		pattern = func(r *http.Request) string { return r.Pattern }
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			admitted, err := gate.Admit(w.Header(), r, pattern(r))
			if err != nil {
				var denied *ratelimit.Refusal
				errors.As(err, &denied)
				denied.Verdict.Respond(w, admitted)
				return
			}
			defer request.GiveBack(r, admitted)
			next.ServeHTTP(w, admitted)
		})
	}, nil
}

// MustRateLimit is RateLimit for rules that are written in the program; it panics on an
// error.
func MustRateLimit(limiter *ratelimit.Limiter, opts Options, rules ...ratelimit.Rule) func(http.Handler) http.Handler {
	middleware, err := RateLimit(limiter, opts, rules...)
	if err != nil {
		panic(err)
	}
	return middleware
}

// MuxPattern is the Options.Pattern of a middleware around the whole mux, which knows no
// pattern yet: it asks the mux, so that each request is matched twice. Requests that
// match nothing, or not with their method, are [ratelimit.NoRoute].
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
