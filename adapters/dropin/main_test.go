package dropin_test

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/lua"
	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

func TestMain(m *testing.M) { luatest.Main(m) }

// newLimiter returns a limiter with keys of its own. The budget is generous, because tests share the machine with others.
func newLimiter(t testing.TB, client lua.Client) *ratelimit.Limiter {
	t.Helper()
	limiter, err := ratelimit.New(client, ratelimit.Options{Prefix: luatest.Prefix(t), Budget: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return limiter
}

// newBlobs returns blobs and the prefix of their keys.
func newBlobs(t testing.TB, client lua.Client) (*session.Blobs, string) {
	t.Helper()
	prefix := luatest.Prefix(t)
	blobs, err := session.NewBlobs(client, session.BlobConfig{Prefix: prefix, Budget: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return blobs, prefix
}

// nowhere is the client of a Redis that is not there.
func nowhere(t testing.TB) lua.Client {
	t.Helper()
	return luatest.NewClient(t, "127.0.0.1:1")
}
