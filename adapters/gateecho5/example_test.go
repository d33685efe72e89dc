package gateecho5_test

import (
	"net/http"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

// Logins, and a limit for logged-in users.
func Example() {
	e := echo.New()
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()

	e.Use(middleware.Recover(), gateecho5.Sessions(manager), gateecho5.CrossOrigin(nil))
	e.POST("/login", func(c *echo.Context) error {
		s, err := gateecho5.Session(c)
		if err == nil { // and the password is right
			err = s.Login(c.Request().Context(), "alice", session.LoginOptions{})
		}
		if err != nil {
			return err // 503: Redis did not answer
		}
		return c.Redirect(http.StatusSeeOther, "/account")
	})
	perUser := ratelimit.Rule{
		Policy: ratelimit.MustPolicy("user", ratelimit.PerMinute(2)),
		Key: ratelimit.ByUser(func(r *http.Request) string {
			s, _ := session.From(r.Context()) // RequireLogin has looked at the error
			return s.UserID()
		}),
	}
	account := e.Group("/account", gateecho5.RequireLogin(manager, "/login"), gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, perUser))
	account.GET("", func(c *echo.Context) error { return c.String(http.StatusOK, "your account") })
	account.POST("/logout", gateecho5.Logout(manager, "/"))

	adaptertest.Visit(e, "GET /account", "POST /login", "GET /account", "POST /account/logout", "GET /account")
	// Output:
	// GET /account 303 /login?next=%2Faccount
	// POST /login 303 /account
	// GET /account 200 "user";r=1;t=60 your account
	// POST /account/logout 303 / "user";r=0;t=60
	// GET /account 303 /login?next=%2Faccount
}
