package readme_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
	"github.com/labstack/echo/v4"
	echo5 "github.com/labstack/echo/v5"
)

// The README quotes this file line by line: a limit by address, login, logout, and a page
// for those who are logged in, four times the same.

var perIP = ratelimit.Rule{
	Policy: ratelimit.MustPolicy("ip", ratelimit.PerMinute(3)),
	Key:    ratelimit.MustByIP(ratelimit.IPOptions{}),
}

// serve is the last line of a program, where the examples send requests of their own.
func serve(site http.Handler) {
	log.Fatal(http.ListenAndServe(":8080", site))
}

var _ = serve

func Example_netHTTP() {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		if err := s.Login(r.Context(), "alice", session.LoginOptions{}); err != nil { // the password is right
			manager.Refuse(w, r, err) // 503 when Redis did not answer
			return
		}
		http.Redirect(w, r, session.Next(r, "/account"), http.StatusSeeOther)
	})
	mux.Handle("POST /logout", gatehttp.Logout(manager, "/"))
	account := func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		fmt.Fprintf(w, "hello %s", s.UserID())
	}
	mux.Handle("GET /account", gatehttp.RequireLogin(manager, "/login")(http.HandlerFunc(account)))
	site := gatehttp.Sessions(manager)(gatehttp.CrossOrigin(nil)(mux))
	site = gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP)(site)

	adaptertest.Visit(site, "GET /account", "POST /login", "GET /account", "POST /logout")
	// Output:
	// GET /account 303 /login?next=%2Faccount "ip";r=2;t=60
	// POST /login 303 /account "ip";r=1;t=60
	// GET /account 200 "ip";r=0;t=60 hello alice
	// POST /logout 429 "ip";r=0;t=60
}

func Example_echo() {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()

	e := echo.New()
	e.Use(gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP), gateecho.Sessions(manager), gateecho.CrossOrigin(nil))
	e.POST("/login", func(c echo.Context) error {
		s, _ := gateecho.Session(c)
		if err := s.Login(c.Request().Context(), "alice", session.LoginOptions{}); err != nil { // the password is right
			return err // 503 when Redis did not answer
		}
		return c.Redirect(http.StatusSeeOther, session.Next(c.Request(), "/account"))
	})
	e.POST("/logout", gateecho.Logout(manager, "/"))
	e.GET("/account", func(c echo.Context) error {
		s, _ := gateecho.Session(c)
		return c.String(http.StatusOK, "hello "+s.UserID())
	}, gateecho.RequireLogin(manager, "/login"))

	adaptertest.Visit(e, "GET /account", "POST /login", "GET /account", "POST /logout")
	// Output:
	// GET /account 303 /login?next=%2Faccount "ip";r=2;t=60
	// POST /login 303 /account "ip";r=1;t=60
	// GET /account 200 "ip";r=0;t=60 hello alice
	// POST /logout 429 "ip";r=0;t=60
}

func Example_echo5() {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()

	e := echo5.New()
	e.Use(gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP), gateecho5.Sessions(manager), gateecho5.CrossOrigin(nil))
	e.POST("/login", func(c *echo5.Context) error {
		s, _ := gateecho5.Session(c)
		if err := s.Login(c.Request().Context(), "alice", session.LoginOptions{}); err != nil { // the password is right
			return err // 503 when Redis did not answer
		}
		return c.Redirect(http.StatusSeeOther, session.Next(c.Request(), "/account"))
	})
	e.POST("/logout", gateecho5.Logout(manager, "/"))
	e.GET("/account", func(c *echo5.Context) error {
		s, _ := gateecho5.Session(c)
		return c.String(http.StatusOK, "hello "+s.UserID())
	}, gateecho5.RequireLogin(manager, "/login"))

	adaptertest.Visit(e, "GET /account", "POST /login", "GET /account", "POST /logout")
	// Output:
	// GET /account 303 /login?next=%2Faccount "ip";r=2;t=60
	// POST /login 303 /account "ip";r=1;t=60
	// GET /account 200 "ip";r=0;t=60 hello alice
	// POST /logout 429 "ip";r=0;t=60
}

