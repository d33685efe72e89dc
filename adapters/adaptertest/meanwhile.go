package adaptertest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// ended: the session is revoked between the reading and the saving.
func ended(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	end := func(r *http.Request) error {
		s, err := session.From(r.Context())
		if err = errors.Join(err, color.Set(s, "red")); err != nil || s.UserID() == "" {
			return err
		}
		return w.m.Revoke(r.Context(), s.UserID(), s.ID())
	}
	w.on("GET", "/nothing", func(_ http.ResponseWriter, r *http.Request) error { return end(r) })
	w.on("GET", "/body", func(rw http.ResponseWriter, r *http.Request) error {
		return errors.Join(end(r), second(io.WriteString(rw, "body")))
	})
	w.on("GET", "/saved", func(_ http.ResponseWriter, r *http.Request) error {
		if err := end(r); err != nil {
			return err
		}
		s, err := session.From(r.Context())
		return errors.Join(err, s.Save(r.Context())) // ErrGone; the framework answers it
	})
	w.start()
	for _, path := range []string{"/nothing", "/body", "/saved"} {
		v := w.member()
		v.do("GET", path).wants(t, 401, "*").cookies(t, 0).has(t, "Cache-Control", "no-store")
		v.sees(t, "", "")
	}
}

// timed is a request's context. The handler decides when its deadline passes.
type timed struct {
	context.Context
	over atomic.Bool
}

func (c *timed) Deadline() (time.Time, bool) {
	if c.over.Load() {
		return time.Unix(1, 0), true
	}
	return c.Context.Deadline()
}

// overdue: the request's deadline passes between the reading and the saving.
func overdue(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	latest := make(chan *timed, 1)
	w.within = func(r *http.Request) *http.Request {
		c := &timed{Context: r.Context()}
		if r.URL.Path == "/slow" {
			latest <- c
		}
		return r.WithContext(c)
	}
	w.on("GET", "/slow", func(_ http.ResponseWriter, r *http.Request) error {
		err := Mark(session.From(r.Context()))
		(<-latest).over.Store(true)
		return err
	})
	w.start()
	for user, v := range map[string]*visitor{"": w.regular(), "alice": w.member()} {
		v.do("GET", "/slow").wants(t, 200, "").cookies(t, 0)
		v.sees(t, user, "red")
	}
}

// many: visitors whose requests succeed, fail and panic side by side.
func many(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.use = append([]layer{k.recover()}, w.use...)
	w.on("GET", "/swap", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err != nil {
			return err
		}
		old, err := color.Get(s)
		if err = errors.Join(err, color.Set(s, r.URL.Query().Get("color"))); err != nil {
			return err
		}
		switch r.URL.Query().Get("then") {
		case "1":
			return errors.New("on purpose")
		case "2":
			panic("on purpose")
		}
		return second(io.WriteString(rw, old))
	})
	w.start()
	var visitors sync.WaitGroup
	for i := range 8 {
		v := w.regular()
		visitors.Go(func() {
			want := "blue"
			for n := range 12 {
				next := strconv.Itoa(i) + "." + strconv.Itoa(n)
				a, err := v.try(v.request(t.Context(), "GET", "/swap?color="+next+"&then="+strconv.Itoa(n%4)))
				if err != nil {
					t.Error(err)
					return
				}
				if fails := n%4 == 1 || n%4 == 2; fails {
					a.wants(t, 500, "*").cookies(t, 0)
				} else {
					a.wants(t, 200, want).cookies(t, 0)
					want = next
				}
			}
		})
	}
	visitors.Wait()
}
