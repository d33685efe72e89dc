package adaptertest

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// panics: with the framework's recovery around the sessions, inside them, and without it.
func panics(t *testing.T, k kit, srv *redistest.Server) {
	for _, c := range []struct {
		name            string
		within, outside bool
	}{{"recovered outside", false, true}, {"recovered within", true, false}, {"recovered by the server", false, false}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, k, srv.Client(t))
			switch {
			case c.outside:
				w.use = append([]layer{k.recover()}, w.use...)
			case c.within:
				w.use = append(w.use, k.recover())
			}
			w.on("GET", "/early", func(_ http.ResponseWriter, r *http.Request) error {
				if err := Mark(session.From(r.Context())); err != nil {
					t.Error(err)
				}
				panic("on purpose")
			})
			w.on("GET", "/login", func(_ http.ResponseWriter, r *http.Request) error {
				if err := login(r, "bob"); err != nil {
					t.Error(err)
				}
				panic("on purpose")
			})
			w.on("GET", "/late", func(rw http.ResponseWriter, r *http.Request) error {
				err := errors.Join(Mark(session.From(r.Context())), second(io.WriteString(rw, "body")))
				if err = errors.Join(err, http.NewResponseController(rw).Flush()); err != nil {
					t.Error(err)
				}
				panic("on purpose")
			})
			w.start()
			// fails sends a request whose handler panics before the response.
			fails := func(v *visitor, path string) answer {
				t.Helper()
				a, err := v.try(v.request(t.Context(), "GET", path))
				switch {
				case c.within || c.outside:
					if err != nil || a.status != 500 {
						t.Errorf("%s: got %d, %v, want 500", path, a.status, err)
					}
				case err == nil:
					t.Errorf("%s: got %d, want a closed connection", path, a.status)
				}
				return a
			}
			for user, v := range map[string]*visitor{"": w.regular(), "alice": w.member()} {
				was := v.cookie()
				fails(v, "/early").cookies(t, 0)
				v.sees(t, user, "blue")
				if c.within { // Sessions sees an ordinary response: a login stands, and its cookie goes out
					fails(v, "/login").cookies(t, 1)
					v.sees(t, "bob", "")
					continue
				}
				fails(v, "/login").cookies(t, 0)
				v.sees(t, user, "blue")
				if left := w.sessionsOf("bob"); len(left) > 0 || v.cookie() != was {
					t.Errorf("a login of a request that panicked left %v behind", left)
				}
			}
			v := w.visitor()
			fails(v, "/early").cookies(t, 0)
			v.sees(t, "", "")
			v = w.member()
			if a, _ := v.try(v.request(t.Context(), "GET", "/late")); a.status != 200 {
				t.Errorf("panic after the first byte: got %d, want the 200 that went out", a.status)
			}
			v.sees(t, "alice", "red")
		})
	}
}

// aborted: the panic by which a handler of net/http cuts the connection.
func aborted(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.on("GET", "/abort", func(_ http.ResponseWriter, r *http.Request) error {
		if err := Mark(session.From(r.Context())); err != nil {
			t.Error(err)
		}
		panic(http.ErrAbortHandler)
	})
	w.start()
	v := w.member()
	if a, err := v.try(v.request(t.Context(), "GET", "/abort")); err == nil {
		t.Errorf("got %d, want a closed connection", a.status)
	}
	v.sees(t, "alice", "blue")
	w.noLine(t, "panic") // net/http logs every other panic
}
