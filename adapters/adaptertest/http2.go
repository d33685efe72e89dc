package adaptertest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// http2: TLS, cookies as browsers get them, and many requests on one connection.
func http2(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t), func(c *settings) { c.InsecureCookie = false })
	w.https = true
	left, right := session.NewKey[string]("left"), session.NewKey[string]("right")
	hits := session.NewCounter("hits")
	var both sync.WaitGroup
	both.Add(2)
	change := func(key session.Key[string]) Handler {
		return func(rw http.ResponseWriter, r *http.Request) error {
			s, err := session.From(r.Context())
			if err = errors.Join(err, key.Set(s, "kept"), hits.Add(s, 1)); err != nil {
				t.Error(err)
			}
			both.Done()
			both.Wait() // neither has seen the other's change
			return second(io.WriteString(rw, r.Proto))
		}
	}
	w.on("GET", "/left", change(left))
	w.on("GET", "/right", change(right))
	next, ended := make(chan struct{}), make(chan error, 1)
	w.on("GET", "/flush", func(rw http.ResponseWriter, r *http.Request) error {
		err := errors.Join(Mark(session.From(r.Context())), http.NewResponseController(rw).Flush())
		select {
		case <-next:
		case <-r.Context().Done():
		}
		return errors.Join(err, second(io.WriteString(rw, "body")))
	})
	w.on("GET", "/reset", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		err = errors.Join(err, color.Set(s, "green"))
		_, _ = rw.Write(large[:1000])
		_ = http.NewResponseController(rw).Flush() // the client may be gone before it returns
		<-r.Context().Done()
		if late := color.Set(s, "late"); !errors.Is(late, session.ErrTooLate) {
			err = errors.Join(err, errors.New("a change after the reset was not refused"), late)
		}
		ended <- err
		return nil
	})
	w.on("GET", "/all", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		a, errA := left.Get(s)
		b, errB := right.Get(s)
		n, errN := hits.Get(s)
		if n != 2 {
			err = errors.Join(err, errors.New("lost an addition"))
		}
		return errors.Join(err, errA, errB, errN, second(io.WriteString(rw, a+" "+b)))
	})
	w.start()
	v := w.member()
	if c := v.cookie(); !strings.HasPrefix(c, "__Host-id=") {
		t.Errorf("got cookie %s, want __Host-id", c)
	}

	var requests sync.WaitGroup
	for _, path := range []string{"/left", "/right"} {
		requests.Go(func() {
			a, err := v.try(v.request(t.Context(), "GET", path))
			if err != nil {
				t.Error(err)
			}
			a.wants(t, 200, "HTTP/2.0").cookies(t, 0)
		})
	}
	requests.Wait()
	v.do("GET", "/all").wants(t, 200, "kept kept")

	resp, err := v.client.Do(v.request(t.Context(), "GET", "/flush")) // returns when the header has arrived
	if err != nil {
		t.Fatal(err)
	}
	v.do("GET", "/value").wants(t, 200, "alice:red")
	next <- struct{}{}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "body" {
		t.Errorf("body after the flush: %q, %v", body, err)
	}
	_ = resp.Body.Close()

	ctx, reset := context.WithCancel(t.Context())
	defer reset()
	if resp, err = v.client.Do(v.request(ctx, "GET", "/reset")); err != nil {
		t.Fatal(err)
	}
	reset()
	_ = resp.Body.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	v.sees(t, "alice", "green")
}
