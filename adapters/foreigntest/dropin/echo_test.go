package dropin_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/dropin"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	echo4 "github.com/labstack/echo/v4"
	middleware4 "github.com/labstack/echo/v4/middleware"
	echo5 "github.com/labstack/echo/v5"
	middleware5 "github.com/labstack/echo/v5/middleware"
)

var (
	_ middleware4.RateLimiterStore = (*dropin.EchoStore)(nil)
	_ middleware5.RateLimiterStore = (*dropin.EchoStore)(nil)
)

// echoSite says how Echo's middleware is set up; a function that is nil leaves the
// default.
type echoSite struct {
	skip     func() bool
	before   func()
	byHeader bool            // by X-User, an error without it; else by address
	denied   func(error) int // the status of a custom DenyHandler
	failed   int             // the status of a custom ErrorHandler
}

// each4and5 runs f with the middleware of both versions around a handler that answers
// 200.
func each4and5(t *testing.T, f func(t *testing.T, serve func(site echoSite, store *dropin.EchoStore) http.Handler)) {
	t.Run("v4", func(t *testing.T) {
		f(t, func(site echoSite, store *dropin.EchoStore) http.Handler {
			config := middleware4.RateLimiterConfig{Store: store}
			if site.skip != nil {
				config.Skipper = func(echo4.Context) bool { return site.skip() }
			}
			if site.before != nil {
				config.BeforeFunc = func(echo4.Context) { site.before() }
			}
			if site.byHeader {
				config.IdentifierExtractor = func(c echo4.Context) (string, error) { return user(c.Request()) }
			}
			if site.denied != nil {
				config.DenyHandler = func(c echo4.Context, _ string, err error) error { return c.NoContent(site.denied(err)) }
			}
			if site.failed != 0 {
				config.ErrorHandler = func(c echo4.Context, _ error) error { return c.NoContent(site.failed) }
			}
			e := echo4.New()
			e.Use(middleware4.RateLimiterWithConfig(config))
			e.GET("/", func(c echo4.Context) error { return c.NoContent(http.StatusOK) })
			return e
		})
	})
	t.Run("v5", func(t *testing.T) {
		f(t, func(site echoSite, store *dropin.EchoStore) http.Handler {
			config := middleware5.RateLimiterConfig{Store: store}
			if site.skip != nil {
				config.Skipper = func(*echo5.Context) bool { return site.skip() }
			}
			if site.before != nil {
				config.BeforeFunc = func(*echo5.Context) { site.before() }
			}
			if site.byHeader {
				config.IdentifierExtractor = func(c *echo5.Context) (string, error) { return user(c.Request()) }
			}
			if site.denied != nil {
				config.DenyHandler = func(c *echo5.Context, _ string, err error) error { return c.NoContent(site.denied(err)) }
			}
			if site.failed != 0 {
				config.ErrorHandler = func(c *echo5.Context, _ error) error { return c.NoContent(site.failed) }
			}
			e := echo5.New()
			e.Use(middleware5.RateLimiterWithConfig(config))
			e.GET("/", func(c *echo5.Context) error { return c.NoContent(http.StatusOK) })
			return e
		})
	})
}

func user(r *http.Request) (string, error) {
	if id := r.Header.Get("X-User"); id != "" {
		return id, nil
	}
	return "", errors.New("nobody")
}

// codes are the statuses of requests by these users, one after the other.
func codes(site http.Handler, users ...string) (got []int) {
	for _, id := range users {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-User", id)
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		got = append(got, w.Code)
	}
	return got
}

var threeAMinute = ratelimit.MustPolicy("echo", ratelimit.PerMinute(3))

