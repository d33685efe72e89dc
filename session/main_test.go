package session_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) { redistest.Main(m) }

const cookieName = "__Host-id"

var (
	cart  = session.NewKey[[]string]("cart")
	color = session.NewKey[string]("color")
	hits  = session.NewCounter("hits")
)

// site is a program with sessions, whose handlers the test writes.
type site struct {
	t       testing.TB
	m       *session.Manager
	client  redis.UniversalClient
	prefix  string
	logs    *safeBuffer
	handler http.Handler
	routes  sync.Map // path -> func(w, r, s)
}

type handlerFunc func(w http.ResponseWriter, r *http.Request, s *session.Session)

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newSite returns a site on the server. Its budget is long enough for a busy machine.
func newSite(t testing.TB, srv *redistest.Server, change ...func(*settings)) *site {
	t.Helper()
	return newSiteOn(t, srv.Client(t), redistest.Prefix(t), change...)
}

func newSiteOn(t testing.TB, client gatekit.Client, prefix string, change ...func(*settings)) *site {
	t.Helper()
	st := &site{t: t, client: client, prefix: prefix, logs: &safeBuffer{}}
	cfg := settings{Options: gatekit.Options{Prefix: prefix, Budget: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(st.logs, nil))}}
	for _, f := range change {
		f(&cfg)
	}
	m, err := session.New(kvtest.Open(t, client, cfg.Options), cfg.sessionOptions)
	if err != nil {
		t.Fatal(err)
	}
	st.m = m
	st.handler = browsertest.Middleware(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := st.routes.Load(r.URL.Path)
		if !ok {
			http.NotFound(w, r)
			return
		}
		s, err := session.From(r.Context())
		if err != nil {
			m.Refuse(w, r, err)
			return
		}
		f.(handlerFunc)(w, r, s)
	}))
	st.on("/login", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		q := r.URL.Query()
		if err := s.Login(r.Context(), q.Get("user"), session.LoginOptions{Remember: q.Get("remember") != ""}); err != nil {
			m.Refuse(w, r, err)
		}
	})
	st.on("/logout", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		if err := s.Logout(r.Context()); err != nil {
			m.Refuse(w, r, err)
		}
	})
	st.on("/who", func(w http.ResponseWriter, r *http.Request, s *session.Session) { io.WriteString(w, s.UserID()) })
	st.on("/add", func(w http.ResponseWriter, r *http.Request, s *session.Session) { st.check(hits.Add(s, 1)) })
	st.on("/hits", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		n, err := hits.Get(s)
		st.check(err)
		fmt.Fprint(w, n)
	})
	st.on("/set", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		key := session.NewKey[string](r.URL.Query().Get("k"))
		if err := key.Set(s, r.URL.Query().Get("v")); err != nil {
			m.Refuse(w, r, err)
		}
	})
	st.on("/get", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		v, ok, err := session.NewKey[string](r.URL.Query().Get("k")).Lookup(s)
		st.check(err)
		if !ok {
			v = "(none)"
		}
		io.WriteString(w, v)
	})
	return st
}

func (st *site) on(path string, f handlerFunc) { st.routes.Store(path, f) }

func (st *site) check(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Errorf("unexpected error: %v", err)
	}
}

func (st *site) browser() *browsertest.Browser { return browsertest.NewBrowser(st.handler) }

// login returns a browser in which the user is logged in.
func (st *site) login(user string, query ...string) *browsertest.Browser {
	st.t.Helper()
	b := st.browser()
	want(st.t, b.Do("POST", "/login?user="+user+"&"+strings.Join(query, "&")), 200, "")
	return b
}

// elsewhere returns another process of the site, which may use the values with other
// types, and the browser at it.
func (st *site) elsewhere(b *browsertest.Browser) (*site, *browsertest.Browser) {
	st.t.Helper()
	other := newSiteOn(st.t, st.client, st.prefix)
	same := other.browser()
	same.SetCookie(cookieName, b.Cookie(cookieName))
	return other, same
}

// keys lists the site's keys of a kind: s, u, e or g.
func (st *site) keys(kind string) []string {
	st.t.Helper()
	return redistest.Keys(st.t, st.client, st.prefix+":"+kind)
}

func body(resp *http.Response) string {
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// want checks status and body of a response.
func want(t testing.TB, resp *http.Response, status int, text string) {
	t.Helper()
	if got := body(resp); resp.StatusCode != status || status == 200 && got != text {
		t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, status, text)
	}
}

func each(t *testing.T, f func(t *testing.T, srv *redistest.Server)) {
	t.Helper()
	redistest.Each(t, f)
}

// request runs f as one request of the browser and returns the response.
func (st *site) request(b *browsertest.Browser, f func(ctx context.Context, s *session.Session)) *http.Response {
	path := fmt.Sprintf("/f%d", time.Now().UnixNano())
	st.on(path, func(w http.ResponseWriter, r *http.Request, s *session.Session) { f(r.Context(), s) })
	defer st.routes.Delete(path)
	return b.Do("GET", path)
}
