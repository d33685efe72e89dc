package gateecho_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gateecho"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/redis/go-redis/v9"
)

var (
	color    = session.NewKey[string]("color")
	everyone = ratelimit.Rule{Policy: ratelimit.MustPolicy("all", ratelimit.PerHour(10)), Key: ratelimit.Everyone()}
)

func quiet() *echo.Echo {
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	return e
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func nothing(echo.Context) error { return nil }

// unreachable returns a manager whose Redis is down.
func unreachable(t *testing.T) *session.Manager {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	m, err := session.New(kvtest.Open(t, client, gatekit.Options{}), session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConfigs(t *testing.T) {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()
	for name, f := range map[string]func(){
		"Sessions":            func() { gateecho.Sessions(nil) },
		"RateLimit":           func() { gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}) },
		"RateLimitWithConfig": func() { gateecho.RateLimitWithConfig(gateecho.RateLimitConfig{}) },
	} {
		t.Run(name, func(t *testing.T) {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s took a bad config", name)
					}
				}()
				f()
			}()
		})
	}
	if m, err := (gateecho.RateLimitConfig{Limiter: limiter}).ToMiddleware(); err == nil || m != nil {
		t.Errorf("ToMiddleware without rules: got %v, want an error", err)
	}
	if m, err := gateecho.RateLimit(limiter, ratelimit.GateOptions{}); err == nil || m != nil {
		t.Errorf("RateLimit without rules: got %v, want an error", err)
	}

	skip := func(c echo.Context) bool { return c.QueryParam("skip") != "" }
	e := quiet()
	e.Use(gateecho.SessionsWithConfig(gateecho.SessionsConfig{Skipper: skip, Manager: manager}))
	e.Use(gateecho.RateLimitWithConfig(gateecho.RateLimitConfig{Skipper: skip, Limiter: limiter, Rules: []ratelimit.Rule{everyone}}))
	e.GET("/", func(c echo.Context) error {
		_, err := gateecho.Session(c)
		return c.JSON(http.StatusOK, errors.Is(err, session.ErrNoMiddleware))
	})
	for target, want := range map[string]bool{"/": false, "/?skip=1": true} {
		w := ask(e, "GET", target)
		if skipped := strings.TrimSpace(w.Body.String()) == "true"; skipped != want || (w.Header().Get("RateLimit") == "") != want {
			t.Errorf("%s: session skipped %t, header %v, want %t for both", target, skipped, w.Header(), want)
		}
	}
}

// TestErrorIsAnsweredOnce: an error handler that does not check whether the response was
// sent adds nothing to it.
func TestErrorIsAnsweredOnce(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	e := quiet()
	var seen error
	var user string
	e.HTTPErrorHandler = func(_ error, c echo.Context) { _ = c.String(http.StatusTeapot, "the answer") }
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc { // a logger
		return func(c echo.Context) error {
			seen = next(c)
			s, _ := gateecho.Session(c)
			user = s.UserID()
			return seen
		}
	}, gateecho.Sessions(manager))
	failure := errors.New("on purpose")
	e.POST("/", func(c echo.Context) error {
		s, _ := gateecho.Session(c)
		return errors.Join(failure, s.Login(c.Request().Context(), "alice", session.LoginOptions{}), color.Set(s, "red"))
	})
	e.GET("/", func(c echo.Context) error { return errors.Join(c.String(http.StatusOK, "body"), failure) })
	if w := ask(e, "GET", "/"); w.Body.String() != "body" || !errors.Is(seen, failure) {
		t.Errorf("an error behind the body: got %q, and outside %v", w.Body, seen)
	}
	w := ask(e, "POST", "/")
	if w.Code != http.StatusTeapot || w.Body.String() != "the answer" || len(w.Result().Cookies()) != 1 {
		t.Errorf("got %d %q with %v, want one answer, saved", w.Code, w.Body, w.Header())
	}
	if !errors.Is(seen, failure) || user != "alice" {
		t.Errorf("outside it was %v by %q, want the handler's error by alice", seen, user)
	}
}