func TestEchoMiddleware(t *testing.T) {
	redistest.Long(t)
	a, b := "a", "b"
	var ran bool
	for _, c := range []struct {
		name  string
		site  echoSite
		users []string
		want  []int
	}{
		{"by default", echoSite{}, []string{a, b, a, a, b}, []int{200, 200, 200, 429, 429}}, // by address, all the same
		{"by user", echoSite{byHeader: true}, []string{a, a, a, a, b, a, b}, []int{200, 200, 200, 429, 200, 429, 200}},
		{"no user", echoSite{byHeader: true}, []string{a, "", a, a, a}, []int{200, 403, 200, 200, 429}},
		{"own handlers", echoSite{byHeader: true, denied: func(error) int { return 418 }, failed: 400},
			[]string{a, a, a, a, "", a}, []int{200, 200, 200, 418, 400, 418}},
		{"skipped", echoSite{skip: func() bool { return true }, before: func() { t.Error("BeforeFunc of a skipped request") }},
			[]string{a, a, a, a, a}, []int{200, 200, 200, 200, 200}},
		{"not skipped", echoSite{skip: func() bool { return false }, before: func() { ran = true }}, []string{a, a, a, a}, []int{200, 200, 200, 429}},
	} {
		t.Run(c.name, func(t *testing.T) {
			each4and5(t, func(t *testing.T, serve func(echoSite, *dropin.EchoStore) http.Handler) {
				ran = c.site.before == nil
				store := dropin.NewEchoStore(newLimiter(t, redistest.Single(t).Client(t)), threeAMinute)
				if got := codes(serve(c.site, store), c.users...); !slices.Equal(got, c.want) {
					t.Errorf("statuses %v, want %v", got, c.want)
				}
				if !ran && c.name == "not skipped" {
					t.Error("BeforeFunc did not run")
				}
			})
		})
	}
}

// With the code of the page, neither a made-up X-Forwarded-For nor the many addresses of
// one IPv6 line get past the limit.
func TestEchoPageLimitsAsWritten(t *testing.T) {
	byIP := ratelimit.MustByIP(ratelimit.IPOptions{})
	for version, serve := range map[string]func(*dropin.EchoStore) http.Handler{
		"v4": func(store *dropin.EchoStore) http.Handler {
			e := echo4.New()
			e.Use(middleware4.RateLimiterWithConfig(middleware4.RateLimiterConfig{
				IdentifierExtractor: func(c echo4.Context) (string, error) { return byIP(c.Request()) },
				Store:               store,
			}))
			e.GET("/", func(c echo4.Context) error { return c.NoContent(http.StatusOK) })
			return e
		},
		"v5": func(store *dropin.EchoStore) http.Handler {
			e := echo5.New()
			e.Use(middleware5.RateLimiterWithConfig(middleware5.RateLimiterConfig{
				IdentifierExtractor: func(c *echo5.Context) (string, error) { return byIP(c.Request()) },
				Store:               store,
			}))
			e.GET("/", func(c *echo5.Context) error { return c.NoContent(http.StatusOK) })
			return e
		},
	} {
		site := serve(dropin.NewEchoStore(newLimiter(t, redistest.Embedded(t).Client(t)), threeAMinute))
		for name, request := range map[string]func(i int, r *http.Request){
			"X-Forwarded-For": func(i int, r *http.Request) { r.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i)) },
			"one IPv6 line":   func(i int, r *http.Request) { r.RemoteAddr = fmt.Sprintf("[2001:db8::%x]:1", i) },
		} {
			passed := 0
			for i := range 20 {
				r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
				request(i+1, r)
				site.ServeHTTP(w, r)
				if w.Code == http.StatusOK {
					passed++
				}
			}
			if passed != 3 {
				t.Errorf("%s, %s: %d of 20 passed, want 3", version, name, passed)
			}
		}
	}
}

// Echo's own store is a token bucket. This one is a window: at most 3 requests in any
// second, and a permit comes back 1 s after it was spent.
func TestEchoStoreIsAWindow(t *testing.T) {
	redistest.Long(t)
	server := redistest.Embedded(t)
	store := dropin.NewEchoStore(newLimiter(t, server.Client(t)), ratelimit.MustPolicy("echo", ratelimit.PerSecond(3)))
	start := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		ms   int
		id   string
		want bool
	}{
		{0, "a", true}, {220, "a", true}, {440, "a", true}, {660, "a", false}, {880, "a", false}, {999, "a", false},
		{1000, "a", true}, {1001, "a", false}, {1100, "b", true}, {1219, "a", false}, {1220, "a", true}, {1540, "a", true}, {1760, "a", false},
		{9000, "a", true}, {9000, "a", true}, {9000, "a", true}, {9999, "a", false},
	} {
		t.Run(fmt.Sprintf("%s at %d ms", c.id, c.ms), func(t *testing.T) {
			server.Miniredis().SetTime(start.Add(time.Duration(c.ms) * time.Millisecond))
			if got, err := store.Allow(c.id); got != c.want || err != nil {
				t.Errorf("%s at %d ms: %v, %v, want %v", c.id, c.ms, got, err, c.want)
			}
		})
	}
}

