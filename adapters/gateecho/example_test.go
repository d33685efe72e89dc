package gateecho_test

import (
	"fmt"
	"net/http"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

// Logins and a limit by address.
func Example() {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()

	perIP := ratelimit.Rule{Policy: ratelimit.MustPolicy("ip", ratelimit.PerMinute(4)), Key: ratelimit.MustByIP(ratelimit.IPOptions{})}
	e := echo.New()
	e.Use(middleware.Recover(), gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP), gateecho.Sessions(manager), gateecho.CrossOrigin(nil))
	e.POST("/login", func(c echo.Context) error {
		s, err := gateecho.Session(c)
		if err != nil {
			return err // 503: Redis did not answer
		}
		if err := s.Login(c.Request().Context(), "alice", session.LoginOptions{}); err != nil { // the password is right
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	e.POST("/logout", gateecho.Logout(manager, "/"))
	e.GET("/account", func(c echo.Context) error {
		s, _ := gateecho.Session(c)
		return c.String(http.StatusOK, "hello "+s.UserID())
	}, gateecho.RequireLogin(manager, ""))

	adaptertest.Visit(e, "GET /account", "POST /login", "GET /account", "POST /logout", "GET /account")
	// Output:
	// GET /account 401 "ip";r=3;t=60 Unauthorized. Log in first.
	// POST /login 204 "ip";r=2;t=60
	// GET /account 200 "ip";r=1;t=60 hello alice
	// POST /logout 303 / "ip";r=0;t=60
	// GET /account 429 "ip";r=0;t=60
}

// Two quotas for writing, chosen by plan, that reading does not use up.
func ExampleRateLimitWithConfig() {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()

	free, paid := ratelimit.MustPolicy("writes", ratelimit.PerHour(1)), ratelimit.MustPolicy("writes", ratelimit.PerHour(1000))
	config := gateecho.RateLimitConfig{Limiter: limiter}
	config.Skipper = func(c echo.Context) bool { return c.Request().Method == http.MethodGet }
	config.Rules = []ratelimit.Rule{{Key: ratelimit.MustByIP(ratelimit.IPOptions{}), PolicyFunc: func(r *http.Request) *ratelimit.Policy {
		if r.URL.Query().Has("paid") {
			return paid
		}
		return free
	}}}
	limit, err := config.ToMiddleware()
	if err != nil {
		fmt.Println(err)
		return
	}
	e := echo.New()
	e.Match([]string{"GET", "POST"}, "/notes", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) }, limit)

	adaptertest.Visit(e, "GET /notes", "POST /notes", "POST /notes?paid")
	// Output:
	// GET /notes 204
	// POST /notes 204 "writes";r=0;t=3600
	// POST /notes?paid 204 "writes";r=998;t=3600
}
