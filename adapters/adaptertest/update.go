package adaptertest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// answeredInside: a handler that answers, or uses its session, inside the function of an
// Update.
func answeredInside(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	sold := errors.New("sold out")
	cases := []struct {
		path   string
		inside func(rw http.ResponseWriter, r *http.Request, s *session.Session) error
		status int
		fails  bool // the Update
	}{
		{"/error", func(rw http.ResponseWriter, _ *http.Request, _ *session.Session) error {
			http.Error(rw, "sold out", http.StatusConflict)
			return sold
		}, 409, true},
		{"/write", func(rw http.ResponseWriter, _ *http.Request, _ *session.Session) error {
			return second(io.WriteString(rw, "body"))
		}, 200, false},
		{"/redirect", func(rw http.ResponseWriter, r *http.Request, _ *session.Session) error {
			http.Redirect(rw, r, "/value", http.StatusSeeOther)
			return nil
		}, 303, false},
		{"/flush", func(rw http.ResponseWriter, _ *http.Request, _ *session.Session) error {
			return http.NewResponseController(rw).Flush()
		}, 200, false},
		{"/again", func(_ http.ResponseWriter, r *http.Request, s *session.Session) error {
			_, err := color.Update(r.Context(), s, func(string) (string, error) { return "again", nil })
			return err
		}, 500, true},
		{"/logout", func(_ http.ResponseWriter, r *http.Request, s *session.Session) error { return s.Logout(r.Context()) }, 500, true},
	}
	for _, c := range cases {
		w.on("GET", c.path, func(rw http.ResponseWriter, r *http.Request) error {
			s, err := session.From(r.Context())
			if err != nil {
				return err
			}
			_, err = color.Update(r.Context(), s, func(v string) (string, error) { return "red", c.inside(rw, r, s) })
			if (err != nil) != c.fails {
				t.Errorf("%s: Update returned %v", c.path, err)
			}
			if c.status == 500 {
				http.Error(rw, "failed", 500)
			}
			return nil
		})
	}
	w.start()
	for _, c := range cases {
		v := w.member()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a, err := v.try(v.request(ctx, "GET", c.path))
		if err != nil || a.status != c.status {
			t.Errorf("%s: got %d, %v, want %d", c.path, a.status, err, c.status)
		}
		switch {
		case c.path == "/logout":
			v.sees(t, "", "")
		case c.fails:
			v.sees(t, "alice", "blue")
		default:
			v.sees(t, "alice", "red")
		}
	}
}
