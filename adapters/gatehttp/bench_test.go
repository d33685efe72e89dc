package gatehttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// BenchmarkRateLimit shows how much more a request costs behind the middleware, and how
// much of that is the limiter's call.
func BenchmarkRateLimit(b *testing.B) {
	limiter := newLimiter(b, redistest.Single(b).Client(b))
	wide := ratelimit.Limit{Name: "hour", Quota: 1e9, Window: 3600e9, Algorithm: ratelimit.SlidingBuckets}
	first, second := ratelimit.MustPolicy("first", wide), ratelimit.MustPolicy("second", wide)
	tight := ratelimit.MustPolicy("tight", ratelimit.PerHour(1))
	rule := ratelimit.Rule{Policy: first, Key: byIP}
	run := func(name string, h http.Handler) {
		b.Run(name, func(b *testing.B) {
			w, r := discard{http.Header{}}, httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-Api-Key", "k1")
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	opts := ratelimit.GateOptions{}
	run("without", nothing)
	run("limiter alone", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if d, err := limiter.Take(r.Context(), first, "key"); err != nil || !d.Allowed {
			b.Error(d, err)
		}
	}))
	run("one rule", gatehttp.MustRateLimit(limiter, opts, rule)(nothing))
	run("two rules", gatehttp.MustRateLimit(limiter, opts, rule, ratelimit.Rule{Policy: second, Key: byKey})(nothing))
	run("denied", gatehttp.MustRateLimit(limiter, opts, ratelimit.Rule{Policy: tight, Key: byIP})(nothing))
}
