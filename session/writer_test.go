package session_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/sessiontest"
)

// serve returns a server on the network, whose writer has all that net/http's has, and a client that follows nothing.
func (st *site) serve() (*httptest.Server, *http.Client) {
	srv := httptest.NewServer(st.handler)
	st.t.Cleanup(srv.Close)
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return srv, client
}

func TestCookieIsThereBeforeTheFirstByte(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	srv, client := st.serve()
	for _, c := range []struct {
		name   string
		write  func(w http.ResponseWriter, r *http.Request)
		status int
		body   string
	}{
		{"nothing", func(w http.ResponseWriter, r *http.Request) {}, 200, ""},
		{"Write", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("x")) }, 200, "x"},
		{"WriteString", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") }, 200, "x"},
		{"WriteHeader 204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, 204, ""},
		{"WriteHeader 304", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) }, 304, ""},
		{"WriteHeader twice", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); w.Write([]byte("x")) }, 201, "x"},
		{"error status", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 404) }, 404, "no\n"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusSeeOther) }, 303, ""},
		{"Flush", func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); w.Write([]byte("x")) }, 200, "x"},
		{"FlushError", func(w http.ResponseWriter, r *http.Request) {
			st.check(http.NewResponseController(w).Flush())
			w.Write([]byte("x"))
		}, 200, "x"},
		{"ReadFrom", func(w http.ResponseWriter, r *http.Request) {
			n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("xyz"))
			st.check(err)
			if n != 3 {
				t.Errorf("ReadFrom: %d", n)
			}
		}, 200, "xyz"},
		{"io.Copy", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, strings.NewReader("xyz")) }, 200, "xyz"},
		{"103 first", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(202)
		}, 202, ""},
		{"100 first", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(100); w.Write([]byte("x")) }, 200, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				st.check(color.Set(s, "red"))
				c.write(w, r)
			})
			for _, method := range []string{"GET", "HEAD"} {
				req, _ := http.NewRequest(method, srv.URL+"/w", nil)
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got := body(resp)
				resp.Body.Close()
				if resp.StatusCode != c.status || method == "GET" && !strings.HasPrefix(got, c.body) {
					t.Errorf("%s: got %d %q, want %d %q", method, resp.StatusCode, got, c.status, c.body)
				}
				cookies := resp.Cookies()
				if len(cookies) != 1 {
					t.Fatalf("%s: %d cookies, want 1", method, len(cookies))
				}
				if cc := resp.Header.Get("Cache-Control"); cc != "no-store" {
					t.Errorf("%s: Cache-Control %q", method, cc)
				}
				if v := resp.Header.Get("Vary"); v != "Cookie" {
					t.Errorf("%s: Vary %q", method, v)
				}
				b := st.browser()
				b.SetCookie(cookieName, cookies[0].Value)
				want(t, b.Do("GET", "/get?k=color"), 200, "red")
			}
		})
	}
}

func TestInformationalResponsesCommitNothing(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	srv, client := st.serve()
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(color.Set(s, "red"))
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		st.check(color.Set(s, "blue")) // not too late
	})
	hints := 0
	req, _ := http.NewRequest("GET", srv.URL+"/w", nil)
	req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints++
			if h.Get("Set-Cookie") != "" {
				t.Error("the cookie went out with 103")
			}
			return nil
		},
	}))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if hints != 1 || len(resp.Cookies()) != 1 {
		t.Errorf("%d hints, %d cookies, want 1 and 1", hints, len(resp.Cookies()))
	}
	b := st.browser()
	b.SetCookie(cookieName, resp.Cookies()[0].Value)
	want(t, b.Do("GET", "/get?k=color"), 200, "blue")
}

func TestChangesAfterTheFirstByteAreTooLate(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	b := st.browser()
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		io.WriteString(w, "x")
		for name, err := range map[string]error{
			"Set": color.Set(s, "late"), "Delete": color.Delete(s), "Add": hits.Add(s, 1), "Clear": s.Clear(),
			"Flash": s.Flash(session.Message{}), "Login": s.Login(r.Context(), "alice", session.LoginInfo{}),
			"Rotate": s.Rotate(r.Context()), "Logout": s.Logout(r.Context()),
		} {
			if !errors.Is(err, session.ErrTooLate) {
				t.Errorf("%s after the first byte: %v, want ErrTooLate", name, err)
			}
		}
	})
	want(t, b.Do("GET", "/w"), 200, "x")
	want(t, b.Do("GET", "/get?k=color"), 200, "red")
}

func TestStreamsSaveByHand(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
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
	st := newSite(t, luatest.Embedded(t))
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

func TestHijack(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
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
		st.check(s.Login(r.Context(), "alice", session.LoginInfo{}))
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
		req, _ := http.NewRequest("GET", srv.URL+c.path, nil)
		if c.cookie != "" {
			req.AddCookie(&http.Cookie{Name: cookieName, Value: c.cookie})
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		got := body(resp)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: got %d %q, want %d", c.path, resp.StatusCode, got, c.status)
		}
	}
	want(t, b.Do("GET", "/get?k=color"), 200, "blue")
}

