package adaptertest

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// members has a world's manager of customers and a second manager, of its staff.
type members struct {
	*world
	staff       *session.Manager
	staffPrefix string
	text        bytes.Buffer // of the staff's log; read it when the world is settled
}

// withStaff returns a world that has guards and ready-made handlers of both kinds. The
// case chooses the middlewares.
func withStaff(t *testing.T, k kit, srv *redistest.Server) *members {
	t.Helper()
	client := srv.Client(t)
	w := &members{world: newWorld(t, k, client), staffPrefix: redistest.Prefix(t)}
	w.staff = w.manager(client, func(c *settings) {
		c.Prefix, c.Cookie.Name = w.staffPrefix, "staff"
		c.Logger = slog.New(slog.NewTextHandler(&w.text, nil))
	})
	for prefix, m := range map[string]*session.Manager{"/customers": w.m, "/staff": w.staff} {
		show := func(rw http.ResponseWriter, r *http.Request) error {
			s, err := m.From(r.Context())
			return errors.Join(err, second(io.WriteString(rw, s.UserID())))
		}
		w.group(prefix)
		w.on("POST", "/login", func(_ http.ResponseWriter, r *http.Request) error {
			s, err := m.From(r.Context())
			if err != nil {
				return err
			}
			label := session.Device{Label: strings.TrimPrefix(prefix, "/")}
			return s.Login(r.Context(), "alice", session.LoginOptions{Device: label})
		})
		w.on("GET", "/page", show, k.requireLogin(m, ""))
		w.on("GET", "/fresh", show, k.requireFresh(m, time.Hour, ""))
		w.mount("GET", "/devices", k.devices(m))
		w.mount("POST", "/logout", k.logout(m, "/bye"))
		w.mount("POST", "/everywhere", k.everywhere(m, "/bye"))
	}
	return w
}

// guardsOfBoth: both middlewares are mounted, in either order. The user has the same id
// in both kinds.
func guardsOfBoth(t *testing.T, k kit, srv *redistest.Server) {
	for name, staffInside := range map[string]bool{"staff inside": true, "staff outside": false} {
		t.Run(name, func(t *testing.T) {
			w := withStaff(t, k, srv)
			w.use = []layer{k.sessions(w.m), k.sessions(w.staff)}
			if !staffInside {
				w.use = []layer{k.sessions(w.staff), k.sessions(w.m)}
			}
			w.start()
			employee := w.visitor()
			employee.do("POST", "/staff/login").wants(t, 200, "").cookies(t, 1)
			v := w.visitor()
			v.do("POST", "/customers/login").wants(t, 200, "").cookies(t, 1)
			for _, path := range []string{"/staff/page", "/staff/fresh", "/staff/devices"} {
				v.do("GET", path).wants(t, 401, "*").cookies(t, 0)
			}
			v.page("POST", "/staff/logout").wants(t, 303, "*").cookies(t, 0)
			v.do("POST", "/staff/everywhere").wants(t, 401, "*").cookies(t, 0)
			v.do("GET", "/customers/page").wants(t, 200, "alice")
			v.do("GET", "/customers/fresh").wants(t, 200, "alice")
			v.onlyDevice(t, "/customers/devices", "customers")
			v.do("POST", "/staff/login").wants(t, 200, "").cookies(t, 1) // both at once
			v.do("GET", "/customers/page").wants(t, 200, "alice")
			v.do("GET", "/staff/fresh").wants(t, 200, "alice")
			v.do("POST", "/customers/logout").wants(t, 204, "")
			v.do("GET", "/customers/page").wants(t, 401, "*")
			v.do("GET", "/staff/page").wants(t, 200, "alice")
			employee.onlyDevice(t, "/staff/devices", "staff", "staff")
		})
	}
}

// onlyDevice checks the labels of a list of devices.
func (v *visitor) onlyDevice(t *testing.T, path string, labels ...string) {
	t.Helper()
	a := v.do("GET", path).wants(t, 200, "*")
	if n := strings.Count(a.body, `"label":"`+labels[0]+`"`); n != len(labels) || strings.Count(a.body, `"label"`) != n ||
		strings.Count(a.body, `"current":true`) != 1 {
		t.Errorf("%s: got %s, want %q, one of them the request's own", path, a.body, labels)
	}
}

// forgotten: the program did not mount the middleware that a guard or ready-made handler
// needs. Nobody passes, and the log says why.
func forgotten(t *testing.T, k kit, srv *redistest.Server) {
	for name, use := range map[string]func(*members) []layer{
		"the other's alone": func(w *members) []layer { return []layer{k.sessions(w.m)} },
		"none":              func(*members) []layer { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := withStaff(t, k, srv)
			w.use = use(w)
			w.start()
			v := w.visitor()
			named := []string{w.staffPrefix}
			if len(w.use) > 0 {
				named = append(named, w.prefix)
				v.do("POST", "/customers/login").wants(t, 200, "").cookies(t, 1)
			}
			ran := w.ran.Load()
			for _, call := range []string{"GET /staff/page", "GET /staff/fresh", "GET /staff/devices", "POST /staff/logout",
				"POST /staff/everywhere"} {
				method, path, _ := strings.Cut(call, " ")
				v.do(method, path).wants(t, 500, "*").cookies(t, 0).has(t, "Location", "")
			}
			if w.ran.Load() != ran {
				t.Error("a handler ran behind a guard that has no session to ask")
			}
			if len(w.use) > 0 {
				v.do("GET", "/customers/page").wants(t, 200, "alice")
			}
			w.settled()
			text := w.text.String()
			for _, word := range named {
				if !strings.Contains(text, word) {
					t.Errorf("the log does not name %s: %s", word, text)
				}
			}
			if strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "mount it around") {
				t.Errorf("got the log %q, want one line with the remedy", text)
			}
		})
	}
}

// nested: the customers' middleware on the router, the staff's in a part of it, and the
// customers' again on a route there.
func nested(t *testing.T, k kit, srv *redistest.Server) {
	w := withStaff(t, k, srv)
	customers, staff := k.sessions(w.m), k.sessions(w.staff)
	w.use = []layer{customers}
	w.group("/nested", staff)
	w.on("POST", "/mark", func(rw http.ResponseWriter, r *http.Request) error {
		inner, err := session.From(r.Context())
		own, errOwn := w.m.From(r.Context())
		other, errOther := w.staff.From(r.Context())
		if inner != own || own == other {
			t.Errorf("innermost session %p, the customer's %p, the staff's %p", inner, own, other)
		}
		return errors.Join(err, errOwn, errOther, color.Set(inner, "red"), color.Set(other, "green"),
			second(io.WriteString(rw, "body")))
	}, customers)
	w.on("GET", "/staff", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		v, errColor := color.Get(s)
		return errors.Join(err, errColor, second(io.WriteString(rw, v)))
	})
	w.start()
	v := w.visitor()
	v.do("POST", "/nested/mark").wants(t, 200, "body").cookies(t, 2)
	v.sees(t, "", "red")
	v.do("GET", "/nested/staff").wants(t, 200, "green").cookies(t, 0)
	v.do("POST", "/nested/mark").wants(t, 200, "body").cookies(t, 0)
}
