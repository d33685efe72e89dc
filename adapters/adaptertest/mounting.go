package adaptertest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// levels: sessions on a group and on a route, and none elsewhere.
func levels(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	sessions := w.use[0]
	w.use = nil
	mark := func(_ http.ResponseWriter, r *http.Request) error { return Mark(session.From(r.Context())) }
	show := func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		v, errC := color.Get(s)
		return errors.Join(err, errC, second(io.WriteString(rw, v)))
	}
	w.on("GET", "/without", func(rw http.ResponseWriter, r *http.Request) error {
		if _, err := session.From(r.Context()); !errors.Is(err, session.ErrNoMiddleware) {
			t.Errorf("outside of the group: got %v, want ErrNoMiddleware", err)
		}
		return second(io.WriteString(rw, "body"))
	})
	w.on("POST", "/route/mark", mark, sessions)
	w.on("GET", "/route/show", show, sessions)
	w.group("/group", sessions)
	w.on("POST", "/mark", mark)
	w.on("GET", "/show", show)
	w.start()
	for _, at := range []string{"/route", "/group"} {
		v := w.visitor()
		v.do("GET", at+"/show").wants(t, 200, "").cookies(t, 0)
		v.do("POST", at+"/mark").wants(t, 200, "").cookies(t, 1)
		v.do("GET", "/without").wants(t, 200, "body").has(t, "Vary", "").cookies(t, 0)
		v.do("GET", at+"/show").wants(t, 200, "red").cookies(t, 0)
	}
}

// twice: Sessions is mounted on the router, on a group in it and on the group's routes,
// with a guard in between that has read the session already. Redis gets as many commands
// as with one.
func twice(t *testing.T, k kit, srv *redistest.Server) {
	w, proxy := breakable(t, k, srv)
	sessions := w.use[0]
	mark := func(rw http.ResponseWriter, r *http.Request) error {
		return errors.Join(Mark(session.From(r.Context())), second(io.WriteString(rw, "body")))
	}
	nothing := func(_ http.ResponseWriter, r *http.Request) error { return Mark(session.From(r.Context())) }
	fails := func(_ http.ResponseWriter, r *http.Request) error {
		return errors.Join(Mark(session.From(r.Context())), errors.New("on purpose"))
	}
	guard := k.requireLogin(w.m, "")
	w.group("/once", guard)
	w.on("POST", "/mark", mark)
	w.on("POST", "/nothing", nothing)
	w.on("POST", "/fails", fails)
	w.group("/thrice", guard, sessions)
	w.on("POST", "/mark", mark, sessions)
	w.on("POST", "/nothing", nothing, sessions)
	w.on("POST", "/fails", fails, sessions)
	w.group("/open", sessions)
	w.on("POST", "/mark", mark, sessions)
	w.on("POST", "/nothing", nothing, sessions)
	w.start()
	w.member() // loads the scripts
	// Only reads and scripts are counted: the manager asks for the epoch once a second,
	// by a command of its own.
	calls := func(v *visitor, path string, status int) (n int64) {
		t.Helper()
		traffic := proxy.During(func() {
			v.do("POST", path).wants(t, status, "*").cookies(t, 0)
			w.settled()
		})
		return traffic.Commands.Of("HGETALL", "EVALSHA", "EVAL")
	}
	for path, status := range map[string]int{"/mark": 200, "/nothing": 200, "/fails": 500} {
		v := w.member()
		once, thrice := calls(v, "/once"+path, status), calls(v, "/thrice"+path, status)
		if once == 0 || thrice != once {
			t.Errorf("%s: %d commands with the sessions mounted three times, %d with once", path, thrice, once)
		}
	}
	for _, path := range []string{"/open/mark", "/open/nothing"} {
		guest := w.visitor()
		guest.do("POST", path).wants(t, 200, "*").cookies(t, 1)
		guest.sees(t, "", "red")
	}
}

