package gateecho5_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho5"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

type context = echo.Context

var (
	color = session.NewKey[string]("color")
	rule  = ratelimit.Rule{Policy: ratelimit.MustPolicy("all", ratelimit.PerHour(10)), Key: ratelimit.Everyone()}
	empty = func(*context) error { return nil }
)

// get sends a GET of a new visitor.
func get(e *echo.Echo, target string) (status int, body string, h http.Header) {
	method, path, found := strings.Cut(target, " ")
	if !found {
		method, path = "GET", target
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, strings.TrimSpace(w.Body.String()), w.Header()
}

func TestToMiddleware(t *testing.T) {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()
	var skip func(*context) bool = func(c *context) bool { return c.QueryParam("skip") != "" }
	for _, c := range []struct {
		config echo.MiddlewareConfigurator
		ok     bool
	}{
		{gateecho5.SessionsConfig{}, false},
		{gateecho5.RateLimitConfig{}, false},
		{gateecho5.RateLimitConfig{Limiter: limiter}, false},
		{gateecho5.SessionsConfig{Manager: manager}, true},
		{gateecho5.RateLimitConfig{Limiter: limiter, Rules: []ratelimit.Rule{rule}}, true},
	} {
		if m, err := c.config.ToMiddleware(); (err == nil) != c.ok || (m != nil) != c.ok {
			t.Errorf("%T: got %v, want ok %t", c.config, err, c.ok)
		}
	}
	if m, err := gateecho5.RateLimit(limiter, ratelimit.GateOptions{}); err == nil || m != nil {
		t.Errorf("RateLimit without rules: got %v, want an error", err)
	}
	func() {
		defer func() { _ = recover() }()
		gateecho5.Sessions(nil)
		t.Error("Sessions(nil) does not panic")
	}()

	e := echo.New()
	e.Use(gateecho5.SessionsWithConfig(gateecho5.SessionsConfig{Skipper: skip, Manager: manager}),
		gateecho5.RateLimitWithConfig(gateecho5.RateLimitConfig{Skipper: skip, Limiter: limiter, Rules: []ratelimit.Rule{rule}}))
	e.GET("/", func(c *context) error {
		_, err := gateecho5.Session(c)
		return c.String(200, fmt.Sprint(err))
	})
	if _, body, h := get(e, "/"); body != "<nil>" || h.Get("RateLimit") == "" {
		t.Errorf("got %s and %v, want a session and a limit", body, h)
	}
	if _, body, h := get(e, "/?skip=1"); body == "<nil>" || h.Get("RateLimit") != "" {
		t.Errorf("skipped: got %s and %v, want neither", body, h)
	}
}

// TestErrorHandlerThatAnswersTwice cannot add to its first answer.
func TestErrorHandlerThatAnswersTwice(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	e := echo.New()
	e.HTTPErrorHandler = func(c *context, _ error) { _ = c.String(http.StatusTeapot, "answer") }
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *context) error {
			err := next(c)
			if s, _ := gateecho5.Session(c); err == nil || s.UserID() != "alice" {
				t.Errorf("a logger outside sees %v by %q", err, s.UserID())
			}
			return err
		}
	})
	e.Use(gateecho5.Sessions(manager))
	e.GET("/", func(c *context) error {
		s, _ := gateecho5.Session(c)
		return errors.Join(s.Login(c.Request().Context(), "alice", session.LoginOptions{}), errors.New("on purpose"))
	})
	if status, body, h := get(e, "/"); status != http.StatusTeapot || body != "answer" || len(h.Values("Set-Cookie")) != 1 {
		t.Errorf("got %d %q %v", status, body, h)
	}
}

// gone is an error that knows its status.
type gone struct{ error }

func (gone) StatusCode() int { return http.StatusGone }
func (g gone) Unwrap() error { return g.error }

func TestErrorsKeepTheStatusTheyHave(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	stop() // Redis is down
	e := echo.New()
	e.Use(gateecho5.Sessions(manager))
	login := func(c *context) error {
		s, _ := gateecho5.Session(c)
		return s.Login(c.Request().Context(), "alice", session.LoginOptions{})
	}
	e.GET("/session", login)
	e.GET("/refusal", func(c *context) error {
		refusal, _ := manager.Refusal(c.Request(), login(c))
		return &refusal
	})
	e.GET("/own", func(c *context) error { return gone{login(c)} })
	e.GET("/echo", func(c *context) error { return echo.ErrNotFound.Wrap(login(c)) })
	for path, want := range map[string]int{"/session": 503, "/refusal": 503, "/own": 410, "/echo": 404} {
		t.Run(path, func(t *testing.T) {
			if status, body, h := get(e, path); status != want || (h.Get("Retry-After") != "") != (want == 503) {
				t.Errorf("got %d %s %v, want %d", status, body, h, want)
			}
		})
	}
}

