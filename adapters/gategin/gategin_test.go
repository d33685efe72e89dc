package gategin_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/adaptertest"
	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

var (
	color = session.NewKey[string]("color")
	tens  = ratelimit.MustPolicy("ten", ratelimit.PerHour(10))
)

// visit sends a request with a cookie, which may be empty, and returns the response with
// the cookie to send next.
func visit(engine *gin.Engine, method, path, cookie string) (*httptest.ResponseRecorder, string) {
	r, w := httptest.NewRequest(method, path, nil), httptest.NewRecorder()
	r.Header.Set("Cookie", cookie)
	engine.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		cookie = c.Name + "=" + c.Value
	}
	return w, cookie
}

func TestConfigErrors(t *testing.T) {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()
	if h, err := gategin.RateLimit(limiter, ratelimit.GateOptions{}); err == nil || h != nil {
		t.Errorf("no rules: got %v, want an error alone", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustRateLimit without rules does not panic")
		}
	}()
	gategin.MustRateLimit(limiter, ratelimit.GateOptions{})
}

// TestStatusAlone: if the handlers only record a status, Gin itself sends it after they
// have returned.
func TestStatusAlone(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	engine := gin.New()
	engine.Use(gategin.Sessions(manager))
	mark := func(status int, value string) gin.HandlerFunc {
		return func(c *gin.Context) {
			if err := adaptertest.Mark(gategin.Session(c)); err != nil {
				t.Error(err)
			}
			s, _ := gategin.Session(c)
			if err := color.Set(s, value); err != nil {
				t.Error(err)
			}
			if status != 0 {
				c.Status(status)
			}
		}
	}
	engine.GET("/204", mark(204, "red"))
	engine.GET("/empty", mark(0, "green"))
	engine.GET("/500", mark(500, "blue"))
	engine.NoRoute(mark(0, "white"))
	engine.GET("/show", func(c *gin.Context) {
		s, _ := gategin.Session(c)
		value, err := color.Get(s)
		if err != nil {
			t.Error(err)
		}
		c.String(http.StatusOK, value)
	})
	cookie := ""
	for _, c := range []struct {
		path   string
		status int
		shown  string
	}{{"/204", 204, "red"}, {"/empty", 200, "green"}, {"/500", 500, "green"}, {"/none", 404, "white"}} {
		t.Run(c.path, func(t *testing.T) {
			w, next := visit(engine, "GET", c.path, cookie)
			if cookie = next; w.Code != c.status {
				t.Errorf("got %d, want %d", w.Code, c.status)
			}
			if c.status == 404 && w.Body.String() != "404 page not found" {
				t.Errorf("Gin's own page became %q", w.Body)
			}
			if w, _ := visit(engine, "GET", "/show", cookie); w.Body.String() != c.shown {
				t.Errorf("after %s: the session has %q, want %q", c.path, w.Body, c.shown)
			}
		})
	}
}

// TestErrorsReachLoggers: loggers get the error and the status that was sent.
func TestErrorsReachLoggers(t *testing.T) {
	manager, limiter, stop := adaptertest.Embedded()
	engine := gin.New()
	var status int
	var got []error
	engine.Use(func(c *gin.Context) { // a logger
		got = nil
		c.Next()
		status = c.Writer.Status()
		for _, e := range c.Errors {
			got = append(got, e.Err)
		}
	}, gategin.Sessions(manager))
	reached := func(c *gin.Context) {
		s, _ := gategin.Session(c)
		_ = color.Set(s, "red") // this handler ignores its errors
		c.String(http.StatusOK, "reached")
	}
	none := ratelimit.Rule{Policy: tens, Key: ratelimit.Everyone(), Cost: func(*http.Request) int64 { return 11 }}
	engine.GET("/private", gategin.RequireLogin(manager, ""), reached)
	engine.GET("/limit", gategin.MustRateLimit(limiter, ratelimit.GateOptions{}, none), reached)
	engine.POST("/cross", gategin.CrossOrigin(nil), reached)
	engine.GET("/commit", reached)
	try := func(method, path string, want int, is func(error) bool) {
		t.Helper()
		r, w := httptest.NewRequest(method, path, nil), httptest.NewRecorder()
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		engine.ServeHTTP(w, r)
		if w.Code != want || status != want || strings.Contains(w.Body.String(), "reached") || w.Body.Len() == 0 {
			t.Errorf("%s: got %d %q, logged as %d, want %d", path, w.Code, w.Body, status, want)
		}
		if len(got) != 1 || !is(got[0]) {
			t.Errorf("%s: c.Errors is %v", path, got)
		}
	}
	refusal := func(err error) bool { return errors.As(err, new(*gatekit.Refusal)) }
	try("GET", "/private", 401, refusal)
	try("GET", "/limit", 429, func(err error) bool { return errors.As(err, new(*gatekit.Refusal)) })
	try("POST", "/cross", 403, refusal)
	stop() // Redis is down
	try("GET", "/commit", 503, func(err error) bool { return errors.Is(err, session.ErrUnavailable) })
}

