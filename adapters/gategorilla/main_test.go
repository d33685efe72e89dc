package gategorilla_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/gorilla/sessions"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// newBlobs returns blobs and the prefix of their keys. The budget is generous, because
// tests share the machine with others.
func newBlobs(t testing.TB, client gatekit.Client) (*blob.Store, string) {
	t.Helper()
	prefix := redistest.Prefix(t)
	blobs, err := blob.New(kvtest.Open(t, client, gatekit.Options{Prefix: prefix, Budget: 2 * time.Second}), blob.Options{})
	noError(t, err)
	return blobs, prefix
}

func newStore(t testing.TB, client gatekit.Client, opts gategorilla.Options) *gategorilla.Store {
	t.Helper()
	blobs, _ := newBlobs(t, client)
	store, err := gategorilla.New(blobs, opts)
	noError(t, err)
	return store
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// visit is one request of a browser with a cookie, and the session that it has.
type visit struct {
	r *http.Request
	w *httptest.ResponseRecorder
	*sessions.Session
}

// begin starts a request that carries the cookie, "" for none.
func begin(t testing.TB, store sessions.Store, name, cookie string) visit {
	t.Helper()
	v := visit{r: httptest.NewRequest("GET", "/", nil), w: httptest.NewRecorder()}
	if cookie != "" {
		v.r.AddCookie(&http.Cookie{Name: name, Value: cookie})
	}
	var err error
	v.Session, err = store.Get(v.r, name)
	noError(t, err)
	return v
}

// save saves the sessions of the request.
func (v visit) save() error { return sessions.Save(v.r, v.w) }

// cookie returns what the response sets last, nil if nothing.
func (v visit) cookie() *http.Cookie {
	lines := v.w.Header()["Set-Cookie"]
	if len(lines) == 0 {
		return nil
	}
	c, err := http.ParseSetCookie(lines[len(lines)-1])
	if err != nil {
		panic(err)
	}
	return c
}

// saved saves and returns the cookie's value.
func (v visit) saved(t testing.TB) string {
	t.Helper()
	noError(t, v.save())
	if v.cookie() == nil {
		t.Fatal("no cookie")
	}
	return v.cookie().Value
}
