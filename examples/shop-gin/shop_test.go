package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/examples/internal/demo"
	"github.com/gatekit/gatekit/examples/internal/demotest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

func TestGuestsCartSurvivesTheLogin(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, base string) {
		v := visit(t, base)
		if a := v.get("/", 200, "Storm lantern", "39.00 €"); a.Header["Set-Cookie"] != nil {
			t.Error("one who only looks got a cookie")
		}
		v.add("teapot", 2)
		v.add("compass", 1)
		v.get("/", 200, `<span class="badge">3</span>`, "Pocket compass: added to your cart.")
		v.post("/cart/teapot/add", "/cart", "from", "cart")
		v.post("/cart/compass/remove", "/cart")
		v.post("/checkout", "/login") // a guest: log in first
		guest := v.Cookie()
		v.login("alice")
		v.wantCart(map[string]int{"Teapot": 3})
		v.get("/cart", 200, "73.50 €", "Order now")
		if v.Cookie() == guest {
			t.Error("the login kept the guest's token")
		}
		v.post("/checkout", "/orders")
		v.get("/orders", 200, "Thank you. Your order has the number 1.", "Order 1", "73.50 €")
		v.wantCart(map[string]int{})
		v.post("/logout", "/")
		v.Send("GET", "/orders", nil)
		v.get("/orders", 303)
		v.get("/", 200, `href="/login"`)

		other := visit(t, base)
		other.login("bob")
		if n := other.orderCount(); n != 0 {
			t.Errorf("bob sees %d orders of alice", n)
		}
	})
}

// Twenty tabs that add at once, all of one product and then of all products.
func TestParallelAddsAreAllKept(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, base string) {
		v := visit(t, base)
		v.add("notebook", 1) // one cart: without it each tab would be another guest
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() { v.post("/cart/"+products[i%4].ID+"/add", "/") })
		}
		wg.Wait()
		v.wantCart(map[string]int{"Teapot": 5, "Storm lantern": 5, "Pocket compass": 5, "Notebook": 6})
		for range 14 {
			wg.Go(func() { v.post("/cart/notebook/add", "/") })
		}
		wg.Wait()
		v.add("notebook", 1)
		v.get("/", 200, "A cart holds 20 of one thing.")
		v.wantCart(map[string]int{"Teapot": 5, "Storm lantern": 5, "Pocket compass": 5, "Notebook": 20})
	})
}

func TestTwoClicksOrderOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, base string) {
		v := visit(t, base)
		v.login("alice")
		v.add("lantern", 1)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { v.post("/checkout", "/orders") })
		}
		wg.Wait()
		page := v.get("/orders", 200, "Thank you.", "or it is ordered already.")
		if n := strings.Count(page.Body, "<h2>Order "); n != 1 {
			t.Errorf("4 clicks at once placed %d orders, want 1", n)
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, base string) {
		began := time.Now()
		v := visit(t, base)
		v.login("alice") // a post
		for range 5 {
			v.post("/checkout", "/orders")
		}
		denied := v.check(v.Submit("/checkout"), 429, "One moment")
		if denied.Header.Get("Retry-After") == "" || !strings.Contains(denied.Header.Get("RateLimit"), `"shop-checkouts";r=0;`) {
			t.Errorf("the sixth checkout: got %v", denied.Header)
		}
		bob := visit(t, base)
		bob.login("bob") // the limit is the user's
		bob.post("/checkout", "/orders")
		left := 0 // of 120 posts there were 1 + 6 + 1 + 1
		for ; v.Submit("/cart/teapot/remove").Status == http.StatusSeeOther; left++ {
			if left > 120 {
				t.Fatal("no limit of posts")
			}
		}
		if left != 111 && time.Since(began) < time.Minute { // else the first ones may be over
			t.Errorf("posts let through after the first nine: %d, want 111", left)
		}
		v.check(bob.Submit("/login", "username", "bob", "password", "wrong"), 429) // of the same address
		v.get("/", 200)                                                            // reading is not limited
	})
}

func TestWrongPasswordsAreThrottled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, base string) {
		v := visit(t, base)
		for range 3 {
			v.login("alice") // right ones are not counted
		}
		got := demotest.AtOnce(20, func() demotest.Answer { return v.Submit("/login", "username", " ALICE", "password", "wrong") })
		if got[401] != 5 || got[429] != 15 {
			t.Errorf("statuses of 20 guesses at once: got %v, want 5 times 401 and 15 times 429", got)
		}
		v.check(v.Submit("/login", "username", "alice", "password", v.shownPassword("alice")), 429, "One moment")
		v.check(v.Submit("/login", "username", "nobody", "password", "wrong"), 401, "user name and password")
		v.login("bob") // of the same address, but another account
	})
}