func TestCrossOriginDenyHandler(t *testing.T) {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "own", http.StatusTeapot) }))
	engine := gin.New()
	engine.POST("/", gategin.CrossOrigin(p), func(c *gin.Context) { c.String(http.StatusOK, "reached") })
	for site, want := range map[string]string{"cross-site": "own\n", "same-origin": "reached"} {
		r, w := httptest.NewRequest("POST", "/", nil), httptest.NewRecorder()
		r.Header.Set("Sec-Fetch-Site", site)
		if engine.ServeHTTP(w, r); w.Body.String() != want {
			t.Errorf("%s: got %d %q, want %q", site, w.Code, w.Body, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	_, limiter, stop := adaptertest.Embedded()
	defer stop()
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.Use(gategin.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: tens, Key: ratelimit.Everyone(), PerRoute: true}))
	ok := func(c *gin.Context) { c.Status(http.StatusOK) }
	engine.GET("/items/:id", ok)
	engine.Any("/any/*rest", ok)
	engine.Group("/group").GET("/:id", ok)
	for _, c := range [][3]string{
		{"GET", "/items/1", "9"}, {"GET", "/items/2", "8"}, {"GET", "/any/1", "9"}, {"DELETE", "/any/2", "8"}, {"GET", "/group/1", "9"},
		{"GET", "/nowhere", "9"}, {"GET", "/group/1/2", "8"}, {"POST", "/items/1", "7"}, // no route, or not with this method
	} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			w, _ := visit(engine, c[0], c[1], "")
			if got := w.Header().Get("RateLimit"); !strings.HasPrefix(got, `"ten";r=`+c[2]+";") {
				t.Errorf("%s %s: got %d and RateLimit %s, want %s left", c[0], c[1], w.Code, got, c[2])
			}
		})
	}
}

// TestGinContextAsContext: a program chooses whether Gin's context works as the request's
// context.
func TestGinContextAsContext(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	for _, fallback := range []bool{false, true} {
		engine := gin.New()
		engine.ContextWithFallback = fallback
		engine.GET("/", gategin.Sessions(manager), func(c *gin.Context) {
			_, err := session.From(c)
			if errors.Is(err, session.ErrNoMiddleware) == fallback {
				t.Errorf("ContextWithFallback %t: From(c) = %v", fallback, err)
			}
			_, err = gategin.Session(c)
			_, err2 := session.From(c.Request.Context())
			if err := errors.Join(err, err2); err != nil {
				t.Error(err)
			}
		})
		visit(engine, "GET", "/", "")
	}
}

// TestWriterIsGins: the writer answers handlers as Gin's own does.
func TestWriterIsGins(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	engine := gin.New()
	engine.GET("/", gategin.Sessions(manager), func(c *gin.Context) {
		w := c.Writer
		w.WriteHeader(http.StatusAccepted)
		if w.Written() || w.Status() != http.StatusAccepted || w.Size() != -1 {
			t.Errorf("ahead of the body: written %t, status %d, size %d", w.Written(), w.Status(), w.Size())
		}
		if err := adaptertest.Mark(gategin.Session(c)); err != nil {
			t.Error(err)
		}
		_, _ = w.WriteString("four")
		_, _ = io.Copy(w, strings.NewReader("more"))
		w.WriteHeaderNow()
		w.Flush()
		if !w.Written() || w.Status() != http.StatusAccepted || w.Size() != 8 || w.Pusher() != nil {
			t.Errorf("after the body: written %t, status %d, size %d", w.Written(), w.Status(), w.Size())
		}
	})
	engine.GET("/flush", gategin.Sessions(manager), func(c *gin.Context) {
		c.Status(http.StatusAccepted)
		c.Writer.Flush()
	})
	if w, _ := visit(engine, "GET", "/flush", ""); w.Code != http.StatusAccepted {
		t.Errorf("flushed first: got %d, want the status that was recorded", w.Code)
	}
	w, cookie := visit(engine, "GET", "/", "")
	if w.Code != http.StatusAccepted || w.Body.String() != "fourmore" || cookie == "" {
		t.Errorf("got %d %q and the cookie %q", w.Code, w.Body, cookie)
	}
}

// answering is the middleware for errors from Gin's documentation.
func answering(c *gin.Context) {
	c.Next()
	if len(c.Errors) > 0 {
		c.JSON(http.StatusInternalServerError, gin.H{"error": c.Errors.Last().Error()})
	}
}

