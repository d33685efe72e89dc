package adaptertest

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// lostLogins: the answer to a login never reaches the browser. The browser keeps its old
// session, which lives until the new one is used, and can log in again.
func lostLogins(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t), func(c *settings) { c.Carry = []string{"color"} })
	// late logs in after the client has gone.
	late := func(r *http.Request) error {
		s, err := session.From(r.Context())
		if err != nil {
			return err
		}
		return s.Login(context.WithoutCancel(r.Context()), "alice", session.LoginOptions{})
	}
	began := make(chan struct{}, 1)
	w.on("POST", "/gone", func(_ http.ResponseWriter, r *http.Request) error {
		began <- struct{}{}
		<-r.Context().Done()
		return late(r)
	})
	w.on("POST", "/deadline", func(rw http.ResponseWriter, r *http.Request) error {
		began <- struct{}{}
		return errors.Join(http.NewResponseController(rw).SetWriteDeadline(time.Unix(1, 0)), late(r))
	})
	w.start()
	for path, leaves := range map[string]bool{"/gone": true, "/deadline": false} {
		for user, arrives := range map[string]func() *visitor{"": w.regular, "alice": w.member} {
			v := arrives()
			before := v.cookie()
			for range 2 {
				v.loses(t, path, began, leaves)
				if v.cookie() != before {
					t.Fatalf("%s: the answer arrived", path)
				}
				v.sees(t, user, "blue")
			}
			v.do("POST", "/login").wants(t, 200, "").cookies(t, 1)
			v.sees(t, "alice", "blue")
			if n := len(w.sessionsOf("alice")); n != 1 {
				t.Errorf("%s by %q: %d sessions of alice, want the one that she uses", path, user, n)
			}
			old := w.visitor()
			old.do("GET", "/value", "Cookie", before).wants(t, 200, ":")
			w.endAll(t, "alice")
		}
	}
}

// loses sends a request whose answer never arrives. If leaves is true, the visitor goes
// away before the handler does anything.
func (v *visitor) loses(t *testing.T, path string, began <-chan struct{}, leaves bool) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	ended := make(chan error, 1)
	go func() {
		_, err := v.try(v.request(ctx, "POST", path))
		ended <- err
	}()
	<-began
	if leaves {
		leave()
	}
	if err := <-ended; err == nil {
		t.Errorf("%s: an answer came", path)
	}
	v.w.settled()
}

func (w *world) endAll(t *testing.T, user string) {
	t.Helper()
	if _, err := w.m.RevokeUser(context.Background(), user); err != nil {
		t.Error(err)
	}
}
