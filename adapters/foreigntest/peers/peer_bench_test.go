package peers_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// sixty is a value of 60 bytes. With JSON's quotes it is the longest that Redis stores
// compactly.
var sixty = strings.Repeat("v", 60)

// peer is one way to keep sessions on the server, and what its requests do.
type peer struct {
	name string
	// open returns the handler and, for each visitor, the request that the visitor
	// repeats.
	open func(b *testing.B, client redis.UniversalClient, visitors int) (http.Handler, []*http.Request)

	turns []turn
}

// turn is the measurement of a peer in one turn.
type turn struct {
	rate        float64 // requests per second
	client      float64 // µs of processor time a request
	server      float64 // the same of Redis
	allocations float64 // a request
	p50, p99    float64 // µs
}

// BenchmarkBesidePeers runs the request that reads 3 of 8 values, called in the process
// with as many callers as the name says, over this kit and over scs with its own Redis
// store. All take turns in random order, so that a busy machine slows them alike, and the
// table has the medians of the turns.
func BenchmarkBesidePeers(b *testing.B) {
	for _, n := range []int{1, callers} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) { besidePeers(b, n, "read 3 of 8 values", readsKit, readsSCS) })
	}
}

// BenchmarkLoginBesidePeers runs the request that logs in a visitor who has the cookie of
// an earlier login. With scs it renews the token. In this kit the old session ends at the
// first use of the new token, so the next login pays for that.
func BenchmarkLoginBesidePeers(b *testing.B) {
	for _, n := range []int{1, callers} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) { besidePeers(b, n, "login, then login", logsInKit, logsInSCS) })
	}
}

type (
	kitRequest func(r *http.Request, s *session.Session) error
	scsRequest func(r *http.Request, m *scs.SessionManager) error
)

func readsKit(_ *http.Request, s *session.Session) error {
	for _, k := range eight[:3] {
		if v, err := k.Get(s); err != nil || v != sixty {
			return fmt.Errorf("got %q, %w", v, err)
		}
	}
	return nil
}

func readsSCS(r *http.Request, m *scs.SessionManager) error {
	for i := range eight[:3] {
		if v := m.GetString(r.Context(), fmt.Sprint("value", i)); v != sixty {
			return fmt.Errorf("got %q", v)
		}
	}
	return nil
}

func logsInKit(r *http.Request, s *session.Session) error {
	return s.Login(r.Context(), r.Header.Get("X-User"), session.LoginOptions{})
}

func logsInSCS(r *http.Request, m *scs.SessionManager) error { return m.RenewToken(r.Context()) }

const (
	peerTurns = 15
	peerTurn  = 200 * time.Millisecond
)