// TestOneAnswer: a middleware that answers errors adds nothing to the response of any
// refusal.
func TestOneAnswer(t *testing.T) {
	manager, limiter, stop := adaptertest.Embedded()
	own := func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal) {
		w.WriteHeader(refusal.Status)
		_, _ = fmt.Fprintf(w, `{"own":%d}`, len(ratelimit.FromContext(r.Context())))
	}
	none := ratelimit.Rule{Policy: tens, Key: ratelimit.Everyone(), Cost: func(*http.Request) int64 { return 11 }}
	engine := gin.New()
	engine.Use(answering, gategin.Sessions(manager), answering)
	reached := func(c *gin.Context) {
		_ = adaptertest.Mark(gategin.Session(c))
		c.String(http.StatusOK, "reached")
	}
	engine.GET("/limit", gategin.MustRateLimit(limiter, ratelimit.GateOptions{}, none), reached)
	engine.GET("/respond", gategin.MustRateLimit(limiter, ratelimit.GateOptions{ErrorHandler: own}, none), reached)
	engine.GET("/silent", gategin.MustRateLimit(limiter, ratelimit.GateOptions{
		ErrorHandler: func(http.ResponseWriter, *http.Request, *gatekit.Refusal) {}}, none), reached)
	engine.GET("/private", gategin.RequireLogin(manager, ""), reached)
	engine.GET("/led", gategin.RequireLogin(manager, "/login"), reached)
	engine.GET("/logout", gategin.Logout(manager, "/"))
	engine.GET("/devices", gategin.Devices(manager))
	engine.POST("/cross", gategin.CrossOrigin(nil), reached)
	engine.GET("/commit", reached)
	for _, c := range []struct {
		method, path string
		status       int
		body         string // the body begins with this; no second body follows
	}{
		{"GET", "/limit", 429, `{"type":`}, {"GET", "/respond", 429, `{"own":1}`}, {"GET", "/silent", 200, ""},
		{"GET", "/private", 401, `{"type":`}, {"GET", "/led", 303, "<a href="}, {"GET", "/logout", 405, `{"type":`},
		{"GET", "/devices", 401, `{"type":`}, {"POST", "/cross", 403, `{"type":`},
		{"GET", "/commit", 503, `{"type":`},
	} {
		t.Run(c.path, func(t *testing.T) {
			if c.path == "/commit" {
				stop() // Redis is down
			}
			r, w := httptest.NewRequest(c.method, c.path, nil), httptest.NewRecorder()
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			if c.status == 303 {
				r.Header.Set("Accept", "text/html")
			}
			engine.ServeHTTP(w, r)
			if body := w.Body.String(); w.Code != c.status || !strings.HasPrefix(body, c.body) || strings.Contains(body, `"error"`) {
				t.Errorf("%s: got %d %q, want %d %q alone", c.path, w.Code, body, c.status, c.body)
			}
		})
	}
}

// opaque is a writer like those of Gin's middlewares: it embeds the writer that it wraps,
// and has no Unwrap.
type opaque struct{ gin.ResponseWriter }

func wrapping(c *gin.Context) { c.Writer = opaque{c.Writer} }

// TestHandleContext: a handler has the router handle the request again, with other
// writers around the sessions and between them.
func TestHandleContext(t *testing.T) {
	manager, _, stop := adaptertest.Embedded()
	defer stop()
	login := func(c *gin.Context) {
		s, _ := gategin.Session(c)
		if err := s.Login(c.Request.Context(), "alice", session.LoginOptions{}); err != nil {
			t.Error(err)
		}
		c.String(http.StatusOK, "in")
	}
	for name, use := range map[string][]gin.HandlerFunc{
		"wrapped outside":  {wrapping, gategin.Sessions(manager)},
		"wrapped between":  {gategin.Sessions(manager), wrapping, gategin.Sessions(manager)},
		"wrapped on top":   {gategin.Sessions(manager), wrapping},
		"wrapped anywhere": {wrapping, gategin.Sessions(manager), wrapping, gategin.Sessions(manager), wrapping},
	} {
		t.Run(name, func(t *testing.T) {
			engine := gin.New()
			engine.Use(use...)
			engine.POST("/login", login)
			engine.POST("/forward", func(c *gin.Context) {
				c.Request.URL.Path = "/login"
				engine.HandleContext(c)
			})
			cookie := ""
			for _, path := range []string{"/login", "/forward", "/forward"} { // the last replaces a session
				w, next := visit(engine, "POST", path, cookie)
				if w.Code != http.StatusOK || w.Body.String() != "in" || next == cookie {
					t.Errorf("%s got %d %q with the cookie %q, want a new one", path, w.Code, w.Body, next)
				}
				cookie = next
			}
		})
	}
}

// TestHandleContextPastSessions: a chain without Sessions can't send a cookie. The login
// is undone, and the log says why.
func TestHandleContextPastSessions(t *testing.T) {
	var log strings.Builder
	manager, err := session.New(kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Logger: slog.New(slog.NewTextHandler(&log, nil))}), session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	engine := gin.New()
	forward := func(c *gin.Context) {
		c.Request.URL.Path = "/login"
		engine.HandleContext(c)
	}
	engine.POST("/forward", gategin.Sessions(manager), forward)
	engine.POST("/login", func(c *gin.Context) {
		s, _ := gategin.Session(c)
		if err := s.Login(c.Request.Context(), "alice", session.LoginOptions{}); err != nil {
			t.Error(err)
		}
		c.String(http.StatusOK, "in")
	})
	visit(engine, "POST", "/forward", "")
	if infos, _, err := manager.List(t.Context(), "alice", ""); err != nil || len(infos) > 0 {
		t.Errorf("sessions of alice: %v, %v, want none: nobody has their cookie", infos, err)
	}
	if !strings.Contains(log.String(), "mount the sessions") {
		t.Errorf("the log has %q, want the remedy", log.String())
	}
}
