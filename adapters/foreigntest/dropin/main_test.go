package dropin_test

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session/blob"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// newLimiter returns a limiter with keys of its own. The budget is generous, because
// tests share the machine with others.
func newLimiter(t testing.TB, client gatekit.Client) *ratelimit.Limiter {
	t.Helper()
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 2 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return limiter
}

// newBlobs returns blobs and the prefix of their keys.
func newBlobs(t testing.TB, client gatekit.Client) (*blob.Store, string) {
	t.Helper()
	prefix := redistest.Prefix(t)
	blobs, err := blob.New(kvtest.Open(t, client, gatekit.Options{Prefix: prefix, Budget: 2 * time.Second}), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return blobs, prefix
}

// nowhere returns a client of a Redis that does not exist.
func nowhere(t testing.TB) gatekit.Client {
	t.Helper()
	return redistest.NewClient(t, "127.0.0.1:1")
}
