package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// panicking sends a request whose handler panics, and returns what it panicked with.
func panicking(b *browsertest.Browser, path string) (value any) {
	defer func() { value = recover() }()
	b.Do("POST", path)
	return nil
}

func TestPanicDropsChangesAndUndoesTheLogin(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		for _, was := range []string{"", "alice", "bob"} {
			st := newSite(t, srv, func(c *settings) { c.Cap = 1 })
			b := st.browser()
			if was != "" {
				b = st.login(was)
			}
			want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
			token := b.Cookie(cookieName)
			before, _, err := st.m.List(t.Context(), "alice", "")
			st.check(err)
			st.on("/p", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				st.check(color.Set(s, "blue"))
				st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
				st.check(color.Set(s, "green"))
				panic(http.ErrAbortHandler)
			})
			if got := panicking(b, "/p"); got != http.ErrAbortHandler {
				t.Errorf("recovered %v, want the handler's own panic", got)
			}
			if b.Cookie(cookieName) != token {
				t.Errorf("logged in as %q: the cookie changed", was)
			}
			want(t, b.Do("GET", "/who"), 200, was)
			want(t, b.Do("GET", "/get?k=color"), 200, "red")
			if after, _, err := st.m.List(t.Context(), "alice", ""); err != nil || len(after) != len(before) {
				t.Errorf("logged in as %q: alice has %d sessions (%v), want %d", was, len(after), err, len(before))
			}
		}
	})
}

func TestPanicAfterTheFirstByteKeepsTheLogin(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	st.on("/p", func(rw http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
		_, _ = rw.Write([]byte("half of"))
		panic("late")
	})
	for _, was := range []string{"", "guest", "alice"} {
		b := st.browser()
		switch was {
		case "guest":
			want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		case "alice":
			b = st.login("alice")
		}
		r, w := httptest.NewRequest("POST", "/p", nil), httptest.NewRecorder()
		r.AddCookie(&http.Cookie{Name: cookieName, Value: b.Cookie(cookieName)})
		func() {
			defer func() { _ = recover() }()
			st.handler.ServeHTTP(w, r)
		}()
		if w.Body.String() != "half of" || w.Header().Get("Content-Length") != "" {
			t.Errorf("%s: sent %q, of %s bytes, want all that was written, and no length", was, w.Body, w.Header().Get("Content-Length"))
		}
		b.Keep(w.Result()) // the browser has the cookie by now
		want(t, b.Do("GET", "/who"), 200, "alice")
	}
}

func TestServerErrorDropsPendingChangesOnly(t *testing.T) {
	for _, save := range []bool{false, true} {
		st := newSite(t, redistest.Embedded(t), func(c *settings) { c.SaveOnServerError = save })
		b := st.browser()
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		st.on("/e", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(color.Set(s, "blue"))
			w.WriteHeader(500)
		})
		b.Do("POST", "/e")
		want(t, b.Do("GET", "/get?k=color"), 200, map[bool]string{false: "red", true: "blue"}[save])
	}
	st := newSite(t, redistest.Embedded(t))
	b := st.browser()
	st.on("/e", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
		st.check(color.Set(s, "blue"))
		w.WriteHeader(500)
	})
	b.Do("POST", "/e")
	want(t, b.Do("GET", "/who"), 200, "alice") // changes that were made at once stay, and the cookie is sent
	want(t, b.Do("GET", "/get?k=color"), 200, "(none)")
}

func TestStoreDown(t *testing.T) {
	srv := redistest.Embedded(t)
	st := newSite(t, srv)
	b := st.browser()
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	token := b.Cookie(cookieName)
	// The handler of this route ignores errors.
	careless := browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err == nil {
			t.Error("no error from a broken store")
		}
		srv.Miniredis().SetError("") // it comes back while the handler runs
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Etag", `"x"`)
		w.Header().Set("X-Own", "stays")
		switch r.URL.Path {
		case "/set":
			_ = color.Set(s, "blue")
		case "/add":
			_ = hits.Add(s, 1)
		case "/pop":
			_, _, _ = color.Pop(r.Context(), s)
		case "/login":
			_ = s.Login(r.Context(), "alice", session.LoginOptions{})
		case "/elevate":
			_ = s.Elevate(r.Context(), 2)
		case "/save":
			_ = s.Save(r.Context())
		}
		w.Write([]byte("all is well"))
	}))
	for _, path := range []string{"/set", "/add", "/pop", "/login", "/elevate", "/save"} {
		t.Run(path, func(t *testing.T) {
			srv.Miniredis().SetError("ERR broken")
			r := b.Request("POST", path, nil)
			w := httptest.NewRecorder()
			careless.ServeHTTP(w, r)
			resp := w.Result()
			if text := body(resp); resp.StatusCode != 503 || strings.Contains(text, "well") || resp.Header.Get("Retry-After") == "" {
				t.Errorf("got %d %q, want 503 with Retry-After", resp.StatusCode, text)
			}
			if len(resp.Cookies()) != 0 || resp.Header.Get("Etag") != "" || resp.Header.Get("X-Own") != "stays" {
				t.Errorf("header %v", resp.Header)
			}
		})
	}
	// A handler that reports the failure itself is left alone,
	srv.Miniredis().SetError("ERR broken")
	own := browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		if err := color.Set(s, "blue"); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("Set: %v", err)
		}
		http.Error(w, "own words", http.StatusBadGateway)
	}))
	w0 := httptest.NewRecorder()
	own.ServeHTTP(w0, b.Request("POST", "/", nil))
	if w0.Code != http.StatusBadGateway || w0.Body.String() != "own words\n" {
		t.Errorf("the handler's own error became %d %q", w0.Code, w0.Body)
	}
	// and so is one that only reads.
	srv.Miniredis().SetError("ERR broken")
	w := httptest.NewRecorder()
	careless.ServeHTTP(w, b.Request("GET", "/read", nil))
	if w.Code != 200 || len(w.Result().Cookies()) != 0 {
		t.Errorf("read: got %d", w.Code)
	}
	if b.Cookie(cookieName) != token {
		t.Error("the cookie changed")
	}
	want(t, b.Do("GET", "/get?k=color"), 200, "red") // and nothing was written
	if len(st.keys("s")) != 1 {
		t.Errorf("%d records, want 1", len(st.keys("s")))
	}
	if logs := st.logs.String(); strings.Count(logs, "can't be read") == 0 || !strings.Contains(logs, "are back") {
		t.Errorf("logs: %s", logs)
	}
}

