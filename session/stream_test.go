package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestStreamsSaveByHand(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.browser()
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(s.Save(r.Context()))
		w.(http.Flusher).Flush()
		st.check(color.Set(s, "blue"))
		st.check(s.Save(r.Context()))
		want(t, b.Clone().Do("GET", "/get?k=color"), 200, "blue")
		if _, err := cart.Update(r.Context(), s, func([]string) ([]string, error) { return []string{"a"}, nil }); err != nil {
			t.Errorf("Update in a stream: %v", err)
		}
		want(t, b.Clone().Do("POST", "/set?k=color&v=green"), 200, "")
		st.check(s.Reload(r.Context()))
		if c, _ := color.Get(s); c != "green" {
			t.Errorf("after Reload: %q, want green", c)
		}
		st.check(color.Set(s, "unsaved"))
	})
	want(t, b.Do("GET", "/w"), 200, "")
	want(t, b.Do("GET", "/get?k=color"), 200, "green")
	if !strings.Contains(st.logs.String(), "not saved") {
		t.Error("changes that a stream forgot to save are not logged")
	}
	// A visitor without a session would need a cookie.
	st.on("/v", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(s.Save(r.Context()))
		w.(http.Flusher).Flush()
		st.check(color.Set(s, "blue"))
		if err := s.Save(r.Context()); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Save of a new session in a stream: %v, want ErrTooLate", err)
		}
	})
	if resp := st.browser().Do("GET", "/v"); len(resp.Cookies()) > 0 {
		t.Error("a cookie after the header")
	}
}

func TestStreamEndsWithItsSession(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	b := st.login("alice")
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		w.(http.Flusher).Flush()
		st.check(s.Reload(r.Context()))
		want(t, b.Clone().Do("POST", "/logout"), 200, "")
		if err := s.Reload(r.Context()); !errors.Is(err, session.ErrGone) || s.UserID() != "" {
			t.Errorf("Reload after a logout: %v, user %q", err, s.UserID())
		}
	})
	b.Do("GET", "/w")
}

// TestStreamOutlivesItsToken: if a stream reloads after other requests of its browser
// have rotated the token, that does not count as theft.
func TestStreamOutlivesItsToken(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.login("alice", "remember=1")
		st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			w.(http.Flusher).Flush()
			step(25 * time.Hour)
			st.learn()
			other := b.Clone()
			want(t, other.Do("GET", "/who"), 200, "alice") // gets the successor
			want(t, other.Do("GET", "/who"), 200, "alice") // and uses it
			step(time.Minute)
			if err := s.Reload(r.Context()); err != nil || s.UserID() != "alice" {
				t.Errorf("Reload after a rotation: %v, user %q", err, s.UserID())
			}
			if s.Fresh(1000*time.Hour) || s.Level() > 1 {
				t.Error("a replaced token is fresh, or elevated")
			}
			want(t, other.Do("GET", "/who"), 200, "alice")
			want(t, other.Do("POST", "/logout"), 200, "")
			if err := s.Reload(r.Context()); !errors.Is(err, session.ErrGone) {
				t.Errorf("Reload after a logout: %v, want ErrGone", err)
			}
		})
		b.Clone().Do("GET", "/w")
	})
}

func TestHijack(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	srv, client := st.serve()
	b := st.browser()
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	take := func(w http.ResponseWriter) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, "no: "+err.Error(), 400)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
		rw.Flush()
	}
	st.on("/change", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(color.Set(s, "blue"))
		take(w)
		if err := color.Set(s, "late"); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Set after Hijack: %v", err)
		}
	})
	st.on("/new", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(color.Set(s, "blue"))
		take(w)
	})
	st.on("/hlogin", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
		take(w)
	})
	for _, c := range []struct {
		path, cookie string
		status       int
	}{
		{"/change", b.Cookie(cookieName), 200},
		{"/new", "", 400},
		{"/hlogin", "", 400},
	} {
		t.Run(c.path, func(t *testing.T) {
			req, _ := http.NewRequest("GET", srv.URL+c.path, nil)
			if c.cookie != "" {
				req.AddCookie(&http.Cookie{Name: cookieName, Value: c.cookie})
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got := body(resp)
			resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("got %d %q, want %d", resp.StatusCode, got, c.status)
			}
		})
	}
	want(t, b.Do("GET", "/get?k=color"), 200, "blue")
}

func TestSwitchingProtocolsCommits(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(color.Set(s, "red"))
		w.WriteHeader(101)
		if err := color.Set(s, "late"); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Set after 101: %v", err)
		}
	})
	rec := &bare{header: http.Header{}}
	st.handler.ServeHTTP(rec, httptest.NewRequest("GET", "/w", nil))
	if rec.status != 101 || len(rec.header["Set-Cookie"]) != 1 {
		t.Errorf("got %d with cookies %v", rec.status, rec.header["Set-Cookie"])
	}
}