func besidePeers(b *testing.B, n int, what string, ofKit kitRequest, ofSCS scsRequest) {
	ours := &peer{name: "this kit", open: kitPeer(func(*settings) {}, ofKit)}
	alone := &peer{name: "NoAutoPipeline", open: kitPeer(func(c *settings) { c.NoAutoPipeline = true }, ofKit)}
	theirs := &peer{name: "scs 2.9", open: scsPeer(ofSCS)}
	peers := []*peer{ours, alone, theirs}
	srv := redistest.NewSingle(b)
	type stage struct {
		*peer
		handler  http.Handler
		requests []*http.Request
	}
	var stages []stage
	for _, p := range peers {
		client := srv.Client(b, func(o *redis.UniversalOptions) { o.PoolSize = n })
		h, requests := p.open(b, client, n)
		stages = append(stages, stage{p, h, requests})
	}
	admin := srv.Client(b)
	for i := range peerTurns + 1 {
		rand.Shuffle(len(stages), func(i, j int) { stages[i], stages[j] = stages[j], stages[i] })
		for _, s := range stages {
			if t := takeTurn(b, admin, s.handler, s.requests); i > 0 { // the first warms up
				s.turns = append(s.turns, t)
			}
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%s, %d callers, medians of %d turns\n", what, n, peerTurns)
	fmt.Fprintf(&table, "| | requests/s | µs client | µs Redis | allocations | p50 µs | p99 µs | throughput / scs |\n|---|---|---|---|---|---|---|---|\n")
	for _, p := range peers {
		ratio := p.median(turn.getRate) / theirs.median(turn.getRate)
		fmt.Fprintf(&table, "| %s | %.0f | %.1f | %.1f | %.0f | %.0f | %.0f | %.2f |\n", p.name, p.median(turn.getRate),
			p.median(func(t turn) float64 { return t.client }), p.median(func(t turn) float64 { return t.server }),
			p.median(func(t turn) float64 { return t.allocations }), p.median(func(t turn) float64 { return t.p50 }),
			p.median(func(t turn) float64 { return t.p99 }), ratio)
	}
	b.Log(strings.TrimSpace(table.String()))
	b.ReportMetric(ours.median(turn.getRate)/theirs.median(turn.getRate), "kit/scs")
	b.ReportMetric(alone.median(turn.getRate)/theirs.median(turn.getRate), "alone/scs")
	b.ReportMetric(0, "ns/op") // b.N says nothing here
}

func (t turn) getRate() float64 { return t.rate }

func (p *peer) median(of func(turn) float64) float64 {
	var all []float64
	for _, t := range p.turns {
		all = append(all, of(t))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// takeTurn has each visitor repeat its request for a while.
func takeTurn(b *testing.B, admin redis.UniversalClient, h http.Handler, requests []*http.Request) (t turn) {
	b.Helper()
	var memory [2]runtime.MemStats
	took := make([][]time.Duration, len(requests))
	for i := range took {
		took[i] = make([]time.Duration, 0, 1<<14)
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	runtime.GC()
	runtime.ReadMemStats(&memory[0])
	server, own, start := redistest.ServerCPU(b, admin), redistest.OwnCPU(), time.Now()
	timer := time.AfterFunc(peerTurn, func() { over.Store(true) })
	defer timer.Stop()
	for i, r := range requests {
		wg.Go(func() {
			w := &discard{header: http.Header{}}
			for last := time.Now(); !over.Load(); {
				clear(w.header)
				h.ServeHTTP(w, r)
				if line := w.header["Set-Cookie"]; len(line) > 0 {
					cookie, _, _ := strings.Cut(line[0], ";")
					r.Header["Cookie"] = []string{cookie}
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(last))
				last = now
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	own, server = redistest.OwnCPU()-own, redistest.ServerCPU(b, admin)-server
	runtime.ReadMemStats(&memory[1])
	all := slices.Concat(took...)
	slices.Sort(all)
	n := float64(len(all))
	micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	return turn{
		rate: n / elapsed.Seconds(), client: micro(own) / n, server: micro(server) / n,
		allocations: float64(memory[1].Mallocs-memory[0].Mallocs) / n,
		p50:         micro(all[len(all)/2]), p99: micro(all[len(all)*99/100]),
	}
}

// kitPeer is this kit behind the middleware of browsertest, which has the same code as
// that of gatehttp.
func kitPeer(change func(*settings), do kitRequest) func(*testing.B, redis.UniversalClient, int) (http.Handler, []*http.Request) {
	return func(b *testing.B, client redis.UniversalClient, visitors int) (http.Handler, []*http.Request) {
		st := newSiteOn(b, client, redistest.Prefix(b), change)
		requests := make([]*http.Request, visitors)
		for i := range requests {
			visitor := st.browser()
			st.request(visitor, func(_ context.Context, s *session.Session) {
				for _, k := range eight {
					st.check(k.Set(s, sixty))
				}
			})
			requests[i] = visitor.Request("GET", "/", nil)
			requests[i].Header.Set("X-User", fmt.Sprint("user", i))
		}
		return browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := session.From(r.Context())
			if err == nil {
				err = do(r, s)
			}
			if err != nil {
				b.Error(err)
			}
			_, _ = io.WriteString(w, "x")
		})), requests
	}
}

func scsPeer(do scsRequest) func(*testing.B, redis.UniversalClient, int) (http.Handler, []*http.Request) {
	return func(b *testing.B, client redis.UniversalClient, visitors int) (http.Handler, []*http.Request) {
		// This is what scs.New returns, without the store in memory, whose goroutine
		// can't be ended.
		m := &scs.SessionManager{
			Lifetime: 24 * time.Hour, Codec: scs.GobCodec{},
			Store:     goredisstore.NewWithPrefix(client.(*redis.Client), redistest.Prefix(b)),
			Cookie:    scs.SessionCookie{Name: "session", HttpOnly: true, Path: "/", Persist: true, SameSite: http.SameSiteLaxMode},
			ErrorFunc: func(_ http.ResponseWriter, _ *http.Request, err error) { b.Errorf("scs: %v", err) },
		}
		names := make([]string, len(eight))
		for i := range names {
			names[i] = fmt.Sprint("value", i)
		}
		fill := browsertest.NewBrowser(m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			for _, name := range names {
				m.Put(r.Context(), name, sixty)
			}
		})))
		requests := make([]*http.Request, visitors)
		for i := range requests {
			visitor := fill.Clone()
			visitor.Do("GET", "/")
			requests[i] = visitor.Request("GET", "/", nil)
		}
		return m.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := do(r, m); err != nil {
				b.Errorf("scs: %v", err)
			}
			_, _ = io.WriteString(w, "x")
		})), requests
	}
}