// Guesses at an account from one address are not counted for its owner at another
// address.
func TestGuessesAreCountedByAddress(t *testing.T) {
	key := func(address, name string) string {
		r := httptest.NewRequest("POST", "/login", strings.NewReader("username="+name))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = address
		got, err := byGuess(r)
		if err != nil || got == "" {
			t.Fatalf("key %q, error %v, want a key", got, err)
		}
		return got
	}
	if key("203.0.113.7:1", "alice") == key("203.0.113.8:1", "alice") {
		t.Error("guesses from elsewhere would keep the owner out")
	}
	if key("203.0.113.7:1", "alice") != key("203.0.113.7:2", "ALICE") {
		t.Error("another spelling, or another connection, gives more guesses")
	}
	key("203.0.113.7:1", "") // an empty name is counted too
}

func TestOtherSitesFormsAreRefused(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, base string) {
		v := visit(t, base)
		v.login("alice")
		v.add("teapot", 1)
		for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
			for _, path := range []string{"/cart/teapot/add", "/cart/teapot/remove", "/checkout", "/login", "/logout"} {
				t.Run(path, func(t *testing.T) {
					if a := v.Send("POST", path, nil, header...); a.Status != 403 || a.Header["Set-Cookie"] != nil || !strings.Contains(a.Body, "Not from here") {
						t.Errorf("POST %s with %v: got %d, want the page of 403 and no cookie: %s", path, header, a.Status, a.Body)
					}
				})
			}
		}
		v.wantCart(map[string]int{"Teapot": 1})
		if n := v.orderCount(); n != 0 {
			t.Errorf("another site's form placed %d orders", n)
		}
	})
}

func TestRedisDown(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	server := redistest.NewSingle(t)
	v := visit(t, start(t, server.URL()))
	v.login("alice")
	v.add("compass", 2)
	cookie := v.Cookie()
	v.get("/", 200) // takes the message
	// While Redis is away, a shop that does not wait long for it answers.
	patient := v.Base
	v.Base = start(t, server.URL(), "-budget", "1s")
	server.Freeze(t)
	for name, a := range map[string]demotest.Answer{
		"GET /":                  v.Send("GET", "/", nil),
		"GET /cart":              v.Send("GET", "/cart", nil),
		"GET /orders":            v.Send("GET", "/orders", nil),
		"POST /checkout":         v.Submit("/checkout"),
		"POST /cart/compass/add": v.Submit("/cart/compass/add"),
		"POST /login":            v.Submit("/login", "username", "alice", "password", demoPasswords[0].Password),
	} {
		t.Run(name, func(t *testing.T) {
			if a.Status != 503 || a.Header.Get("Retry-After") == "" || a.Header["Set-Cookie"] != nil || !strings.Contains(a.Body, "Back in a moment") {
				t.Errorf("got %d, Retry-After %q, %d cookies: %s", a.Status, a.Header.Get("Retry-After"), len(a.Header["Set-Cookie"]), a.Body)
			}
		})
	}
	server.Thaw(t)
	if v.Cookie() != cookie {
		t.Error("the cookie changed while Redis was down")
	}
	demotest.BackSoon(t, func() demotest.Answer { return v.Send("GET", "/cart", nil) })
	v.Base = patient
	v.wantCart(map[string]int{"Pocket compass": 2})
	v.post("/checkout", "/orders")
}

// A page that panics keeps no change.
func TestPanic(t *testing.T) {
	t.Parallel()
	redis, err := demo.Connect("", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	s, err := newShop(kvtest.Open(t, redis.Client, gatekit.Options{Budget: 10 * time.Second}), false)
	if err != nil {
		t.Fatal(err)
	}
	engine := s.handler()
	engine.POST("/broken", s.page(func(_ *gin.Context, visitor *session.Session) error {
		if err := theCart.Set(visitor, cart{"teapot": 3}); err != nil {
			t.Error(err)
		}
		panic("a broken page")
	}))
	server := httptest.NewServer(engine)
	defer server.Close()
	v := visit(t, server.URL)
	v.add("compass", 1)
	v.check(v.Submit("/broken"), 500, "Something went wrong")
	v.wantCart(map[string]int{"Pocket compass": 1})
}

func TestOtherPages(t *testing.T) {
	t.Parallel()
	v := visit(t, start(t, "", "-insecure-cookie"))
	v.get("/nowhere", 404, "Not here")
	v.get("/style.css", 200, "light-dark")
	v.check(v.Submit("/cart/unicorn/add"), 404, "Not here")
	if got := v.Send("GET", "/logout", nil).Status; got != 405 {
		t.Errorf("GET /logout: got %d, want 405", got)
	}
	if a := v.Submit("/cart/teapot/add"); !strings.HasPrefix(a.Header.Get("Set-Cookie"), "id=") || strings.Contains(a.Header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("Set-Cookie begins with %.10q, want a cookie id without Secure", a.Header.Get("Set-Cookie"))
	}
	secure := visit(t, start(t, "")).Submit("/cart/teapot/add")
	if got := secure.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "__Host-id=") || !strings.Contains(got, "; Secure") {
		t.Errorf("Set-Cookie begins with %.10q, want a Secure cookie __Host-id", got)
	}
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	demotest.RefusesWrongStarts(t, run)
}