// TestFailedCommitIsInTheResponse: loggers and error handlers outside of Sessions see the
// status of a commit that failed.
func TestFailedCommitIsInTheResponse(t *testing.T) {
	m := unreachable(t)
	for name, respond := range map[string]echo.HandlerFunc{
		"nothing": nothing,
		"text":    func(c echo.Context) error { return c.String(http.StatusOK, "all is well") },
	} {
		e := quiet()
		e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				err := next(c)
				if r := c.Response(); r.Status != http.StatusServiceUnavailable || !r.Committed || !errors.Is(err, session.ErrUnavailable) {
					t.Errorf("%s: outside the response is %d, committed %t, error %v", name, r.Status, r.Committed, err)
				}
				return err
			}
		}, gateecho.Sessions(m))
		e.GET("/", func(c echo.Context) error {
			s, _ := gateecho.Session(c) // this handler ignores its errors
			_ = color.Set(s, "red")
			_ = s.Login(c.Request().Context(), "alice", session.LoginOptions{})
			return respond(c)
		})
		if w := ask(e, "GET", "/"); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "well") || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: got %d %q %v", name, w.Code, w.Body, w.Header())
		}
	}
}

func TestErrorsOfTheSessionAreHTTPErrors(t *testing.T) {
	m := unreachable(t)
	e := quiet()
	e.Use(gateecho.Sessions(m))
	login := func(c echo.Context) error {
		s, _ := gateecho.Session(c)
		return s.Login(c.Request().Context(), "alice", session.LoginOptions{})
	}
	e.GET("/plain", login)
	e.GET("/own", func(c echo.Context) error { return echo.NewHTTPError(http.StatusGone, "own").SetInternal(login(c)) })
	e.GET("/foreign", func(echo.Context) error { return io.ErrUnexpectedEOF })
	e.GET("/written", func(c echo.Context) error {
		return errors.Join(c.String(http.StatusAccepted, "body"), io.ErrUnexpectedEOF)
	})
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/plain": {503, `{"type":"about:blank","title":"Service Unavailable","status":503,` +
			`"detail":"The session cannot be read or saved at the moment. Try again later."}`},
		"/own":     {410, `{"message":"own"}`},
		"/foreign": {500, `{"message":"Internal Server Error"}`},
		"/written": {202, "body"},
	} {
		t.Run(path, func(t *testing.T) {
			if w := ask(e, "GET", path); w.Code != want.status || strings.TrimSpace(w.Body.String()) != want.body {
				t.Errorf("got %d %s, want %v", w.Code, w.Body, want)
			}
		})
	}
}

func TestDenialThroughTheErrorHandler(t *testing.T) {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()
	once := ratelimit.Rule{Policy: ratelimit.MustPolicy("once", ratelimit.PerHour(1)), Key: ratelimit.Everyone()}
	e := quiet()
	var httpError *echo.HTTPError
	var refusal *gatekit.Refusal
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		if !errors.As(err, &httpError) || !errors.As(err, &refusal) || c.Response().Header().Get("Retry-After") == "" {
			t.Errorf("the handler gets %T %v with %v", err, err, c.Response().Header())
		}
		e.DefaultHTTPErrorHandler(err, c)
	}
	e.GET("/", nothing, gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, once))
	own := ratelimit.GateOptions{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, f *gatekit.Refusal) { http.Error(w, "own", f.Status) }}
	e.GET("/own", nothing, gateecho.RateLimitWithConfig(gateecho.RateLimitConfig{Limiter: limiter, Rules: []ratelimit.Rule{once}, Options: own}))
	ask(e, "GET", "/")
	w := ask(e, "GET", "/")
	var problem struct{ Title string }
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Title != "Quota Exceeded" || w.Code != 429 {
		t.Errorf("got %d %q, want problem details", w.Code, w.Body)
	}
	if httpError == nil || httpError.Code != 429 {
		t.Errorf("the error handler got %v", httpError)
	}
	httpError = nil
	if w := ask(e, "GET", "/own"); w.Code != 429 || w.Body.String() != "own\n" || httpError != nil {
		t.Errorf("ErrorHandler: got %d %q, and %v in the error handler", w.Code, w.Body, httpError)
	}
}

