package peers_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// callers is how many requests are under way at a time.
const callers = 64

// eight are the values of a session.
var eight = func() (keys [8]session.Key[string]) {
	for i := range keys {
		keys[i] = session.NewKey[string](fmt.Sprint("value", i))
	}
	return keys
}()

// settings of the Redis that this kit is opened on.
type settings = gatekit.Options

// site is a site with this kit.
type site struct {
	b       *testing.B
	m       *session.Manager
	handler http.Handler
	do      func(context.Context, *session.Session) // what the next request does
}

func newSiteOn(b *testing.B, client redis.UniversalClient, prefix string, change func(*settings)) *site {
	b.Helper()
	opts := settings{Prefix: prefix, Budget: 2 * time.Second}
	change(&opts)
	st := &site{b: b}
	var err error
	st.m, err = session.New(kvtest.Open(b, client, opts), session.Options{})
	st.check(err)
	st.handler = browsertest.Middleware(st.m, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		st.check(err)
		st.do(r.Context(), s)
	}))
	return st
}

func (st *site) check(err error) {
	st.b.Helper()
	if err != nil {
		st.b.Fatal(err)
	}
}

func (st *site) browser() *browsertest.Browser { return browsertest.NewBrowser(st.handler) }

func (st *site) request(b *browsertest.Browser, do func(context.Context, *session.Session)) {
	st.do = do
	b.Do("GET", "/")
}

// discard is a response writer that costs nothing itself.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