func TestSwitchingProtocolsCommits(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
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

// bare is a writer with nothing but what it must have.
type bare struct {
	header http.Header
	status int
}

func (b *bare) Header() http.Header         { return b.header }
func (b *bare) WriteHeader(status int)      { b.status = status }
func (b *bare) Write(p []byte) (int, error) { return len(p), nil }

type (
	withFlush    struct{}
	withHijack   struct{}
	withReadFrom struct{}
	withPush     struct{}
)

func (withFlush) Flush()                                          {}
func (withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return nil, nil, errors.New("taken") }
func (withReadFrom) ReadFrom(r io.Reader) (int64, error)          { return io.Copy(io.Discard, r) }
func (withPush) Push(target string, opts *http.PushOptions) error { return nil }

// thin is a foreign wrapper that offers Unwrap only.
type thin struct{ inner http.ResponseWriter }

func (w thin) Header() http.Header         { return w.inner.Header() }
func (w thin) WriteHeader(status int)      { w.inner.WriteHeader(status) }
func (w thin) Write(p []byte) (int, error) { return w.inner.Write(p) }
func (w thin) Unwrap() http.ResponseWriter { return w.inner }

func TestWrapperOffersWhatTheWriterHas(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	type rw = http.ResponseWriter
	b := func() *bare { return &bare{header: http.Header{}} }
	type f = withFlush
	type h = withHijack
	type r = withReadFrom
	type p = withPush
	for _, c := range []struct {
		inner rw
		has   string
	}{
		{b(), ""},
		{struct {
			rw
			f
		}{b(), f{}}, "F"},
		{struct {
			rw
			h
		}{b(), h{}}, "H"},
		{struct {
			rw
			r
		}{b(), r{}}, "R"},
		{struct {
			rw
			p
		}{b(), p{}}, "P"},
		{struct {
			rw
			f
			h
		}{b(), f{}, h{}}, "FH"},
		{struct {
			rw
			f
			r
		}{b(), f{}, r{}}, "FR"},
		{struct {
			rw
			f
			p
		}{b(), f{}, p{}}, "FP"},
		{struct {
			rw
			h
			r
		}{b(), h{}, r{}}, "HR"},
		{struct {
			rw
			h
			p
		}{b(), h{}, p{}}, "HP"},
		{struct {
			rw
			r
			p
		}{b(), r{}, p{}}, "RP"},
		{struct {
			rw
			f
			h
			r
		}{b(), f{}, h{}, r{}}, "FHR"},
		{struct {
			rw
			f
			h
			p
		}{b(), f{}, h{}, p{}}, "FHP"},
		{struct {
			rw
			f
			r
			p
		}{b(), f{}, r{}, p{}}, "FRP"},
		{struct {
			rw
			h
			r
			p
		}{b(), h{}, r{}, p{}}, "HRP"},
		{struct {
			rw
			f
			h
			r
			p
		}{b(), f{}, h{}, r{}, p{}}, "FHRP"},
		{thin{struct {
			rw
			f
			h
			r
		}{b(), f{}, h{}, r{}}}, "FH"}, // what a ResponseController would find
		{thin{b()}, ""},
	} {
		s := st.m.Begin(httptest.NewRequest("GET", "/", nil))
		w, done := st.m.Wrap(c.inner, s)
		got := ""
		for _, k := range []struct {
			letter string
			ok     bool
		}{
			{"F", is[http.Flusher](w)}, {"H", is[http.Hijacker](w)}, {"R", is[io.ReaderFrom](w)}, {"P", is[http.Pusher](w)},
		} {
			if k.ok {
				got += k.letter
			}
		}
		if got != c.has {
			t.Errorf("%T: wrapped it offers %q, want %q", c.inner, got, c.has)
		}
		if is[interface{ FlushError() error }](w) != is[http.Flusher](w) {
			t.Errorf("%T: FlushError without Flush, or the reverse", c.inner)
		}
		if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); !ok || fmt.Sprintf("%T", u.Unwrap()) != fmt.Sprintf("%T", c.inner) {
			t.Errorf("%T: no Unwrap", c.inner)
		}
		done()
		st.m.Finish(t.Context(), s)
	}
}

func is[T any](v any) bool { _, ok := v.(T); return ok }

func TestFlushThroughAForeignWrapperCommits(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(color.Set(s, "red"))
		st.check(http.NewResponseController(thin{w}).Flush())
	})
	// Our writer over a foreign one over the recorder, and a foreign one over ours.
	rec := httptest.NewRecorder()
	st.handler.ServeHTTP(thin{rec}, httptest.NewRequest("GET", "/w", nil))
	if resp := rec.Result(); len(resp.Cookies()) != 1 {
		t.Errorf("%d cookies, want 1", len(resp.Cookies()))
	}
}

func TestHeadersOfSharedCaches(t *testing.T) {
	st := newSite(t, luatest.Embedded(t))
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		w.Header().Set("Vary", "Accept-Encoding, cookie")
		w.Header().Set("Cache-Control", "private, no-cache")
		if r.Method == "POST" {
			st.check(color.Set(s, "red"))
		}
	})
	resp := st.browser().Do("POST", "/w")
	if got := strings.Join(resp.Header["Cache-Control"], ", "); got != "private, no-cache, no-store" {
		t.Errorf("Cache-Control %q: the handler's own has to stay", got)
	}
	if got := resp.Header["Vary"]; len(got) != 1 {
		t.Errorf("Vary %q twice", got)
	}
	resp = st.browser().Do("GET", "/w")
	if got := resp.Header.Get("Cache-Control"); got != "private, no-cache" {
		t.Errorf("Cache-Control %q without a cookie", got)
	}
	// A handler that asks for no session varies by none.
	plain := sessiontest.NewBrowser(sessiontest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
	plain.SetCookie(cookieName, "x")
	if resp := plain.Do("GET", "/"); resp.Header.Get("Vary") != "" || resp.Header.Get("Cache-Control") != "" {
		t.Errorf("header of an unused session: %v", resp.Header)
	}
}