// TestMediaTypeOfRefusals: the default handler's answer has the media type of problem
// details, even if a middleware swaps the writer. The answer of another handler stays as
// it is.
func TestMediaTypeOfRefusals(t *testing.T) {
	manager, limiter, stop := adaptertest.Embedded()
	defer stop()
	never := ratelimit.Rule{Policy: everyone.Policy, Key: everyone.Key, Cost: func(*http.Request) int64 { return 11 }}
	limit := gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, never)
	within := func(err error, c echo.Context) {
		var httpError *echo.HTTPError
		errors.As(err, &httpError)
		_ = c.JSON(httpError.Code, map[string]any{"error": httpError.Message})
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
		{"behind Gzip and sessions", []echo.MiddlewareFunc{middleware.Gzip(), gateecho.Sessions(manager)}, nil, problem},
		{"within other JSON", nil, within, plain},
	} {
		e := quiet()
		if c.handler != nil {
			e.HTTPErrorHandler = c.handler
		}
		e.Use(c.use...)
		e.GET("/", nothing, limit)
		r, w := httptest.NewRequest("GET", "/?pretty", nil), httptest.NewRecorder()
		r.Header.Set("Accept-Encoding", "gzip")
		e.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); w.Code != 429 || got != c.want {
			t.Errorf("%s: got %d %q, want 429 %q", c.name, w.Code, got, c.want)
		}
	}
}

func TestPatterns(t *testing.T) {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()
	perRoute := everyone
	perRoute.PerRoute = true
	limit := gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, perRoute)
	mount := func(e *echo.Echo) {
		e.GET("", nothing)
		e.GET("/items/:id", nothing)
		e.Any("/any/*", nothing)
		e.Host("other.example").GET("/there", nothing)
		group := e.Group("/group")
		group.Use(func(next echo.HandlerFunc) echo.HandlerFunc { return next })
		group.GET("/page", nothing)
	}
	used, pre := quiet(), quiet()
	used.Use(limit)
	pre.Pre(limit)
	var failed string
	pre.HTTPErrorHandler = func(err error, c echo.Context) {
		failed = err.Error()
		pre.DefaultHTTPErrorHandler(err, c)
	}
	mount(used)
	mount(pre)
	for _, c := range []struct{ method, target, left string }{
		{"GET", "/", "9"}, {"GET", "/items/1", "9"}, {"GET", "/items/2?x", "8"},
		{"GET", "/any/1", "9"}, {"POST", "/any/2/3", "8"},
		{"GET", "/nowhere", "9"}, {"GET", "/item/1", "8"}, // no route: they count as one
		{"POST", "/items/3", "7"}, {"OPTIONS", "/items/3", "6"}, // not with this method
		{"GET", "http://other.example/there", "9"}, {"GET", "http://other.example/items/1", "5"},
		{"GET", "/group/page", "9"}, {"GET", "/group/no/such", "9"}, {"GET", "/group/nor/this", "8"}, // Group.Use makes routes of them
	} {
		t.Run(c.method+" "+c.target, func(t *testing.T) {
			w := ask(used, c.method, c.target)
			if got := w.Header().Get("RateLimit"); !strings.HasPrefix(got, `"all";r=`+c.left+";") {
				t.Errorf("%s %s: got %d and RateLimit %s, want %s left", c.method, c.target, w.Code, got, c.left)
			}
		})
	}
	for path, want := range map[string]int{"/items/1": 500, "/": 500, "/nowhere": 404} {
		t.Run(path, func(t *testing.T) {
			if w := ask(pre, "GET", path); w.Code != want || (want == 500) != strings.Contains(failed, "pattern is not known") {
				t.Errorf("ahead of routing, %s: got %d and the error %q, want %d", path, w.Code, failed, want)
			}
		})
	}
}
