package adaptertest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// Overhead measures how much more an adapter costs than the bare framework. Its requests
// need no Redis: they have no cookie, and no rule counts them.
type Overhead[M any] struct {
	Sessions  func(*session.Manager) M
	RateLimit func(*ratelimit.Limiter, ratelimit.GateOptions, ...ratelimit.Rule) M

	// Router returns a server with the middlewares around one route, GET /hello/:name,
	// that answers with a short text.
	Router func(use ...M) http.Handler
}

// Allocations fails when a middleware costs more allocations than it may.
func (o Overhead[M]) Allocations(t *testing.T, most float64) {
	build, _ := debug.ReadBuildInfo()
	if slices.Contains(build.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector allocates")
	}
	var bare float64
	for _, c := range o.cases(t) {
		h, w, r := c.handler, nothing{http.Header{}}, httptest.NewRequest("GET", "/hello/you", nil)
		n := testing.AllocsPerRun(1000, func() { w.serve(h, r) })
		if c.name == "bare" {
			bare = n
		}
		t.Logf("%s: %v allocations", c.name, n)
		if n > bare+most {
			t.Errorf("%s: %v allocations, want at most %v beside the %v of the bare framework", c.name, n, most, bare)
		}
	}
}

// Benchmark measures time and allocations, the bare framework first.
func (o Overhead[M]) Benchmark(b *testing.B) {
	for _, c := range o.cases(b) {
		b.Run(c.name, func(b *testing.B) {
			w, r := nothing{http.Header{}}, httptest.NewRequest("GET", "/hello/you", nil)
			b.ReportAllocs()
			for b.Loop() {
				w.serve(c.handler, r)
			}
		})
	}
}

type overheadCase struct {
	name    string
	handler http.Handler
}

func (o Overhead[M]) cases(t testing.TB) []overheadCase {
	var client gatekit.Client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	manager, err := session.New(kvtest.Open(t, client, gatekit.Options{}), session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sessions := o.Sessions(manager)
	limit := o.RateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: hourly("none", 1), Key: ratelimit.Everyone(),
		Skip: func(*http.Request) bool { return true }})
	return []overheadCase{{"bare", o.Router()}, {"sessions", o.Router(sessions)}, {"limit", o.Router(limit)}, {"both", o.Router(limit, sessions)}}
}

// nothing is a response writer that costs nothing and has the methods of net/http's.
type nothing struct{ header http.Header }

func (n nothing) serve(h http.Handler, r *http.Request) {
	clear(n.header)
	h.ServeHTTP(n, r)
}

func (n nothing) Header() http.Header                        { return n.header }
func (nothing) WriteHeader(int)                              {}
func (nothing) Write(b []byte) (int, error)                  { return len(b), nil }
func (nothing) Flush()                                       {}
func (nothing) ReadFrom(io.Reader) (int64, error)            { return 0, nil }
func (nothing) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, http.ErrNotSupported }