// twoManagers: customers on the whole site, staff in a part of it, each with a cookie.
func twoManagers(t *testing.T, k kit, srv *redistest.Server) {
	client := srv.Client(t)
	w := newWorld(t, k, client)
	staff := w.manager(client, func(c *settings) { c.Prefix, c.Cookie.Name = redistest.Prefix(t), "staff" })
	show := func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		return errors.Join(err, second(io.WriteString(rw, s.UserID())))
	}
	w.mount("POST", "/logout", k.logout(w.m, "/bye"))
	w.group("/staff", k.sessions(staff))
	w.on("POST", "/login", func(_ http.ResponseWriter, r *http.Request) error { return login(r, "bob") })
	w.on("GET", "/private", show, k.requireLogin(staff, ""))
	w.mount("POST", "/logout", k.logout(staff, "/bye"))
	w.start()
	v := w.member()
	v.do("GET", "/staff/private").wants(t, 401, "*") // a customer is no member of staff
	v.do("POST", "/staff/login").wants(t, 200, "").cookies(t, 1)
	v.do("GET", "/staff/private").wants(t, 200, "bob").cookies(t, 0)
	v.sees(t, "alice", "blue")
	v.page("POST", "/staff/logout").wants(t, 303, "*")
	v.do("GET", "/staff/private").wants(t, 401, "*")
	v.sees(t, "alice", "blue")
	v.do("POST", "/staff/login").wants(t, 200, "").cookies(t, 1)
	v.do("POST", "/logout").wants(t, 204, "")
	v.sees(t, "", "")
	v.do("GET", "/staff/private").wants(t, 200, "bob")
}

// abilities: the handler's writer can still do all that it does besides writing a body.
func abilities(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	w.on("GET", "/controller", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err != nil {
			return err
		}
		c := http.NewResponseController(rw)
		for name, err := range map[string]error{
			"SetReadDeadline":  c.SetReadDeadline(time.Now().Add(time.Minute)),
			"SetWriteDeadline": c.SetWriteDeadline(time.Now().Add(time.Minute)),
			"EnableFullDuplex": c.EnableFullDuplex(),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, ok := rw.(http.Flusher); !ok {
			t.Errorf("%T is no http.Flusher", rw)
		}
		if _, ok := rw.(http.Hijacker); !ok {
			t.Errorf("%T is no http.Hijacker", rw)
		}
		if err := color.Set(s, "red"); err != nil {
			t.Errorf("none of these is the first byte: %v", err)
		}
		return second(io.WriteString(rw, "body"))
	})
	w.on("GET", "/fields", func(rw http.ResponseWriter, r *http.Request) error {
		err := Mark(session.From(r.Context()))
		http.SetCookie(rw, &http.Cookie{Name: "own", Value: "1"})
		rw.Header().Set("Cache-Control", "private")
		rw.Header().Set("Trailer", "Sum")
		err = errors.Join(err, second(io.WriteString(rw, "body")))
		rw.Header().Set("Sum", "4")
		return err
	})
	w.on("POST", "/echo", func(rw http.ResponseWriter, r *http.Request) error {
		return errors.Join(Mark(session.From(r.Context())), second(io.Copy(rw, r.Body)))
	})
	w.start()
	v := w.visitor()
	v.do("GET", "/controller").wants(t, 200, "body").cookies(t, 1)
	v.sees(t, "", "red")
	v = w.visitor()
	resp, err := v.client.Do(v.request(t.Context(), "GET", "/fields"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(body) != "body" || len(resp.Cookies()) != 2 || resp.Trailer.Get("Sum") != "4" ||
		strings.Join(resp.Header.Values("Cache-Control"), ", ") != "private, no-store" {
		t.Errorf("the handler's own fields: got %q, %v with %v and trailer %v", body, err, resp.Header, resp.Trailer)
	}
	r := v.request(t.Context(), "POST", "/echo", "Expect", "100-continue")
	r.Body = io.NopCloser(bytes.NewReader(large))
	a, err := w.visitor().try(r)
	if err != nil {
		t.Fatal(err)
	}
	a.wants(t, 200, string(large)).cookies(t, 1)
}