func TestDenialInErrorHandlers(t *testing.T) {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()
	once := rule
	once.Policy = ratelimit.MustPolicy("once", ratelimit.PerHour(1))
	answers := []string{}
	for _, handler := range []echo.HTTPErrorHandler{
		echo.DefaultHTTPErrorHandler(true), echo.ProblemDetailsHTTPErrorHandler(true),
		func(c *context, err error) {
			var httpError *echo.HTTPError
			var refusal *gatekit.Refusal
			found := errors.As(err, &httpError) && errors.As(err, &refusal)
			_ = c.String(echo.StatusCode(err), fmt.Sprint(found, httpError.Code, httpError.Message))
		},
	} {
		e := echo.New()
		e.HTTPErrorHandler = handler
		e.GET("/", empty, gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, once))
		get(e, "/")
		status, body, h := get(e, "/")
		if status != 429 || h.Get("Retry-After") == "" {
			t.Errorf("got %d %v", status, h)
		}
		answers = append(answers, h.Get("Content-Type")+" "+body)
	}
	const problem = `{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,` +
		`"detail":"A quota is used up. Wait before trying again."`
	if want := []string{
		"application/problem+json " + problem + `,"violated-policies":["once"]}`, "application/problem+json " + problem + `}`,
		"text/plain; charset=UTF-8 true 429Too Many Requests",
	}; !slices.Equal(answers, want) {
		t.Errorf("got %q\nwant %q", answers, want)
	}

	e := echo.New()
	options := ratelimit.GateOptions{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, f *gatekit.Refusal) { w.WriteHeader(f.Status + 1) }}
	e.GET("/", empty, gateecho5.RateLimitWithConfig(gateecho5.RateLimitConfig{Limiter: limiter, Rules: []ratelimit.Rule{once}, Options: options}))
	if status, body, _ := get(e, "/"); status != 430 || body != "" {
		t.Errorf("ErrorHandler: got %d %s", status, body)
	}
}

// TestMediaTypeOfRefusals: the default handler's answer has the media type of problem
// details, even if a middleware swaps the writer. The answer of another handler stays as
// it is.
func TestMediaTypeOfRefusals(t *testing.T) {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()
	never := rule
	never.Cost = func(*http.Request) int64 { return 11 }
	within := func(c *context, err error) {
		var refusal *gatekit.Refusal
		errors.As(err, &refusal)
		_ = c.JSON(refusal.Status, map[string]any{"error": refusal})
	}
	const problem, plain = "application/problem+json", "application/json"
	for _, c := range []struct {
		name    string
		use     []echo.MiddlewareFunc
		handler echo.HTTPErrorHandler
		want    string
	}{
		{"default", nil, nil, problem},
		{"behind Gzip", []echo.MiddlewareFunc{middleware.Gzip()}, nil, problem},
		{"behind Gzip and sessions", []echo.MiddlewareFunc{middleware.Gzip(), gateecho5.Sessions(manager)}, nil, problem},
		{"within other JSON", nil, within, plain},
	} {
		e := echo.New()
		if c.handler != nil {
			e.HTTPErrorHandler = c.handler
		}
		e.Use(c.use...)
		e.GET("/", empty, gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, never))
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("Accept-Encoding", "gzip")
		e.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); w.Code != 429 || got != c.want {
			t.Errorf("%s: got %d %q, want 429 %q", c.name, w.Code, got, c.want)
		}
	}
}

func TestRoutes(t *testing.T) {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()
	rule := rule
	rule.PerRoute = true
	site := func(mount func(*echo.Echo, echo.MiddlewareFunc)) *echo.Echo {
		e := echo.New()
		mount(e, gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, rule))
		e.GET("/notes/:id", empty)
		e.Any("/any/*", empty)
		e.RouteNotFound("/lost/*", func(c *context) error { return c.NoContent(http.StatusNotFound) })
		group := e.Group("/group")
		group.Use(func(next echo.HandlerFunc) echo.HandlerFunc { return next })
		group.GET("/page", empty)
		return e
	}
	e := site(func(e *echo.Echo, limit echo.MiddlewareFunc) { e.Use(limit) })
	for _, c := range []struct{ target, left string }{
		{"/notes/1", "9"}, {"/notes/2", "8"}, {"/any/1", "9"}, {"PUT /any/2/3", "8"}, {"/group/page", "9"},
		{"/nowhere", "9"}, {"POST /notes/1", "8"}, {"OPTIONS /notes/1", "7"}, {"/group/none", "6"}, {"/lost/page", "5"}, {"/", "4"}, // one route
	} {
		t.Run(c.target, func(t *testing.T) {
			if status, _, h := get(e, c.target); !strings.Contains(h.Get("RateLimit"), ";r="+c.left+";") {
				t.Errorf("got %d and RateLimit %s, want %s left", status, h.Get("RateLimit"), c.left)
			}
		})
	}
	early := site(func(e *echo.Echo, limit echo.MiddlewareFunc) { e.Pre(limit) })
	if status, _, _ := get(early, "/notes/1"); status != 500 {
		t.Errorf("ahead of routing: got %d, want 500", status)
	}
}

// TestAutomaticHEAD: Echo keeps the header back until the GET handler has returned.
func TestAutomaticHEAD(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	e := echo.NewWithConfig(echo.Config{Router: echo.NewRouter(echo.RouterConfig{AutoHandleHEAD: true})})
	handler := func(c *context) error {
		s, err := gateecho5.Session(c)
		return errors.Join(err, color.Set(s, "red"), c.String(http.StatusOK, "body"))
	}
	e.GET("/route", handler, gateecho5.Sessions(manager))
	group := e.Group("/group", gateecho5.Sessions(manager))
	group.GET("", handler)
	for _, path := range []string{"/route", "/group"} {
		if status, body, h := get(e, "HEAD "+path); status != 200 || body != "" || len(h.Values("Set-Cookie")) != 1 {
			t.Errorf("%s: got %d %q %v, want a cookie", path, status, body, h)
		}
	}
}
