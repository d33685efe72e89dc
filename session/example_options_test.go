package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// A stream that only reads its session notes that the visitor is still there, and learns
// when the session ends. Without that it would be logged out at IdleTimeout.
func ExampleSession_Touch() {
	m, stop := exampleManager()
	defer stop()
	wrap(m, func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		_ = s.Login(r.Context(), "alice", session.LoginOptions{})
		tick := time.NewTicker(10 * time.Millisecond) // a minute, say
		defer tick.Stop()
		for range 3 {
			<-tick.C
			if err := s.Touch(r.Context()); errors.Is(err, session.ErrGone) {
				return // logged out elsewhere: end the stream
			}
			fmt.Println("event for", s.UserID())
		}
	}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/events", nil))
	// Output:
	// event for alice
	// event for alice
	// event for alice
}

// A shop keeps the carts of guests for two weeks, past the end of the browser, and logs
// users out after half an hour.
func ExampleOptions_guest() {
	m, stop := managerWith(session.Options{
		Lifetime: session.Lifetime{IdleTimeout: 30 * time.Minute, AbsoluteTimeout: 12 * time.Hour},
		Guest:    session.Lifetime{IdleTimeout: 14 * 24 * time.Hour, AbsoluteTimeout: 30 * 24 * time.Hour, Persistent: true},
		Carry:    []string{"cart"}, // along into a login
	})
	defer stop()
	cart := session.NewKey[[]string]("cart")
	w := httptest.NewRecorder()
	wrap(m, func(_ http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		_ = cart.Set(s, []string{"teapot"})
	}).ServeHTTP(w, httptest.NewRequest("POST", "/cart", nil))
	days := time.Duration(w.Result().Cookies()[0].MaxAge) * time.Second / (24 * time.Hour)
	fmt.Println("the cookie stays for", int(days), "days")
	// Output: the cookie stays for 30 days
}

// A site moves its cookie from one host to its domain. A browser keeps both, so logins
// and logouts remove the old one.
func ExampleOptions_oldCookies() {
	m, stop := managerWith(session.Options{
		Cookie:     session.Cookie{Name: "__Secure-id", Domain: "example.com"},
		OldCookies: []session.Cookie{{Name: "__Secure-id"}}, // as it was: no Domain
	})
	defer stop()
	w := httptest.NewRecorder()
	wrap(m, func(_ http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		_ = s.Login(r.Context(), "alice", session.LoginOptions{})
	}).ServeHTTP(w, httptest.NewRequest("POST", "https://www.example.com/login", nil))
	for _, c := range w.Result().Cookies() {
		fmt.Printf("%s, domain %q, removed: %v\n", c.Name, c.Domain, c.MaxAge < 0)
	}
	// Output:
	// __Secure-id, domain "", removed: true
	// __Secure-id, domain "example.com", removed: false
}

// Updates of one value wait for each other, for no longer than the budget.
func ExampleKey_Update_busy() {
	m, stop := exampleManager()
	defer stop()
	seats := session.NewKey[int]("seats")
	w := httptest.NewRecorder()
	wrap(m, func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		n, err := seats.Update(r.Context(), s, func(n int) (int, error) { return n + 1, nil })
		if errors.Is(err, session.ErrBusy) || errors.Is(err, session.ErrConflict) {
			http.Error(w, "try again", http.StatusServiceUnavailable) // nothing was changed
			return
		}
		fmt.Println(n, err)
	}).ServeHTTP(w, httptest.NewRequest("POST", "/seats", nil))
	// Output: 1 <nil>
}

func managerWith(o session.Options) (*session.Manager, func()) {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		panic(err)
	}
	m, err := session.New(kv, o)
	if err != nil {
		panic(err)
	}
	return m, func() { client.Close(); server.Close() }
}

// Behind a reverse proxy the client's address stands in a header. The list of devices
// keeps the first 16 bits of an IPv4 address here, and nothing of an IPv6 address.
func ExampleOptions_clientIP() {
	clientIP := func(r *http.Request) netip.Addr { // or that of ratelimit.NewClientIP
		addr, _ := netip.ParseAddr(r.Header.Get("X-Real-Ip")) // the proxy overwrites it
		return addr
	}
	m, stop := managerWith(session.Options{ClientIP: clientIP, IPv4Bits: 16, IPv6Bits: -1})
	defer stop()
	r := httptest.NewRequest("POST", "/login", nil)
	r.Header.Set("X-Real-Ip", "203.0.113.7")
	wrap(m, func(_ http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		_ = s.Login(r.Context(), "alice", session.LoginOptions{})
	}).ServeHTTP(httptest.NewRecorder(), r)
	infos, _, _ := m.List(r.Context(), "alice", "")
	fmt.Println(infos[0].IP)
	// Output: 203.0.0.0
}

// Scripts read a cookie without HttpOnly, and so do scripts that an attacker injects.
func ExampleCookie() {
	m, stop := managerWith(session.Options{Cookie: session.Cookie{Name: "__Host-sid", ReadableByScripts: true}})
	defer stop()
	w := httptest.NewRecorder()
	wrap(m, func(_ http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		_ = s.Login(r.Context(), "alice", session.LoginOptions{})
	}).ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
	c := w.Result().Cookies()[0]
	fmt.Println(c.Name, c.HttpOnly, c.Secure)
	// Output: __Host-sid false true
}

// A process that pushes to browsers closes the streams of those who were logged out.
func ExampleManager_Watch() {
	m, stop := exampleManager()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan bool, 1)
	ended := make(chan error)
	go func() {
		ended <- m.Watch(ctx, func(e session.Event) {
			switch e.Kind {
			case session.Missed: // events may be lost before this one: look who is still logged in
				listening <- true
			case session.Revoked:
				fmt.Println("alice was logged out:", e.Of("alice"))
				cancel()
			}
		})
	}()
	<-listening
	_, _ = m.RevokeUser(ctx, "alice")
	fmt.Println(errors.Is(<-ended, context.Canceled))
	// Output:
	// alice was logged out: true
	// true
}
