package dropin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gatekit/gatekit/adapters/dropin"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/blob"
)

var (
	_ scs.Store            = (*dropin.SCSStore)(nil)
	_ scs.CtxStore         = (*dropin.SCSStore)(nil)
	_ scs.IterableStore    = (*dropin.SCSStore)(nil)
	_ scs.IterableCtxStore = (*dropin.SCSStore)(nil)
)

// scsCalls are the methods of a store with and without a context.
type scsCalls struct {
	find   func(token string) ([]byte, bool, error)
	commit func(token string, b []byte, expiry time.Time) error
	delete func(token string) error
	all    func() (map[string][]byte, error)
}

// eachSCS runs f with the methods of a new store, once with and once without a context,
// on each deployment.
func eachSCS(t *testing.T, f func(t *testing.T, s scsCalls)) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		for _, ctx := range []bool{true, false} {
			blobs, _ := newBlobs(t, server.Client(t))
			store := dropin.NewSCSStore(blobs)
			calls := scsCalls{store.Find, store.Commit, store.Delete, store.All}
			if ctx {
				calls = scsCalls{
					func(token string) ([]byte, bool, error) { return store.FindCtx(t.Context(), token) },
					func(token string, b []byte, expiry time.Time) error {
						return store.CommitCtx(t.Context(), token, b, expiry)
					},
					func(token string) error { return store.DeleteCtx(t.Context(), token) },
					func() (map[string][]byte, error) { return store.AllCtx(t.Context()) },
				}
			}
			t.Run(fmt.Sprint("ctx=", ctx), func(t *testing.T) { f(t, calls) })
		}
	})
}

