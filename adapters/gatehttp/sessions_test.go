package gatehttp_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

// account returns a browser at a site with a login, a page for users, and one for users
// who proved their identity a moment ago.
func account(t *testing.T, srv *redistest.Server, fresh time.Duration) (*browsertest.Browser, *session.Manager) {
	t.Helper()
	m, err := session.New(kvtest.Open(t, srv.Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 2 * time.Second}), session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		fmt.Fprintf(w, "%s %v", s.UserID(), err)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err == nil {
			err = s.Login(r.Context(), "alice", session.LoginOptions{Device: session.Device{Label: "test"}})
		}
		if err != nil {
			m.Refuse(w, r, err)
		}
	})
	mux.HandleFunc("POST /elevate", func(w http.ResponseWriter, r *http.Request) {
		s, _ := gatehttp.Session(r)
		if err := s.Elevate(r.Context(), 2); err != nil {
			m.Refuse(w, r, err)
		}
	})
	mux.Handle("/logout", gatehttp.Logout(m, "/bye"))
	mux.Handle("GET /devices", gatehttp.Devices(m))
	mux.Handle("/page", gatehttp.RequireLogin(m, "/enter")(page))
	mux.Handle("/api", gatehttp.RequireLogin(m, "")(page))
	mux.Handle("/sensitive", gatehttp.RequireFresh(m, fresh, "/again")(page))
	mux.Handle("/sensitive-api", gatehttp.RequireFresh(m, fresh, "")(page))
	mux.Handle("/panic", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	return browsertest.NewBrowser(gatehttp.Sessions(m)(mux)), m
}

func check(t *testing.T, resp *http.Response, status int, location, text string) {
	t.Helper()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != status || resp.Header.Get("Location") != location || text != "" && string(b) != text {
		t.Errorf("got %d to %q: %q, want %d to %q: %q", resp.StatusCode, resp.Header.Get("Location"), b, status, location, text)
	}
}

// show asks for a page, as a browser does.
func show(b *browsertest.Browser, method, path string) *http.Response {
	r := b.Request(method, path, nil)
	r.Header.Set("Accept", "text/html,*/*")
	return b.Send(r)
}

func TestSessionGuards(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		b, _ := account(t, srv, time.Hour)
		check(t, show(b, "GET", "/page"), 303, "/enter?next=%2Fpage", "")
		check(t, b.Do("GET", "/page"), 401, "", "")
		check(t, b.Do("POST", "/page"), 401, "", "")
		form := b.Request("POST", "/page", nil)
		form.Header.Set("Accept", "text/html,*/*")
		check(t, b.Send(form), 303, "/enter", "")
		form.Header.Set("Sec-Fetch-Mode", "cors") // a script's fetch
		check(t, b.Send(form), 401, "", "")
		check(t, b.Do("GET", "/api"), 401, "", "")
		check(t, b.Do("GET", "/sensitive"), 401, "", "")
		check(t, b.Do("GET", "/devices"), 401, "", "")
		check(t, b.Do("POST", "/login"), 200, "", "")
		check(t, b.Do("GET", "/page"), 200, "", "alice <nil>")
		check(t, b.Do("GET", "/api"), 200, "", "alice <nil>")
		check(t, b.Do("GET", "/sensitive"), 200, "", "alice <nil>")
		check(t, b.Do("GET", "/logout"), 405, "", "")
		check(t, b.Do("GET", "/page"), 200, "", "alice <nil>")
		old := b.Clone()
		check(t, show(b, "POST", "/logout"), 303, "/bye", "")
		check(t, show(b, "POST", "/logout"), 303, "/bye", "") // twice does no harm
		check(t, b.Do("POST", "/logout"), 204, "", "")
		check(t, show(b, "GET", "/page"), 303, "/enter?next=%2Fpage", "")
		check(t, show(old, "GET", "/page"), 303, "/enter?next=%2Fpage", "")
	})
}

func TestRequireFreshAsksAgain(t *testing.T) {
	b, _ := account(t, redistest.Embedded(t), 30*time.Millisecond)
	check(t, b.Do("POST", "/login"), 200, "", "")
	time.Sleep(40 * time.Millisecond)
	check(t, show(b, "GET", "/sensitive"), 303, "/again?next=%2Fsensitive", "")
	check(t, b.Do("POST", "/sensitive"), 403, "", "")
	check(t, b.Do("GET", "/sensitive-api"), 403, "", "")
	check(t, b.Do("POST", "/elevate"), 200, "", "")
	b2, _ := account(t, redistest.Embedded(t), time.Hour)
	check(t, b2.Do("POST", "/login"), 200, "", "")
	check(t, b2.Do("POST", "/elevate"), 200, "", "")
	check(t, b2.Do("POST", "/sensitive"), 200, "", "alice <nil>")
}

