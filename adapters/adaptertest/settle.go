package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// settlements: what a rule reserved is settled once, however the handler ends.
func settlements(t *testing.T, k kit, srv *redistest.Server) {
	for _, outside := range []bool{true, false} {
		t.Run(fmt.Sprintf("limit outside %v", outside), func(t *testing.T) { settledOnce(t, k, srv, outside) })
	}
}

// waysToEnd are handlers, and what a rule learns of their requests.
var waysToEnd = []struct {
	path   string
	handle Handler
	want   ratelimit.Response
}{
	{"/nothing", func(http.ResponseWriter, *http.Request) error { return nil }, ratelimit.Response{Status: 200, Used: -1}},
	{"/body", func(rw http.ResponseWriter, _ *http.Request) error { return second(io.WriteString(rw, "hello")) },
		ratelimit.Response{Status: 200, Bytes: 5, Used: -1}},
	{"/copy", func(rw http.ResponseWriter, _ *http.Request) error {
		return second(io.Copy(rw, io.LimitReader(zeros{}, 100_000)))
	}, ratelimit.Response{Status: 200, Bytes: 100_000, Used: -1}},
	{"/status", func(rw http.ResponseWriter, _ *http.Request) error {
		rw.WriteHeader(http.StatusUnauthorized)
		return second(rw.Write([]byte("no")))
	}, ratelimit.Response{Status: 401, Bytes: 2, Used: -1}},
	{"/used", func(_ http.ResponseWriter, r *http.Request) error {
		ratelimit.Use(r.Context(), 3)
		ratelimit.Use(r.Context(), 4)
		return nil
	}, ratelimit.Response{Status: 200, Used: 7}},
	{"/stream", func(rw http.ResponseWriter, r *http.Request) error {
		for range 3 {
			ratelimit.Use(r.Context(), 10)
			if err := errors.Join(second(io.WriteString(rw, "chunk")), http.NewResponseController(rw).Flush()); err != nil {
				return err
			}
		}
		return nil
	}, ratelimit.Response{Status: 200, Bytes: 15, Used: 30}},
	{"/panic", func(http.ResponseWriter, *http.Request) error { panic("on purpose") },
		ratelimit.Response{Status: 500, Panicked: true, Used: -1}},
	{"/late", func(rw http.ResponseWriter, r *http.Request) error {
		ratelimit.Use(r.Context(), 2)
		_ = errors.Join(second(io.WriteString(rw, "body")), http.NewResponseController(rw).Flush())
		panic("on purpose")
	}, ratelimit.Response{Status: 200, Bytes: 4, Panicked: true, Used: 2}},
	{"/hijack", func(rw http.ResponseWriter, r *http.Request) error {
		conn, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return err
		}
		ratelimit.Use(r.Context(), 6)
		_, err = io.WriteString(buf, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		return errors.Join(err, buf.Flush(), conn.Close())
	}, ratelimit.Response{Status: 200, Used: 6}},
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

const settleQuota, settleCost = 4000, 10

// settledOnce compares what a rule learns of each request with what its handler did, and
// what is left in the end with the sum of what they used.
func settledOnce(t *testing.T, k kit, srv *redistest.Server, outside bool) {
	w := newWorld(t, k, srv.Client(t))
	seen := make(chan ratelimit.Response, 100)
	rule := ratelimit.Rule{
		Policy: hourly("settled", settleQuota), Key: ratelimit.Everyone(),
		Cost: func(*http.Request) int64 { return settleCost },
		Settle: func(r ratelimit.Response) int64 {
			seen <- r
			return r.Used // or, if it is -1, what was reserved
		},
	}
	limit := k.rateLimit(w.limiter, ratelimit.GateOptions{}, rule)
	if w.use = append(w.use, limit); outside {
		w.use = []layer{limit, w.use[0]}
	}
	w.use = append([]layer{k.recover()}, w.use...)
	began := make(chan struct{})
	w.on("GET", "/left", func(_ http.ResponseWriter, r *http.Request) error {
		ratelimit.Use(r.Context(), 1)
		close(began)
		<-r.Context().Done()
		ratelimit.Use(r.Context(), 1)
		return nil
	})
	w.on("GET", "/error", func(http.ResponseWriter, *http.Request) error { return errors.New("on purpose") })
	for _, way := range waysToEnd {
		w.on("GET", way.path, way.handle)
	}
	w.start()
	left := int64(settleQuota)
	check := func(path string, want ratelimit.Response) {
		t.Helper()
		got := <-seen
		if want.Used < 0 {
			left -= settleCost
		} else {
			left -= want.Used
		}
		if got.Request == nil || got.Request.URL.Path != path || got.Reserved != settleCost {
			t.Errorf("%s: the rule learns of %v, reserved %d", path, got.Request, got.Reserved)
		}
		if got.Request, got.Reserved = nil, 0; got != want {
			t.Errorf("%s: the rule learns of %+v, want %+v", path, got, want)
		}
	}
	v := w.visitor()
	for _, way := range waysToEnd {
		_, _ = v.try(v.request(t.Context(), "GET", way.path))
		check(way.path, way.want)
	}
	a := v.do("GET", "/error")
	check("/error", ratelimit.Response{Status: a.status, Bytes: int64(len(a.body)), Used: -1})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = v.try(v.request(ctx, "GET", "/left"))
	}()
	<-began
	leave()
	<-gone
	check("/left", ratelimit.Response{Status: 200, Used: 2})
	w.settled()
	w.wantLeft("settled", settleQuota, left)
	if n := len(seen); n > 0 {
		t.Errorf("%d requests were settled twice", n)
	}
}

// guesses: only failures count, and parallel ones cannot slip through.
func guesses(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.use = append(w.use, k.rateLimit(w.limiter, ratelimit.GateOptions{}, ratelimit.Rule{
		Policy: hourly("logins", 5), Key: ratelimit.Everyone(),
		Settle: func(r ratelimit.Response) int64 { return r.CountIf(r.Status >= 400) },
	}))
	var wrong atomic.Int64
	w.on("GET", "/guess", func(rw http.ResponseWriter, r *http.Request) error {
		if r.URL.Query().Get("password") == "right" {
			return nil
		}
		wrong.Add(1)
		rw.WriteHeader(http.StatusUnauthorized)
		return nil
	})
	w.start()
	for range 20 {
		w.visitor().do("GET", "/guess?password=right").wants(t, 200, "")
	}
	w.settled()
	w.wantLeft("logins", 5, 5)
	var wg sync.WaitGroup
	var denied atomic.Int64
	for range 100 {
		wg.Go(func() {
			v := w.visitor()
			a, err := v.try(v.request(t.Context(), "GET", "/guess?password=wrong"))
			if err != nil {
				t.Error(err)
			}
			if a.status == http.StatusTooManyRequests {
				denied.Add(1)
			}
		})
	}
	wg.Wait()
	if wrong.Load() != 5 || denied.Load() != 95 {
		t.Errorf("%d of 100 parallel guesses reached the handler and %d were denied, want 5 and 95", wrong.Load(), denied.Load())
	}
	w.settled()
	w.wantLeft("logins", 5, 0)
}