// wantFound compares the data that a token finds; "" stands for none.
func (s scsCalls) wantFound(t *testing.T, token, want string) {
	t.Helper()
	b, found, err := s.find(token)
	if err != nil || found != (want != "") || string(b) != want {
		t.Errorf("found %q, %v, error %v; want %q", b, found, err, want)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The requirements of scs for a store, taken from the tests of its own stores.
func TestSCSStore(t *testing.T) {
	soon := time.Now().Add(time.Minute)
	for name, f := range map[string]func(t *testing.T, s scsCalls){
		"missing": func(t *testing.T, s scsCalls) { s.wantFound(t, "missing", "") },
		"saved": func(t *testing.T, s scsCalls) {
			noError(t, s.commit("token", []byte("data"), soon))
			s.wantFound(t, "token", "data")
		},
		"updated": func(t *testing.T, s scsCalls) {
			noError(t, s.commit("token", []byte("data"), soon))
			noError(t, s.commit("token", []byte("new data"), soon))
			s.wantFound(t, "token", "new data")
		},
		"expired": func(t *testing.T, s scsCalls) {
			end := time.Now().Add(100 * time.Millisecond)
			noError(t, s.commit("token", []byte("data"), end))
			b, found, err := s.find("token")
			if err != nil || !found && time.Now().Before(end) {
				t.Errorf("found %q, %v ahead of its end, error %v", b, found, err)
			}
			// Its time to live counts from the moment at which the server got it.
			for late := end.Add(10 * time.Second); found && err == nil && time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
				_, found, err = s.find("token")
			}
			s.wantFound(t, "token", "")
		},
		"expired when committed": func(t *testing.T, s scsCalls) {
			noError(t, s.commit("token", []byte("data"), soon))
			noError(t, s.commit("token", []byte("data"), time.Now().Add(-time.Minute)))
			s.wantFound(t, "token", "")
		},
		"deleted": func(t *testing.T, s scsCalls) {
			noError(t, s.commit("token", []byte("data"), soon))
			noError(t, s.delete("token"))
			s.wantFound(t, "token", "")
		},
		"deleted without being there": func(t *testing.T, s scsCalls) {
			noError(t, s.delete("missing"))
			noError(t, s.delete(""))
			s.wantFound(t, "missing", "")
		},
		"malformed": func(t *testing.T, s scsCalls) {
			for _, token := range []string{"", "}{", "\x00", strings.Repeat("x", 10_000), "handle:" + strings.Repeat("A", 22)} {
				s.wantFound(t, token, "")
			}
		},
		"all": func(t *testing.T, s scsCalls) {
			if all, err := s.all(); err != nil || all == nil || len(all) != 0 {
				t.Errorf("of none: %v, %v", all, err)
			}
			for i := range 3 {
				noError(t, s.commit(fmt.Sprint("token", i), []byte(fmt.Sprint("data", i)), soon))
			}
			noError(t, s.commit("token3", []byte("data3"), time.Now().Add(-time.Minute)))
			all, err := s.all()
			noError(t, err)
			var data []string
			for _, b := range all {
				data = append(data, string(b))
			}
			if slices.Sort(data); fmt.Sprint(data) != "[data0 data1 data2]" {
				t.Errorf("all are %v", data)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { eachSCS(t, f) })
	}
}

// scsSite is a program with scs in front of a few routes.
type scsSite struct {
	t       *testing.T
	manager *scs.SessionManager
	handler http.Handler
	paused  chan string // a request to /slow sends its path, and waits
	resume  chan bool
}

// newManager is scs.New without the goroutine of its default store, which nothing ends.
func newManager() *scs.SessionManager {
	return &scs.SessionManager{
		Lifetime: 24 * time.Hour,
		Codec:    scs.GobCodec{},
		Cookie:   scs.SessionCookie{Name: "session", HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode, Persist: true},
	}
}

func newSCSSite(t *testing.T, blobs *blob.Store) *scsSite {
	s := &scsSite{t: t, manager: newManager(), paused: make(chan string), resume: make(chan bool)}
	s.manager.Store = dropin.NewSCSStore(blobs)
	s.manager.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, err error) {
		switch {
		case errors.Is(err, session.ErrGone):
			http.Error(w, "gone", http.StatusConflict)
		case errors.Is(err, session.ErrUnavailable):
			http.Error(w, "away", http.StatusServiceUnavailable)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if err := s.manager.RenewToken(r.Context()); err != nil {
			s.manager.ErrorFunc(w, r, err)
			return
		}
		s.manager.Put(r.Context(), "user", "alice")
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		if err := s.manager.Destroy(r.Context()); err != nil {
			s.manager.ErrorFunc(w, r, err)
		}
	})
	mux.HandleFunc("/visit", func(_ http.ResponseWriter, r *http.Request) { s.manager.Put(r.Context(), "visited", true) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		s.manager.Put(r.Context(), "slow", s.manager.GetString(r.Context(), "user"))
		s.paused <- r.URL.Path
		<-s.resume
	})
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, s.manager.GetString(r.Context(), "user"))
	})
	s.handler = s.manager.LoadAndSave(mux)
	return s
}

// do sends a request with the cookie, and returns status, body and the cookie that the
// response sets, or else the old one.
func (s *scsSite) do(path, cookie string) (code int, body, next string) {
	r := httptest.NewRequest("GET", path, nil)
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: cookie})
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	next = cookie
	for _, c := range w.Result().Cookies() {
		next = c.Value
	}
	return w.Code, strings.TrimSpace(w.Body.String()), next
}

func (s *scsSite) wants(path, cookie string, code int, body string) (next string) {
	s.t.Helper()
	gotCode, gotBody, next := s.do(path, cookie)
	if gotCode != code || gotBody != body {
		s.t.Errorf("%s: %d %q, want %d %q", path, gotCode, gotBody, code, body)
	}
	return next
}