func TestDevicesAsJSON(t *testing.T) {
	redistest.Each(t, func(t *testing.T, srv *redistest.Server) {
		b, m := account(t, srv, time.Hour)
		check(t, b.Do("POST", "/login"), 200, "", "")
		other := b.Clone()
		check(t, other.Do("POST", "/login"), 200, "", "") // replaces b's session
		check(t, other.Do("GET", "/page"), 200, "", "alice <nil>")
		resp := other.Do("GET", "/devices")
		var page struct {
			Devices []struct {
				ID, Label string
				Current   bool
				Created   time.Time
			}
			Next string
		}
		if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
			t.Fatal(err)
		}
		if len(page.Devices) != 1 || !page.Devices[0].Current || page.Devices[0].Label != "test" || page.Next != "" {
			t.Errorf("got %+v", page)
		}
		if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Vary") != "Cookie" {
			t.Errorf("header %v", resp.Header)
		}
		check(t, other.Do("GET", "/devices?cursor=junk"), 400, "", "")
		if err := m.Revoke(t.Context(), "alice", page.Devices[0].ID); err != nil {
			t.Fatal(err)
		}
		check(t, show(other, "GET", "/page"), 303, "/enter?next=%2Fpage", "")
	})
}

// While Redis is down, the guards neither send logged-in users to the login page nor log
// them out.
func TestGuardsWhenRedisIsDown(t *testing.T) {
	srv := redistest.Embedded(t)
	b, _ := account(t, srv, time.Hour)
	check(t, b.Do("POST", "/login"), 200, "", "")
	cookie := b.Cookie("__Host-id")
	srv.Miniredis().SetError("LOADING")
	for _, path := range []string{"/page", "/api", "/sensitive", "/devices"} {
		check(t, b.Do("GET", path), 503, "", "")
	}
	check(t, b.Do("POST", "/logout"), 503, "", "")
	check(t, b.Do("POST", "/login"), 503, "", "")
	if b.Cookie("__Host-id") != cookie {
		t.Error("the cookie changed")
	}
	srv.Miniredis().SetError("")
	check(t, b.Do("GET", "/page"), 200, "", "alice <nil>")
}

func TestSessionsPassPanicsOn(t *testing.T) {
	b, _ := account(t, redistest.Embedded(t), time.Hour)
	defer func() {
		if v := recover(); v != "boom" {
			t.Errorf("recovered %v", v)
		}
	}()
	b.Do("GET", "/panic")
}

// A handler goes on after a timeout has answered for it. Its changes of the session then
// come too late, and do no harm.
func TestTimeoutInsideSessions(t *testing.T) {
	m, err := session.New(kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: "x"}), session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key := session.NewKey[string]("k")
	late := make(chan error, 1)
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		_ = key.Set(s, "ahead")
		<-r.Context().Done()
		time.Sleep(20 * time.Millisecond)
		late <- key.Set(s, "late")
	})
	b := browsertest.NewBrowser(gatehttp.Sessions(m)(http.TimeoutHandler(slow, 10*time.Millisecond, "slow")))
	resp := b.Do("GET", "/")
	if resp.StatusCode != 503 || len(resp.Cookies()) != 0 {
		t.Errorf("got %d with cookies %v", resp.StatusCode, resp.Cookies())
	}
	if err := <-late; err == nil {
		t.Error("a change after the response was accepted")
	}
}

func TestSessionsOverTheNetwork(t *testing.T) {
	m, err := session.New(kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: "x"}), session.Options{InsecureCookie: true})
	if err != nil {
		t.Fatal(err)
	}
	key := session.NewKey[string]("k")
	srv := httptest.NewServer(gatehttp.CrossOrigin(nil)(gatehttp.Sessions(m)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err != nil {
			t.Error(err)
		}
		if r.Method == "POST" {
			if err := key.Set(s, "x"); err != nil {
				t.Error(err)
			}
			http.NewResponseController(w).Flush()
		}
		v, _ := key.Get(s)
		io.WriteString(w, v)
	}))))
	defer srv.Close()
	post, _ := http.NewRequest("POST", srv.URL, nil)
	post.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := srv.Client().Do(post)
	if err != nil || resp.StatusCode != 403 {
		t.Fatalf("another site may post: %v, %v", resp, err)
	}
	resp.Body.Close()
	resp, err = srv.Client().Post(srv.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	line := resp.Header.Get("Set-Cookie")
	if !strings.HasPrefix(line, "id=1") || strings.Contains(line, "Secure") {
		t.Errorf("cookie of development: %q", line)
	}
	get, _ := http.NewRequest("GET", srv.URL, nil)
	get.AddCookie(resp.Cookies()[0])
	resp, err = srv.Client().Do(get)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "x" {
		t.Errorf("got %q", b)
	}
}
