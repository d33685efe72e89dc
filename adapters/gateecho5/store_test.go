package gateecho5_test

import (
	"net/http/httptest"
	"testing"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

// Users of Echo's limiter keep the fields that its own store sends.
func TestRateLimiterStoreSendsEchosFields(t *testing.T) {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()
	policy := ratelimit.MustPolicy("store", ratelimit.PerMinute(2), ratelimit.PerHour(10))
	byIP := ratelimit.MustByIP(ratelimit.IPOptions{})
	e := echo.New()
	e.Use(middleware.RateLimiterWithConfig(middleware.RateLimiterConfig{
		IdentifierExtractor: func(c *echo.Context) (string, error) { return byIP(c.Request()) },
		Store:               gateecho5.NewRateLimiterStore(limiter, policy),
	}))
	e.GET("/", empty)
	for i, want := range []struct {
		status                  int
		limit, remaining, retry string
	}{{200, "2", "1", ""}, {200, "2", "0", ""}, {429, "2", "0", "60"}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Forwarded-For", string(rune('1'+i))+".2.3.4") // made up; nothing may believe it
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		h := w.Header()
		if w.Code != want.status || h.Get("X-RateLimit-Limit") != want.limit || h.Get("X-RateLimit-Remaining") != want.remaining || h.Get("Retry-After") != want.retry {
			t.Errorf("request %d: got %d and %v, want %+v", i, w.Code, h, want)
		}
	}
	store := gateecho5.NewRateLimiterStore(limiter, policy)
	for i, want := range []bool{true, true, false} {
		if ok, err := store.Allow("x"); ok != want || err != nil {
			t.Errorf("Allow %d: %v, %v, want %v", i, ok, err, want)
		}
	}
	c := e.NewContext(httptest.NewRequest("GET", "/", nil), httptest.NewRecorder())
	if ok, err := store.AllowContext(c, "x"); ok || err != nil || c.Response().Header().Get("Retry-After") == "" {
		t.Errorf("AllowContext: %v, %v and %v, want a denial with its fields", ok, err, c.Response().Header())
	}
	func() {
		defer func() { _ = recover() }()
		gateecho5.NewRateLimiterStore(limiter, nil)
		t.Error("no policy does not panic")
	}()
}