func TestSCSManager(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		blobs, _ := newBlobs(t, server.Client(t))
		s := newSCSSite(t, blobs)
		guest := s.wants("/visit", "", 200, "")
		user := s.wants("/login", guest, 200, "")
		if user == guest || guest == "" {
			t.Errorf("the login kept the token")
		}
		s.wants("/who", user, 200, "alice")
		s.wants("/who", guest, 200, "")
		second := s.wants("/login", "", 200, "")
		if after := s.wants("/logout", user, 200, ""); after != "" {
			t.Errorf("the cookie after a logout is %q", after)
		}
		s.wants("/who", user, 200, "")
		s.wants("/who", second, 200, "alice")
	})
}

// Other stores have this fault: a request that read the session before the logout writes
// it back afterwards.
func TestSCSLateCommitRevivesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		for _, idle := range []time.Duration{0, time.Hour} {
			for _, end := range []string{"/logout", "/login"} {
				blobs, _ := newBlobs(t, server.Client(t))
				s := newSCSSite(t, blobs)
				s.manager.IdleTimeout = idle
				cookie := s.wants("/login", "", 200, "")
				slow := make(chan string)
				go func() {
					code, body, next := s.do("/slow", cookie)
					slow <- fmt.Sprint(code, " ", body, " ", next == cookie)
				}()
				<-s.paused
				after := s.wants(end, cookie, 200, "")
				s.resume <- true
				// The response sets no cookie: the browser's may belong to another
				// session by now.
				if got := <-slow; got != "409 gone true" {
					t.Errorf("late commit after %s: %s", end, got)
				}
				s.wants("/who", cookie, 200, "")
				if end == "/login" {
					s.wants("/who", after, 200, "alice")
				}
			}
		}
	})
}

func TestSCSIterate(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		blobs, _ := newBlobs(t, server.Client(t))
		s := newSCSSite(t, blobs)
		alice, guest := s.wants("/login", "", 200, ""), s.wants("/visit", "", 200, "")
		var handle string
		err := s.manager.Iterate(t.Context(), func(ctx context.Context) error {
			if s.manager.GetString(ctx, "user") == "alice" {
				return s.manager.Destroy(ctx)
			}
			handle = s.manager.Token(ctx)
			s.manager.Put(ctx, "user", "bob")
			_, _, err := s.manager.Commit(ctx)
			return err
		})
		noError(t, err)
		s.wants("/who", alice, 200, "")
		s.wants("/who", guest, 200, "bob")
		s.wants("/who", handle, 200, "") // lets nobody in
	})
}

func TestSCSTokensStayOutOfRedis(t *testing.T) {
	server := redistest.Single(t)
	client := server.Client(t)
	blobs, prefix := newBlobs(t, client)
	s := newSCSSite(t, blobs)
	var tokens []string
	for range 3 {
		guest := s.wants("/visit", "", 200, "")
		user := s.wants("/login", guest, 200, "")
		tokens = append(tokens, guest, user)
	}
	s.wants("/logout", tokens[1], 200, "")
	keys := redistest.Keys(t, client, prefix)
	if len(keys) != len(tokens) {
		t.Errorf("%d keys of %d tokens", len(keys), len(tokens))
	}
	for _, key := range keys {
		value, err := client.Get(t.Context(), key).Result()
		noError(t, err)
		for _, token := range tokens {
			if strings.Contains(key+" "+value, token[:12]) {
				t.Errorf("%s holds a token", key)
			}
		}
	}
	redistest.NoImmortalKeys(t, client, prefix)
}

func TestSCSWhenRedisIsAway(t *testing.T) {
	server := redistest.NewSingle(t)
	blobs, _ := newBlobs(t, server.Client(t))
	s := newSCSSite(t, blobs)
	cookie := s.wants("/login", "", 200, "")
	go func() { _, _, _ = s.do("/slow", cookie); s.paused <- "done" }()
	<-s.paused
	server.Kill(t)
	if got := s.wants("/who", cookie, 503, "away"); got != cookie {
		t.Errorf("the cookie became %q", got)
	}
	if got := s.wants("/logout", cookie, 503, "away"); got != cookie {
		t.Errorf("the cookie became %q", got)
	}
	s.resume <- true
	<-s.paused
}
