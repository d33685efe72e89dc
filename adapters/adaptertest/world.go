package adaptertest

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

// world is a site in the framework, and the Redis behind it. A case chooses the routes
// and middlewares of its own world.
type world struct {
	t       *testing.T
	kit     kit
	prefix  string
	m       *session.Manager
	limiter *ratelimit.Limiter

	use    []layer // around the router; the sessions, unless the case changes it
	groups []group

	around    func(http.ResponseWriter) http.ResponseWriter // around the framework; may be nil
	outside   func(http.Handler) http.Handler               // around everything; may be nil
	within    func(*http.Request) *http.Request             // changes a request before the framework; may be nil
	dropsFrom int                                           // responses from this status on drop changes
	https     bool

	server *httptest.Server
	site   http.Handler // of the framework
	ran    atomic.Int64 // how many handlers of [world.on] ran

	mu    sync.Mutex // guards the fields below
	under int        // how many requests are being handled
	done  *sync.Cond // signals that one has ended
	log   strings.Builder
}

// newWorld returns a site that reaches its Redis by the client. Budgets are wide, so that
// a busy machine does not change results.
func newWorld(t *testing.T, k kit, client gatekit.Client, change ...func(*settings)) *world {
	t.Helper()
	w := &world{t: t, kit: k, prefix: redistest.Prefix(t), dropsFrom: 500}
	w.done = sync.NewCond(&w.mu)
	w.m = w.manager(client, change...)
	var err error
	if w.limiter, err = ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: w.prefix, Budget: 5 * time.Second}), ratelimit.Options{}); err != nil {
		t.Fatal(err)
	}
	w.use = []layer{k.sessions(w.m)}
	w.groups = []group{{}}
	w.on("GET", "/value", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err != nil {
			return err
		}
		v, err := color.Get(s)
		if err == nil {
			_, err = io.WriteString(rw, s.UserID()+":"+v)
		}
		return err
	})
	w.on("POST", "/set", func(_ http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err != nil {
			return err
		}
		return color.Set(s, r.URL.Query().Get("color"))
	})
	w.on("POST", "/login", func(_ http.ResponseWriter, r *http.Request) error { return login(r, "alice") })
	return w
}

// login logs the user in.
func login(r *http.Request, user string) error {
	s, err := session.From(r.Context())
	if err != nil {
		return err
	}
	return s.Login(r.Context(), user, session.LoginOptions{Device: session.Device{Label: "phone"}})
}

// manager returns a manager of the world's sessions. change may give it other sessions.
func (w *world) manager(client gatekit.Client, change ...func(*settings)) *session.Manager {
	w.t.Helper()
	cfg := settings{sessionOptions: session.Options{InsecureCookie: true}, Options: gatekit.Options{Prefix: w.prefix, Budget: 5 * time.Second}}
	for _, f := range change {
		f(&cfg)
	}
	m, err := session.New(kvtest.Open(w.t, client, cfg.Options), cfg.sessionOptions)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// on adds a route. For a GET it adds HEAD too, since not every framework does that by
// itself.
func (w *world) on(method, path string, h Handler, use ...layer) {
	w.mount(method, path, w.kit.handler(w.m, func(rw http.ResponseWriter, r *http.Request) error {
		w.ran.Add(1)
		return h(rw, r)
	}), use...)
}

func (w *world) mount(method, path string, h endpoint, use ...layer) {
	in := &w.groups[len(w.groups)-1]
	in.routes = append(in.routes, route{method, path, use, h})
	if method == http.MethodGet {
		w.mount(http.MethodHead, path, h, use...)
	}
}

// group begins a group; the next routes are added to it.
func (w *world) group(prefix string, use ...layer) {
	w.groups = append(w.groups, group{prefix: prefix, use: use})
}

// limit is the middleware of a limit of n requests an hour from everyone.
func (w *world) limit(name string, n int64) layer {
	return w.kit.rateLimit(w.limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: hourly(name, n), Key: ratelimit.Everyone()})
}

func hourly(name string, n int64) *ratelimit.Policy {
	return ratelimit.MustPolicy(name, ratelimit.PerHour(n))
}

// wantLeft checks how many permits a limit of the world has left.
func (w *world) wantLeft(name string, quota, want int64) {
	w.t.Helper()
	key, err := ratelimit.Everyone()(httptest.NewRequest("GET", "/", nil))
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := w.limiter.Peek(context.Background(), hourly(name, quota), key)
	if err != nil || d.Remaining != want {
		w.t.Errorf("limit %s: got %d left, %v, want %d", name, d.Remaining, err, want)
	}
}

// start serves the site until the test ends, and then waits for the requests under way.
func (w *world) start() {
	w.t.Helper()
	h := w.kit.router(w.use, w.groups)
	w.site = h
	if w.outside != nil {
		h = w.outside(h)
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.count(1)
		defer w.count(-1)
		if w.around != nil {
			rw = w.around(rw)
		}
		if w.within != nil {
			r = w.within(r)
		}
		h.ServeHTTP(rw, r)
	}))
	w.server.Config.ErrorLog = log.New(w, "", 0)
	if w.https {
		w.server.EnableHTTP2 = true
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	w.t.Cleanup(w.server.Close)
}

// part runs a subtest; visitors report their failures to it.
func (w *world) part(name string, run func(*testing.T)) {
	all := w.t
	defer func() { w.t = all }()
	all.Run(name, func(t *testing.T) {
		w.t = t
		run(t)
	})
}

// Write takes the lines of the server's log.
func (w *world) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// noLine checks that the server has not logged a word.
func (w *world) noLine(t *testing.T, word string) {
	t.Helper()
	w.settled()
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := w.log.String(); strings.Contains(text, word) {
		t.Errorf("the server logged: %s", text)
	}
}

// settled waits until the handlers and middlewares of all requests have returned. A
// client gets its response before that.
func (w *world) settled() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.under > 0 {
		w.done.Wait()
	}
}

func (w *world) count(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.under += n
	w.done.Broadcast()
}

// sessionsOf lists the user's sessions.
func (w *world) sessionsOf(user string) []session.Info {
	w.t.Helper()
	w.settled()
	infos, _, err := w.m.List(context.Background(), user, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return infos
}
