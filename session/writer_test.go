package session_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// serve returns a server on the network, whose writer has all methods of net/http's, and
// a client that follows no redirects.
func (st *site) serve() (*httptest.Server, *http.Client) {
	srv := httptest.NewServer(st.handler)
	st.t.Cleanup(srv.Close)
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return srv, client
}

func TestCookieIsThereBeforeTheFirstByte(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
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
	st := newSite(t, redistest.Embedded(t))
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
	st := newSite(t, redistest.Embedded(t))
	b := st.browser()
	want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
	st.on("/w", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		io.WriteString(w, "x")
		for name, err := range map[string]error{
			"Set": color.Set(s, "late"), "Delete": color.Delete(s), "Add": hits.Add(s, 1), "Clear": s.Clear(),
			"Flash": s.Flash(session.Message{}), "Login": s.Login(r.Context(), "alice", session.LoginOptions{}),
			"Rotate": s.Rotate(r.Context()), "Logout": s.Logout(r.Context()),
		} {
			t.Run(name, func(t *testing.T) {
				if !errors.Is(err, session.ErrTooLate) {
					t.Errorf("%s after the first byte: %v, want ErrTooLate", name, err)
				}
			})
		}
	})
	want(t, b.Do("GET", "/w"), 200, "x")
	want(t, b.Do("GET", "/get?k=color"), 200, "red")
}

// bare is a writer with the required methods only.
type bare struct {
	header http.Header
	status int
}

func (b *bare) Header() http.Header { return b.header }

func (b *bare) WriteHeader(status int) { b.status = status }

func (b *bare) Write(p []byte) (int, error) { return len(p), nil }

func TestHeadersOfSharedCaches(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
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
	// If the handler does not ask for the session, Vary is not set.
	plain := browsertest.NewBrowser(browsertest.Middleware(st.m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
	plain.SetCookie(cookieName, "x")
	if resp := plain.Do("GET", "/"); resp.Header.Get("Vary") != "" || resp.Header.Get("Cache-Control") != "" {
		t.Errorf("header of an unused session: %v", resp.Header)
	}
}

// thin is a foreign wrapper that offers Unwrap only.
type thin struct{ inner http.ResponseWriter }

func (w thin) Header() http.Header         { return w.inner.Header() }
func (w thin) WriteHeader(status int)      { w.inner.WriteHeader(status) }
func (w thin) Write(p []byte) (int, error) { return w.inner.Write(p) }
func (w thin) Unwrap() http.ResponseWriter { return w.inner }

func TestFlushThroughAForeignWrapperCommits(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
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

type withHijack struct{}

func (withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errors.New("taken") }
