package gategin_test

import (
	"net/http"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

// A counter in the session of a visitor, logins, and a quota for each route.
func Example() {
	visits := session.NewCounter("visits")
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()

	router := gin.New()
	router.Use(gin.Recovery(), gategin.Sessions(manager), gategin.CrossOrigin(nil))
	router.Use(gategin.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{
		Policy: ratelimit.MustPolicy("route", ratelimit.PerMinute(2)), Key: ratelimit.MustByIP(ratelimit.IPOptions{}), PerRoute: true,
	}))
	router.GET("/", func(c *gin.Context) {
		s, err := gategin.Session(c)
		if err == nil {
			err = visits.Add(s, 1)
		}
		if err != nil {
			manager.Refuse(c.Writer, c.Request, err) // 503: Redis did not answer
			return
		}
		n, _ := visits.Get(s)
		c.String(http.StatusOK, "visit %d", n)
	})
	router.GET("/devices", gategin.RequireLogin(manager, "/login"), gategin.Devices(manager))
	router.POST("/logout", gategin.Logout(manager, "/"))

	adaptertest.Visit(router, "GET /", "GET /", "GET /", "GET /devices", "POST /logout")
	// Output:
	// GET / 200 "route";r=1;t=60 visit 1
	// GET / 200 "route";r=0;t=60 visit 2
	// GET / 429 "route";r=0;t=60
	// GET /devices 303 /login?next=%2Fdevices "route";r=1;t=60
	// POST /logout 303 / "route";r=1;t=60
}
