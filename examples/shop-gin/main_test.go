package main

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/examples/internal/demotest"
	"github.com/gatekit/gatekit/internal/redistest"
)

func TestMain(m *testing.M) {
	rounds = 1000
	redistest.Main(m)
}

// onEach runs a test with the program on each kind of Redis, which no other test uses.
func onEach(t *testing.T, test func(t *testing.T, base string)) {
	demotest.OnEachRedis(t, func(t *testing.T, redisURL string) { test(t, start(t, redisURL)) })
}

// start runs the program until the test ends and returns its address.
func start(t *testing.T, redisURL string, args ...string) (base string) {
	t.Helper()
	// A busy machine may take long. A -budget in args comes later and wins.
	return demotest.Start(t, run, redisURL, append([]string{"-budget", "10s"}, args...)...).URL
}

// A visitor is a browser at this shop.
type visitor struct{ *demotest.Visitor }

func visit(t *testing.T, base string) *visitor { t.Helper(); return &visitor{demotest.Visit(t, base)} }

// get returns a page, and checks that it has the status and the texts.
func (v *visitor) get(path string, status int, texts ...string) demotest.Answer {
	v.T.Helper()
	return v.check(v.Send("GET", path, nil), status, texts...)
}

func (v *visitor) check(a demotest.Answer, status int, texts ...string) demotest.Answer {
	v.T.Helper()
	if a.Status != status {
		v.T.Fatalf("got status %d, want %d: %s", a.Status, status, a.Body)
	}
	for _, text := range texts {
		if !strings.Contains(a.Body, text) {
			v.T.Fatalf("no %q in the page: %s", text, a.Body)
		}
	}
	return a
}

// post sends a form, and checks that the answer redirects to a page.
func (v *visitor) post(path, there string, fields ...string) {
	v.T.Helper()
	a := v.check(v.Submit(path, fields...), http.StatusSeeOther)
	if got := a.Header.Get("Location"); got != there {
		v.T.Fatalf("POST %s leads to %q, want %q", path, got, there)
	}
}

func (v *visitor) add(product string, n int) {
	v.T.Helper()
	for range n {
		v.post("/cart/"+product+"/add", "/")
	}
}

// login logs a demo user in, with the password that the page shows.
func (v *visitor) login(name string) {
	v.T.Helper()
	v.post("/login", "/cart", "username", name, "password", v.shownPassword(name))
	v.get("/cart", 200, "Welcome, "+name+".", "Log out "+name)
}

func (v *visitor) shownPassword(name string) string {
	v.T.Helper()
	return demotest.ShownPassword(v.T, v.get("/login", 200), name)
}

// inCart returns the quantities that the cart page shows, by the product's name.
func (v *visitor) inCart() map[string]int {
	v.T.Helper()
	shown := map[string]int{}
	for _, row := range regexp.MustCompile(`(?s)<tr>\s*<td>([^<]+)</td>.*?<span>(\d+)</span>`).FindAllStringSubmatch(v.get("/cart", 200).Body, -1) {
		shown[row[1]], _ = strconv.Atoi(row[2])
	}
	return shown
}

func (v *visitor) wantCart(want map[string]int) {
	v.T.Helper()
	if got := v.inCart(); fmt.Sprint(got) != fmt.Sprint(want) {
		v.T.Errorf("in the cart: %v, want %v", got, want)
	}
}

func (v *visitor) orderCount() int {
	v.T.Helper()
	return strings.Count(v.get("/orders", 200).Body, "<h2>Order ")
}