func TestStoreFailsAtTheCommit(t *testing.T) {
	srv := redistest.Embedded(t)
	st := newSite(t, srv)
	b := st.login("alice")
	for _, c := range []struct {
		name string
		b    *browsertest.Browser
	}{{"record", b}, {"guest", st.browser()}} {
		token := c.b.Cookie(cookieName)
		st.on("/c", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(color.Set(s, "blue"))
			srv.Miniredis().SetError("ERR broken")
			w.Header().Set("Location", "/next")
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(303)
			if _, err := w.Write([]byte("later")); !errors.Is(err, session.ErrUnavailable) {
				t.Errorf("%s: Write after a failed commit: %v", c.name, err)
			}
			if err := http.NewResponseController(w).Flush(); !errors.Is(err, session.ErrUnavailable) {
				t.Errorf("%s: Flush after a failed commit: %v", c.name, err)
			}
			srv.Miniredis().SetError("")
		})
		resp := c.b.Do("POST", "/c")
		if resp.StatusCode != 503 || resp.Header.Get("Location") != "" || resp.Header.Get("Content-Length") == "5" || len(resp.Cookies()) > 0 {
			t.Errorf("%s: got %d, header %v", c.name, resp.StatusCode, resp.Header)
		}
		if c.b.Cookie(cookieName) != token {
			t.Errorf("%s: the cookie changed", c.name)
		}
		want(t, c.b.Do("GET", "/get?k=color"), 200, "(none)")
	}
}

func TestFailedCommitUndoesTheLogin(t *testing.T) {
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Nodes()[0].Addr())
	client := redistest.NewClient(t, proxy.Addr())
	st := newSiteOn(t, client, redistest.Prefix(t))
	b := st.browser()
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	token := b.Cookie(cookieName)
	st.on("/c", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
		st.check(color.Set(s, "blue"))
		// The commit is never executed, and its nonce not found.
		proxy.SwallowRequest(1, "evalsha", "eval")
	})
	resp := b.Do("POST", "/c")
	if resp.StatusCode != 503 || len(resp.Cookies()) > 0 || b.Cookie(cookieName) != token {
		t.Errorf("got %d with cookies %v", resp.StatusCode, resp.Cookies())
	}
	want(t, b.Do("GET", "/get?k=color"), 200, "red")
	if infos, _, err := st.m.List(t.Context(), "alice", ""); err != nil || len(infos) != 0 {
		t.Errorf("alice has %d sessions (%v), want 0", len(infos), err)
	}
}

func TestLostCommitReplyIsSettledByItsNonce(t *testing.T) {
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Nodes()[0].Addr())
	client := redistest.NewClient(t, proxy.Addr())
	st := newSiteOn(t, client, redistest.Prefix(t))
	b := st.login("alice")
	want(t, b.Do("POST", "/add"), 200, "")
	st.on("/c", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(hits.Add(s, 1))
		proxy.DropReply(1, "evalsha", "eval")
	})
	want(t, b.Do("POST", "/c"), 200, "")
	want(t, b.Do("GET", "/hits"), 200, "2")
}

// If the outcome of a save is unknown, the changes are not sent again with the response,
// and the response is an error.
func TestUnknownSaveIsNotRepeated(t *testing.T) {
	t.Parallel()
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Nodes()[0].Addr())
	client := redistest.NewClient(t, proxy.Addr())
	st := newSiteOn(t, client, redistest.Prefix(t))
	b := st.login("alice")
	want(t, b.Do("POST", "/add"), 200, "")
	st.on("/c", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(hits.Add(s, 1))
		proxy.SwallowRequest(1, "evalsha", "eval")
		if err := s.Save(r.Context()); !errors.Is(err, gatekit.ErrUnknownOutcome) {
			t.Errorf("Save: %v, want ErrUnknownOutcome", err)
		}
	})
	if resp := b.Do("POST", "/c"); resp.StatusCode != 503 {
		t.Errorf("got %d, want 503", resp.StatusCode)
	}
	want(t, b.Do("GET", "/hits"), 200, "1")
}