// The two processes of the test share a quota, and no parallel requests get past it.
func TestEchoStoreInParallel(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		prefix := redistest.Prefix(t)
		var stores []*dropin.EchoStore
		for range 2 {
			limiter, err := ratelimit.New(kvtest.Open(t, server.Client(t), gatekit.Options{Prefix: prefix, Budget: 5 * time.Second}), ratelimit.Options{})
			if err != nil {
				t.Fatal(err)
			}
			stores = append(stores, dropin.NewEchoStore(limiter, ratelimit.MustPolicy("echo", ratelimit.PerHour(30))))
		}
		var allowed atomic.Int64
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				ok, err := stores[i%2].Allow("")
				if err != nil {
					t.Error(err)
				}
				if ok {
					allowed.Add(1)
				}
			})
		}
		wg.Wait()
		if got := allowed.Load(); got != 30 {
			t.Errorf("%d allowed, want 30", got)
		}
	})
}

func TestEchoStoreWhenRedisIsAway(t *testing.T) {
	limiter := newLimiter(t, nowhere(t))
	for _, c := range []struct {
		mode ratelimit.FailMode
		want []int
	}{
		{ratelimit.FailOpen, []int{200, 200, 200, 200}},
		{ratelimit.FailClosed, []int{503, 503, 503, 503}},
		{ratelimit.FailLocal, []int{200, 200, 200, 503}},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			each4and5(t, func(t *testing.T, serve func(echoSite, *dropin.EchoStore) http.Handler) {
				store := dropin.NewEchoStore(limiter, threeAMinute.OnFailure(c.mode))
				site := serve(echoSite{byHeader: true, denied: func(err error) int {
					if errors.Is(err, gatekit.ErrUnavailable) {
						return http.StatusServiceUnavailable
					}
					return http.StatusTooManyRequests
				}}, store)
				if got := codes(site, t.Name(), t.Name(), t.Name(), t.Name()); !slices.Equal(got, c.want) {
					t.Errorf("statuses %v, want %v", got, c.want)
				}
			})
		})
	}
	if ok, err := dropin.NewEchoStore(limiter, threeAMinute.OnFailure(ratelimit.FailOpen)).Allow("x"); !ok || err != nil {
		t.Errorf("open: %v, %v; an error beside true would be taken for a refusal", ok, err)
	}
}

func TestConstructorsRefuseNil(t *testing.T) {
	limiter := newLimiter(t, nowhere(t))
	for name, f := range map[string]func(){
		"EchoStore without limiter":    func() { dropin.NewEchoStore(nil, threeAMinute) },
		"EchoStore without policy":     func() { dropin.NewEchoStore(limiter, nil) },
		"LimitCounter without limiter": func() { dropin.NewLimitCounter(nil, "x", dropin.LimitCounterOptions{}) },
		"LimitCounter with no name":    func() { dropin.NewLimitCounter(limiter, "", dropin.LimitCounterOptions{}) },
		"Limiter without limiter":      func() { dropin.NewLimiter(nil, dropin.LimiterOptions{}) },
		"Limiter with a bad name":      func() { dropin.NewLimiter(limiter, dropin.LimiterOptions{Name: "a b"}) },
		"Limiter with a bad limit":     func() { dropin.NewLimiter(limiter, dropin.LimiterOptions{Limits: []dropin.Limit{{}}}) },
		"SCSStore without store":       func() { dropin.NewSCSStore(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			func() {
				defer func() {
					r := strings.ToLower(fmt.Sprint(recover()))
					if _, what, missing := strings.Cut(name, " without "); r == "<nil>" || missing && !strings.Contains(r, what+" is nil: make it") {
						t.Errorf("panics with %s", r)
					}
				}()
				f()
			}()
		})
	}
}
