package session_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
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
