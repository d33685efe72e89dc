package adaptertest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// tooLate: changes after the first byte.
func tooLate(t *testing.T, k kit, srv *redistest.Server) {
	w, kept := newWorld(t, k, srv.Client(t)), make(chan *session.Session, 1)
	w.on("GET", "/left-behind", func(_ http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		kept <- s
		return errors.Join(err, s.Save(r.Context())) // streams change values during the response
	})
	for path, begin := range map[string]Handler{
		"/written": func(rw http.ResponseWriter, _ *http.Request) error { return second(io.WriteString(rw, "body")) },
		"/flushed": func(rw http.ResponseWriter, _ *http.Request) error { return http.NewResponseController(rw).Flush() },
	} {
		w.on("GET", path, func(rw http.ResponseWriter, r *http.Request) error {
			s, err := session.From(r.Context())
			if err = errors.Join(err, color.Set(s, "red"), begin(rw, r)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			for name, err := range map[string]error{
				"Set": color.Set(s, "late"), "Delete": color.Delete(s), "Clear": s.Clear(),
				"Login": s.Login(r.Context(), "bob", session.LoginOptions{}), "Logout": s.Logout(r.Context()),
			} {
				if !errors.Is(err, session.ErrTooLate) {
					t.Errorf("%s: %s after the first byte: got %v, want ErrTooLate", path, name, err)
				}
			}
			return nil
		})
	}
	w.start()
	for _, path := range []string{"/written", "/flushed"} {
		v := w.member()
		v.do("GET", path).wants(t, 200, "*").cookies(t, 0)
		v.sees(t, "alice", "red")
	}
	v := w.member()
	v.do("GET", "/left-behind").wants(t, 200, "")
	w.settled()
	if err := color.Set(<-kept, "late"); !errors.Is(err, session.ErrTooLate) {
		t.Errorf("Set after the handler has returned: got %v, want ErrTooLate", err)
	}
	v.sees(t, "alice", "blue")
}

// events: a stream goes on while other requests of the session come and go.
func events(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	next := make(chan struct{})
	w.on("GET", "/events", func(rw http.ResponseWriter, r *http.Request) error {
		s, err := session.From(r.Context())
		if err = errors.Join(err, color.Set(s, "red")); err != nil {
			return err
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		say := func(event string) {
			if _, err := io.WriteString(rw, event+"\n"); err != nil {
				t.Errorf("write %s: %v", event, err)
			}
			if err := http.NewResponseController(rw).Flush(); err != nil {
				t.Errorf("flush %s: %v", event, err)
			}
			select {
			case <-next:
			case <-r.Context().Done():
			}
		}
		if say("open"); r.Context().Err() != nil {
			return nil
		}
		if err := errors.Join(s.Save(r.Context()), color.Set(s, "green"), s.Save(r.Context())); err != nil {
			t.Errorf("save during the stream: %v", err)
		}
		say("saved")
		if err := s.Reload(r.Context()); !errors.Is(err, session.ErrGone) {
			t.Errorf("reload after the session was revoked: got %v, want ErrGone", err)
		}
		say("gone")
		return nil
	})
	w.start()
	v := w.member()
	resp, err := v.client.Do(v.request(t.Context(), "GET", "/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewReader(resp.Body)
	heard := func(want string) {
		t.Helper()
		if line, err := lines.ReadString('\n'); err != nil || line != want+"\n" {
			t.Fatalf("event %q, %v, want %q", line, err, want)
		}
	}
	heard("open")
	v.do("GET", "/value").wants(t, 200, "alice:red")
	next <- struct{}{}
	heard("saved")
	v.do("GET", "/value").wants(t, 200, "alice:green")
	infos, _, err := w.m.List(t.Context(), "alice", "")
	if err != nil || len(infos) != 1 {
		t.Fatalf("sessions of alice: %v, %v, want one", infos, err)
	}
	if err := w.m.Revoke(t.Context(), "alice", infos[0].ID); err != nil {
		t.Fatal(err)
	}
	next <- struct{}{}
	heard("gone")
	v.do("GET", "/value").wants(t, 200, ":")
	next <- struct{}{}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}

	guest := w.visitor()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	resp, err = guest.client.Do(guest.request(ctx, "GET", "/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Values("Set-Cookie"); len(got) != 1 {
		t.Errorf("the header of a guest's stream has Set-Cookie %q, want one", got)
	}
	guest.do("GET", "/value").wants(t, 200, ":red")
}

// earlyHints: a handler sends informational responses before the final one, by its own
// writer or by that of Framework.Beneath.
func earlyHints(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	hinting := func(beneath func(http.ResponseWriter) http.ResponseWriter, status int) Handler {
		return func(rw http.ResponseWriter, r *http.Request) error {
			s, err := session.From(r.Context())
			if err = errors.Join(err, color.Set(s, "yellow")); err != nil {
				return err
			}
			rw.Header().Set("Link", "</style.css>; rel=preload")
			beneath(rw).WriteHeader(http.StatusEarlyHints)
			if err := color.Set(s, "red"); err != nil {
				t.Errorf("change after the hints: %v", err)
			}
			if status != http.StatusOK {
				rw.WriteHeader(status)
			}
			return second(io.WriteString(rw, "body"))
		}
	}
	w.on("GET", "/200", hinting(func(rw http.ResponseWriter) http.ResponseWriter { return rw }, 200))
	w.on("GET", "/201", hinting(k.beneath, 201))
	w.start()
	for path, status := range map[string]int{"/200": 200, "/201": 201} {
		v, hints := w.visitor(), 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if hints++; code != 103 || h.Get("Set-Cookie") != "" || h.Get("Link") == "" {
					t.Errorf("%s: got %d with %v, want 103 with the link and no cookie", path, code, h)
				}
				return nil
			},
		})
		a, err := v.try(v.request(ctx, "GET", path))
		if err != nil {
			t.Fatal(err)
		}
		a.wants(t, status, "body").cookies(t, 1)
		if hints != 1 {
			t.Errorf("%s: got %d informational responses, want 1", path, hints)
		}
		v.sees(t, "", "red")
	}
}

// clientGone: the client leaves before the response, and in the midst of it.
func clientGone(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	began := make(chan struct{}, 1)
	wait := func(r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
	}
	w.on("GET", "/before", func(_ http.ResponseWriter, r *http.Request) error {
		err := Mark(session.From(r.Context()))
		wait(r)
		return err
	})
	w.on("GET", "/amidst", func(rw http.ResponseWriter, r *http.Request) error {
		err := errors.Join(Mark(session.From(r.Context())), second(rw.Write(large)), http.NewResponseController(rw).Flush())
		wait(r)
		return err
	})
	w.on("GET", "/error", func(_ http.ResponseWriter, r *http.Request) error {
		err := Mark(session.From(r.Context()))
		wait(r)
		return errors.Join(err, r.Context().Err())
	})
	w.start()
	for path, want := range map[string]string{"/before": "red", "/amidst": "red", "/error": "blue"} {
		v := w.member()
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = v.try(v.request(ctx, "GET", path))
		}()
		<-began
		leave()
		<-ended
		v.sees(t, "alice", want)
		if len(w.sessionsOf("alice")) == 0 || !strings.Contains(v.cookie(), "id=") {
			t.Errorf("%s: the session is gone", path)
		}
	}
}
