package session_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// callers is how many requests the parallel benchmarks have under way at a time.
const callers = 64

var eight = func() (keys [8]session.Key[string]) {
	for i := range keys {
		keys[i] = session.NewKey[string](fmt.Sprint("value", i))
	}
	return keys
}()

// read3 does what most requests do: it reads a few of the session's values.
func read3(_ context.Context, s *session.Session) error {
	for _, k := range eight[:3] {
		if v, err := k.Get(s); err != nil || v != "something" {
			return fmt.Errorf("got %q, %w", v, err)
		}
	}
	return nil
}

func write1(_ context.Context, s *session.Session) error { return eight[3].Set(s, "something") }

// visitors returns a handler that does something with the session, and a request of each
// of n users, who have 8 values in their sessions. The handler is called without a
// network. The middleware is browsertest's, which has the same code as gatehttp's.
func visitors(tb testing.TB, n int, do func(context.Context, *session.Session) error) (http.Handler, []*http.Request) {
	tb.Helper()
	client := redistest.Single(tb).Client(tb, func(o *redis.UniversalOptions) { o.PoolSize = n })
	st := newSiteOn(tb, client, redistest.Prefix(tb))
	requests := make([]*http.Request, n)
	for i := range requests {
		b := st.login(fmt.Sprint("user", i))
		st.request(b, func(_ context.Context, s *session.Session) {
			for _, k := range eight {
				st.check(k.Set(s, "something"))
			}
		})
		requests[i] = b.Request("GET", "/", nil)
	}
	return browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err == nil {
			err = do(r.Context(), s)
		}
		if err != nil {
			tb.Error(err)
		}
		_, _ = io.WriteString(w, "x")
	})), requests
}

// spread runs b.N requests, len(requests) at a time.
func spread(b *testing.B, h http.Handler, requests []*http.Request) {
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for _, r := range requests {
		wg.Go(func() {
			w := &discard{header: http.Header{}}
			for left.Add(-1) >= 0 {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

func BenchmarkRequest(b *testing.B) {
	for _, bm := range []struct {
		name string
		do   func(context.Context, *session.Session) error
	}{
		{"asks for the session", func(context.Context, *session.Session) error { return nil }},
		{"reads 3 of 8 values", read3},
		{"writes 1 of 8 values", write1},
	} {
		for _, n := range []int{1, callers} {
			b.Run(fmt.Sprintf("%s/callers=%d", bm.name, n), func(b *testing.B) {
				h, requests := visitors(b, n, bm.do)
				spread(b, h, requests)
			})
		}
	}
}

// The allocations of a request are limited, kit and client included. They differ by at
// most one from run to run.
func TestAllocationsOfRequests(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range []struct {
		name string
		do   func(context.Context, *session.Session) error
		most float64
	}{
		{"reads 3 of 8 values", read3, 40},
		{"writes 1 of 8 values", write1, 60},
	} {
		h, requests := visitors(t, 1, c.do)
		w := &discard{header: http.Header{}}
		n := testing.AllocsPerRun(300, func() { clear(w.header); h.ServeHTTP(w, requests[0]) })
		if n > c.most {
			t.Errorf("a request that %s: %v allocations, want at most %v", c.name, n, c.most)
		}
		t.Logf("a request that %s: %v allocations", c.name, n)
	}
}
