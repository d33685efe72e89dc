package dropin_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/dropin"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/go-chi/httprate"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
	"github.com/redis/go-redis/v9"
)

// embedded starts a Redis in this process, whose clock stands still so that the examples
// print the same each time. Programs connect to theirs: see gatekit.Connect.
func embedded() (client redis.UniversalClient, stop func()) {
	server, err := miniredis.Run()
	if err != nil {
		log.Fatal(err)
	}
	server.SetTime(time.Unix(1_800_000_000, 0))
	client = redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	return client, func() {
		_ = client.Close()
		server.Close()
	}
}

// get sends one request and prints the status.
func get(site http.Handler) {
	w := httptest.NewRecorder()
	site.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Code)
}

// Echo's rate limiter, v4 or v5.
func ExampleEchoStore() {
	client, stop := embedded()
	defer stop()
	e := echo.New()

	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	policy := ratelimit.MustPolicy("api", ratelimit.PerSecond(2), ratelimit.PerHour(1000))
	byIP := ratelimit.MustByIP(ratelimit.IPOptions{}) // behind proxies: TrustedProxies
	e.Use(middleware.RateLimiterWithConfig(middleware.RateLimiterConfig{
		IdentifierExtractor: func(c *echo.Context) (string, error) { return byIP(c.Request()) },
		Store:               dropin.NewEchoStore(limiter, policy),
	}))

	e.GET("/", func(c *echo.Context) error { return c.NoContent(http.StatusOK) })
	for range 3 {
		get(e)
	}
	// Output:
	// 200
	// 200
	// 429
}

// The rate limiter of go-chi/httprate.
func ExampleLimitCounter() {
	client, stop := embedded()
	defer stop()
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limit := httprate.LimitBy(2, time.Minute, httprate.KeyByEndpoint,
		httprate.WithLimitCounter(dropin.NewLimitCounter(limiter, "api", dropin.LimitCounterOptions{})),
		httprate.WithErrorHandler(dropin.HandleLimitError))

	site := limit(handler)
	for range 3 {
		get(site)
	}
	// Output:
	// 200
	// 200
	// 429
}

// The sessions of alexedwards/scs.
func ExampleSCSStore() {
	client, stop := embedded()
	defer stop()
	sessions := newManager() // as scs.New() does

	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	blobs, err := blob.New(kv, blob.Options{})
	if err != nil {
		log.Fatal(err)
	}
	sessions.Store = dropin.NewSCSStore(blobs)
	sessions.ErrorFunc = func(w http.ResponseWriter, r *http.Request, err error) {
		switch {
		case errors.Is(err, session.ErrGone): // logged out while the request ran
			http.Error(w, "session is over", http.StatusConflict)
		case errors.Is(err, session.ErrUnavailable):
			http.Error(w, "try again", http.StatusServiceUnavailable)
		default:
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}

	site := sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "visits", sessions.GetInt(r.Context(), "visits")+1)
		fmt.Fprint(w, "visit ", sessions.GetInt(r.Context(), "visits"))
	}))
	cookie := ""
	for range 2 {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("Cookie", cookie)
		site.ServeHTTP(w, r)
		cookie = w.Header().Get("Set-Cookie")
		fmt.Println(w.Body)
	}
	// Output:
	// visit 1
	// visit 2
}
