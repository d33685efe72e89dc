package adaptertest

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// outside: a net/http middleware of the manager around the framework, with and without
// the adapter's Sessions inside.
func outside(t *testing.T, k kit, srv *redistest.Server) {
	client := srv.Client(t)
	for name, use := range map[string]func(*session.Manager) []layer{
		"alone": func(*session.Manager) []layer { return nil },
		"twice": func(m *session.Manager) []layer { return []layer{k.sessions(m)} },
	} {
		w := newWorld(t, k, client)
		w.use = use(w.m)
		w.outside = func(site http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				_ = w.m.Serve(rw, r, func(rw http.ResponseWriter, r *http.Request) error {
					site.ServeHTTP(rw, r)
					return nil
				})
			})
		}
		w.part(name, func(*testing.T) { w.beginnings() })
	}
}

// forwarded: a handler has the router answer its request as one for another path, once
// and twice.
func forwarded(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	forward := func(from, there string) {
		site := func() http.Handler { return w.site }
		if k.forward != nil {
			w.mount("POST", from, k.forward(site, there))
			return
		}
		w.on("POST", from, func(rw http.ResponseWriter, r *http.Request) error {
			again, to := *r, *r.URL
			again.URL, to.Path = &to, there
			site().ServeHTTP(rw, &again)
			return nil
		})
	}
	w.on("POST", "/login-page", func(rw http.ResponseWriter, r *http.Request) error {
		return errors.Join(login(r, "alice"), Mark(session.From(r.Context())), second(io.WriteString(rw, "body")))
	})
	w.on("POST", "/mark", func(_ http.ResponseWriter, r *http.Request) error { return Mark(session.From(r.Context())) })
	w.on("POST", "/flush", func(rw http.ResponseWriter, r *http.Request) error {
		return errors.Join(Mark(session.From(r.Context())), http.NewResponseController(rw).Flush())
	})
	for _, path := range []string{"/login-page", "/mark", "/flush"} {
		forward("/once"+path, path)
		forward("/twice"+path, "/once"+path)
	}
	w.start()
	for _, how := range []string{"", "/once", "/twice"} {
		for name, v := range map[string]*visitor{"new": w.visitor(), "regular": w.regular(), "member": w.member()} {
			w.part(how+"/"+name, func(t *testing.T) {
				v.do("POST", how+"/login-page").wants(t, 200, "body").cookies(t, 1)
				v.sees(t, "alice", "red")
			})
		}
		for _, path := range []string{"/mark", "/flush"} {
			v := w.visitor()
			v.do("POST", how+path).wants(t, 200, "").cookies(t, 1)
			v.sees(t, "", "red")
			v = w.member()
			v.do("POST", how+path).wants(t, 200, "").cookies(t, 0)
			v.sees(t, "alice", "red")
		}
	}
}