func Example_gin() {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()

	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(gategin.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP))
	engine.Use(gategin.Sessions(manager), gategin.CrossOrigin(nil))
	engine.POST("/login", func(c *gin.Context) {
		s, _ := gategin.Session(c)
		if err := s.Login(c.Request.Context(), "alice", session.LoginOptions{}); err != nil { // the password is right
			manager.Refuse(c.Writer, c.Request, err) // 503 when Redis did not answer
			return
		}
		c.Redirect(http.StatusSeeOther, session.Next(c.Request, "/account"))
	})
	engine.POST("/logout", gategin.Logout(manager, "/"))
	engine.GET("/account", gategin.RequireLogin(manager, "/login"), func(c *gin.Context) {
		s, _ := gategin.Session(c)
		c.String(http.StatusOK, "hello %s", s.UserID())
	})

	adaptertest.Visit(engine, "GET /account", "POST /login", "GET /account", "POST /logout")
	// Output:
	// GET /account 303 /login?next=%2Faccount "ip";r=2;t=60
	// POST /login 303 /account "ip";r=1;t=60
	// GET /account 200 "ip";r=0;t=60 hello alice
	// POST /logout 429 "ip";r=0;t=60
}

// Values of a session, the list of a user's devices, and a step-up.
func Example_sessions() {
	manager, _, stop := adaptertest.Embedded()
	defer stop()

	type Basket struct{ Items []string }
	var basket = session.NewKey[Basket]("basket")
	var visits = session.NewCounter("visits")

	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err == nil {
			err = s.Login(r.Context(), "alice", session.LoginOptions{Remember: true})
		}
		if err != nil {
			manager.Refuse(w, r, err)
		}
	})
	mux.HandleFunc("POST /basket", func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context()) // reads the session, once a request
		if err != nil {
			manager.Refuse(w, r, err) // Redis did not answer: 503, nobody is logged out
			return
		}
		err = visits.Add(s, 1) // written ahead of the first byte of the response
		if err == nil {
			_, err = basket.Update(r.Context(), s, func(b Basket) (Basket, error) { // compared and set at once in Redis
				b.Items = append(b.Items, r.FormValue("item"))
				return b, nil
			})
		}
		if err != nil {
			manager.Refuse(w, r, err)
			return
		}
		n, _ := visits.Get(s)
		b, _ := basket.Get(s)
		fmt.Fprintln(w, n, b.Items)
	})
	account := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		s, err := session.From(ctx)
		if err != nil {
			manager.Refuse(w, r, err)
			return
		}
		infos, next, err := manager.List(ctx, s.UserID(), "") // label, browser, address, created, last seen; which is this one
		if err != nil {
			manager.Refuse(w, r, err)
			return
		}
		n, err := s.RevokeOthers(ctx) // all but this one; manager.Revoke ends one, RevokeUser all of a user, RevokeAll everybody's
		if err != nil {
			manager.Refuse(w, r, err)
			return
		}
		fmt.Fprintln(w, len(infos), "devices, more:", next != "", "- ended", n)
	})
	mux.HandleFunc("POST /confirm", func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err == nil { // and the password is right
			err = s.Elevate(r.Context(), 2) // the same session under a new token
		}
		if err != nil {
			manager.Refuse(w, r, err)
		}
	})
	mux.Handle("GET /devices.json", gatehttp.RequireLogin(manager, "/login")(gatehttp.Devices(manager)))
	mux.Handle("POST /logout", gatehttp.Logout(manager, "/"))
	mux.Handle("POST /logout-everywhere", gatehttp.LogoutEverywhere(manager, "/"))
	mux.Handle("POST /account", gatehttp.RequireFresh(manager, 5*time.Minute, "/confirm")(account))
	site := gatehttp.Sessions(manager)(mux)

	adaptertest.Visit(site, "POST /account", "POST /basket?item=book", "POST /basket?item=pen", "POST /login")
	adaptertest.Visit(site, "POST /login", "POST /confirm", "POST /account", "POST /logout-everywhere")
	// Output:
	// POST /account 401 Unauthorized. Log in first.
	// POST /basket?item=book 200 1 [book]
	// POST /basket?item=pen 200 2 [book pen]
	// POST /login 200
	// POST /login 200
	// POST /confirm 200
	// POST /account 200 2 devices, more: false - ended 1
	// POST /logout-everywhere 303 /
}

// Limits without HTTP, and what happens to sessions in all processes.
func Example_withoutHTTP() {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	api := ratelimit.MustPolicy("api", ratelimit.PerSecond(2), ratelimit.PerHour(100))

	d, err := limiter.Take(ctx, api, "alice") // one permit from each limit, or from none
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Allowed, d.Remaining, d.RetryAfter)

	cancel()
	err = manager.Watch(ctx, func(e session.Event) { // until ctx is done, in whatever process it happens
		log.Println(e.Kind, e.ID, e.Reason) // created, rotated, revoked, evicted, replayed; missed: a gap
	})
	fmt.Println(err)
	// Output:
	// true 1 0s
	// context canceled
}
