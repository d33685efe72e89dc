package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/examples/internal/demotest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

func TestMain(m *testing.M) {
	rounds = 1000 // the tests try a hundred passwords
	redistest.Main(m)
}

// onEach runs a test with each framework as the server.
func onEach(t *testing.T, test func(t *testing.T, framework string)) {
	for framework := range frameworks {
		t.Run(framework, func(t *testing.T) {
			t.Parallel()
			test(t, framework)
		})
	}
}

// site starts the program and returns its address.
func site(t *testing.T, framework, redisURL string, args ...string) string {
	t.Helper()
	// A busy machine may take long. A -budget in args comes later and wins.
	return demotest.Start(t, run, redisURL, append([]string{"-budget", "10s", "-framework", framework}, args...)...).URL
}

// A visitor is a browser at this site.
type visitor struct{ *demotest.Visitor }

func visit(t *testing.T, base string) *visitor { t.Helper(); return &visitor{demotest.Visit(t, base)} }

func (v *visitor) try(name, password string) demotest.Answer {
	v.T.Helper()
	return v.Submit("/login", "username", name, "password", password)
}

// login logs a demo user in, with the password that the page shows.
func (v *visitor) login(name string) {
	v.T.Helper()
	wantRedirect(v.T, v.try(name, v.shownPassword(name)), "/")
	if page := v.Open("/"); !strings.Contains(page.Body, "Hello, "+name) {
		v.T.Fatalf("GET / after the login of %s: got %d and %s", name, page.Status, page.Body)
	}
}

func (v *visitor) shownPassword(name string) string {
	v.T.Helper()
	return demotest.ShownPassword(v.T, visit(v.T, v.Base).Open("/"), name) // the page of a new visitor shows it
}

func (v *visitor) loggedIn() bool { v.T.Helper(); return v.Open("/devices").Status == http.StatusOK }

// devices returns the ids on the page of devices.
func (v *visitor) devices() (ids []string) {
	v.T.Helper()
	page := v.Open("/devices")
	wantStatus(v.T, page, http.StatusOK)
	for _, found := range regexp.MustCompile(`action="/devices/([^/"]+)/revoke"`).FindAllStringSubmatch(page.Body, -1) {
		ids = append(ids, found[1])
	}
	return ids
}

func wantStatus(t *testing.T, got demotest.Answer, want int) {
	t.Helper()
	if got.Status != want {
		t.Fatalf("status: got %d, want %d; body: %s", got.Status, want, got.Body)
	}
}

func wantRedirect(t *testing.T, got demotest.Answer, to string) {
	t.Helper()
	wantStatus(t, got, http.StatusSeeOther)
	if at := got.Header.Get("Location"); at != to {
		t.Fatalf("Location: got %q, want %q", at, to)
	}
}

func wantText(t *testing.T, got demotest.Answer, text string) {
	t.Helper()
	if !strings.Contains(got.Body, text) {
		t.Fatalf("status %d, no %q in the body: %s", got.Status, text, got.Body)
	}
}

func wantNoText(t *testing.T, got demotest.Answer, text string) {
	t.Helper()
	if strings.Contains(got.Body, text) {
		t.Fatalf("status %d, %q in the body: %s", got.Status, text, got.Body)
	}
}

// The whole visit, on each kind of server that REDIS_URL can name.
func TestVisit(t *testing.T) {
	// Servers of their own: the wrong passwords of other tests come from the same
	// address.
	single := func(t *testing.T) string { return redistest.NewSingle(t).URL() }
	cluster := func(t *testing.T) string { return redistest.NewCluster(t).URL() }
	for _, tt := range []struct {
		framework, name string
		redisURL        func(*testing.T) string
	}{
		{"nethttp", "cluster", cluster},
		{"nethttp", "single", single},
		{"echo", "single", single},
		{"echo5", "single", single},
		{"gin", "single", single},
	} {
		t.Run(tt.framework+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			testVisit(t, tt.framework, tt.redisURL(t))
		})
	}
	t.Run("embedded", func(t *testing.T) {
		onEach(t, func(t *testing.T, framework string) { testVisit(t, framework, "") })
	})
}

func testVisit(t *testing.T, framework, redisURL string) {
	base := site(t, framework, redisURL)
	phone, laptop := visit(t, base), visit(t, base)
	wantStatus(t, phone.try("alice", "wrong"), http.StatusUnauthorized)
	phone.login("alice")
	laptop.login("alice")
	if n := len(phone.devices()); n != 2 {
		t.Fatalf("devices: got %d, want 2", n)
	}
	wantRedirect(t, phone.Submit("/devices/revoke-others"), "/confirm")
	if !laptop.loggedIn() {
		t.Fatal("the laptop was logged out without a second proof")
	}
	phone.confirm("alice")
	wantRedirect(t, phone.Submit("/devices/revoke-others"), "/devices")
	wantText(t, phone.Open("/devices"), "The other device is logged out.")
	if laptop.loggedIn() {
		t.Fatal("the revoked laptop is still logged in")
	}
	wantRedirect(t, phone.Submit("/logout"), "/")
	if phone.loggedIn() {
		t.Fatal("still logged in after the logout")
	}
}

func TestGuest(t *testing.T) { onEach(t, testGuest) }

func testGuest(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	page := v.Open("/")
	wantStatus(t, page, http.StatusOK)
	if got := page.Header["Set-Cookie"]; got != nil {
		t.Errorf("a guest who sets nothing got the cookie %q", got)
	}
	for _, path := range []string{"/devices", "/account", "/confirm"} {
		wantRedirect(t, v.Open(path), "/?next="+url.QueryEscape(path))
	}
	wantText(t, v.Open("/?next=%2Fdevices%3Fcursor%3Dx"), `name="next" value="/devices?cursor=x"`)
	wantText(t, v.Open("/?next=%2F%2Fevil.example"), `name="next" value="/"`)
	if got := v.Submit("/devices/revoke-others").Status; got != http.StatusSeeOther && got != http.StatusUnauthorized {
		t.Errorf("POST /devices/revoke-others of a guest: got %d, want 303 or 401", got)
	}
	wantRedirect(t, v.Submit("/logout"), "/")
	wantStatus(t, v.Open("/nowhere"), http.StatusNotFound)
	wantStatus(t, v.Open("/login"), http.StatusMethodNotAllowed)
	wantStatus(t, v.Open("/static/style.css"), http.StatusOK)
}

func TestLoginCookie(t *testing.T) { onEach(t, testLoginCookie) }

func testLoginCookie(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	password := v.shownPassword("bob")
	for _, tt := range []struct {
		name     string
		remember []string
		want     *regexp.Regexp
	}{
		{"until the browser ends", nil, regexp.MustCompile(`^__Host-id=[\w-]{68}; Path=/; HttpOnly; Secure; SameSite=Lax$`)},
		{"remembered", []string{"remember", "on"}, regexp.MustCompile(`^__Host-id=[\w-]{68}; Path=/;.* Max-Age=2592000; HttpOnly; Secure; SameSite=Lax$`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := v.Submit("/login", append([]string{"username", "bob", "password", password}, tt.remember...)...)
			wantRedirect(t, res, "/")
			if got := res.Header.Get("Set-Cookie"); !tt.want.MatchString(got) {
				t.Errorf("Set-Cookie: got %q, want %v", regexp.MustCompile(`=[\w-]{68}`).ReplaceAllString(got, "=TOKEN"), tt.want)
			}
			if got := res.Header.Get("Cache-Control"); !strings.Contains(got, "no-store") {
				t.Errorf("Cache-Control: got %q, want no-store", got)
			}
		})
	}
}

func TestInsecureCookie(t *testing.T) { onEach(t, testInsecureCookie) }

func testInsecureCookie(t *testing.T, framework string) {
	v := visit(t, site(t, framework, "", "-insecure-cookie"))
	res := v.try("bob", v.shownPassword("bob"))
	wantRedirect(t, res, "/")
	if got := res.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "id=") || strings.Contains(got, "; Secure") {
		t.Errorf("Set-Cookie begins with %.10q, want a cookie id without Secure", got)
	}
}

func TestGuestsThemeComesAlong(t *testing.T) { onEach(t, testGuestsThemeComesAlong) }

func testGuestsThemeComesAlong(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	wantText(t, v.Open("/"), `data-theme="auto"`)
	wantRedirect(t, v.Submit("/theme", "theme", "<script>"), "/")
	if v.Cookie() != "" {
		t.Error("a theme that does not exist was stored")
	}
	wantRedirect(t, v.Submit("/theme", "theme", "dark"), "/")
	wantText(t, v.Open("/"), `data-theme="dark"`)
	guest := v.Cookie()
	v.login("alice")
	wantText(t, v.Open("/"), `data-theme="dark"`)
	if v.Cookie() == guest {
		t.Error("the login kept the guest's token")
	}
	user := v.Cookie()
	wantRedirect(t, v.Submit("/logout"), "/")
	page := v.Open("/")
	wantText(t, page, `data-theme="dark"`)
	wantText(t, page, "You are logged out.")
	if v.Cookie() == user {
		t.Error("the logout kept the user's token")
	}
}

func TestLargeFormsAreNotRead(t *testing.T) { onEach(t, testLargeFormsAreNotRead) }

func testLargeFormsAreNotRead(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	v.Submit("/theme", "theme", "dark", "padding", strings.Repeat("x", 20<<10))
	if v.Cookie() != "" {
		t.Error("a form of 20 KiB was taken")
	}
	v.Submit("/theme", "theme", "dark", "padding", strings.Repeat("x", 10<<10))
	wantText(t, v.Open("/"), `data-theme="dark"`)
}

func TestFlashIsShownOnce(t *testing.T) { onEach(t, testFlashIsShownOnce) }

func testFlashIsShownOnce(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	wantRedirect(t, v.try("alice", v.shownPassword("alice")), "/")
	wantNoText(t, v.Send("HEAD", "/", nil), "Welcome")
	wantText(t, v.Open("/"), "Welcome, alice.")
	wantNoText(t, v.Open("/"), "Welcome, alice.")
}

func TestWrongPasswordsAreThrottled(t *testing.T) { onEach(t, testWrongPasswordsAreThrottled) }

func testWrongPasswordsAreThrottled(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	for i := range 5 {
		res := v.try("alice", "wrong")
		wantStatus(t, res, http.StatusUnauthorized)
		wantText(t, res, triesLeft(int64(4-i)))
	}
	res := v.try("alice", v.shownPassword("alice"))
	wantStatus(t, res, http.StatusTooManyRequests)
	wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || wait < 30 || wait > 60 {
		t.Fatalf("Retry-After: got %q, want 30 to 60 s", res.Header.Get("Retry-After"))
	}
	wantText(t, res, fmt.Sprintf(`data-wait="%d">%s<`, wait, clock(time.Duration(wait)*time.Second)))
	wantText(t, res, fmt.Sprintf(`<meta http-equiv="refresh" content="%d">`, wait))
	wantStatus(t, v.try(" ALICE ", "wrong"), http.StatusTooManyRequests)
	v.login("bob") // of the same address, but another account
}

// Wrong passwords of a user who does not exist must look the same. Otherwise the answers
// show which names exist.
func TestUnknownUsersLookTheSame(t *testing.T) { onEach(t, testUnknownUsersLookTheSame) }

func testUnknownUsersLookTheSame(t *testing.T, framework string) {
	base := site(t, framework, "")
	v := visit(t, base)
	for i := range 7 {
		known, unknown := v.try("alice", "wrong"), v.try("nobody", "wrong")
		number := regexp.MustCompile(`[0-9:]+`) // the waits may differ by a second
		got := number.ReplaceAllString(strings.ReplaceAll(unknown.Body, "nobody", "alice"), "0")
		if want := number.ReplaceAllString(known.Body, "0"); unknown.Status != known.Status || got != want {
			t.Fatalf("try %d: a user who does not exist got %d and %s; alice got %d and %s", i+1, unknown.Status, got, known.Status, want)
		}
	}
	wantStatus(t, v.try("", ""), http.StatusUnauthorized)
}

func TestRightPasswordsAreNotCounted(t *testing.T) { onEach(t, testRightPasswordsAreNotCounted) }

func testRightPasswordsAreNotCounted(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	for range 4 {
		wantStatus(t, v.try("alice", "wrong"), http.StatusUnauthorized)
	}
	for range 3 {
		v.login("alice")
	}
	wantStatus(t, v.try("alice", "wrong"), http.StatusUnauthorized)
	wantStatus(t, v.try("alice", "wrong"), http.StatusTooManyRequests)
}

func TestParallelGuesses(t *testing.T) { onEach(t, testParallelGuesses) }

func testParallelGuesses(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	got := demotest.AtOnce(30, func() demotest.Answer { return v.try("alice", "wrong") })
	if got[http.StatusUnauthorized] != 5 || got[http.StatusTooManyRequests] != 25 {
		t.Errorf("statuses of 30 guesses at once: got %v, want 5 times 401 and 25 times 429", got)
	}
}

func TestAddressIsThrottled(t *testing.T) { onEach(t, testAddressIsThrottled) }

func testAddressIsThrottled(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	for i := range 20 {
		wantStatus(t, v.try(fmt.Sprint("user", i), "password1"), http.StatusUnauthorized)
	}
	res := v.try("alice", v.shownPassword("alice"))
	wantStatus(t, res, http.StatusTooManyRequests)
	wantText(t, res, "Try again in")
}

// An attacker who knows a user's name, and guesses for three days, must not lock the user
// out.
func TestGuessesDontKeepTheOwnerOut(t *testing.T) {
	limiter, err := ratelimit.New(kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	th, wrong, right := throttle{limiter}, func() bool { return false }, func() bool { return true }
	from := func(address string) *http.Request {
		r := httptest.NewRequest("POST", "/login", nil)
		r.RemoteAddr = address
		return r
	}
	looked := 0
	for range 300 {
		a, err := th.try(from("203.0.113.7:1"), "alice", wrong)
		if err != nil {
			t.Fatal(err)
		}
		if a.Wait == 0 {
			looked++
		}
		if a, err := th.try(from("[2001:db8::1]:1"), "alice", right); err != nil || !a.OK {
			t.Fatalf("the owner, from an address of her own: got %+v, %v, want that she may log in", a, err)
		}
	}
	if looked != 5 {
		t.Errorf("%d guesses were looked at, want 5 a minute", looked)
	}
	if account("a", "1") == account("a1", "") {
		t.Error("two accounts share a key")
	}
}

// confirm gives the second proof.
func (v *visitor) confirm(name string) {
	v.T.Helper()
	wantRedirect(v.T, v.Submit("/confirm", "password", v.shownPassword(name)), "/account")
}

// The logout of a visitor who is not logged in leaves nothing in Redis.
func TestLogoutOfNobody(t *testing.T) { onEach(t, testLogoutOfNobody) }

func testLogoutOfNobody(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	wantRedirect(t, v.Submit("/logout"), "/")
	if v.Cookie() != "" {
		t.Errorf("the visitor was given the session %q", v.Cookie())
	}
}

func TestRevokeOneDevice(t *testing.T) { onEach(t, testRevokeOneDevice) }

func testRevokeOneDevice(t *testing.T, framework string) {
	base := site(t, framework, "")
	phone, laptop, stranger := visit(t, base), visit(t, base), visit(t, base)
	phone.login("alice")
	own := phone.devices()
	laptop.login("alice")
	other := slices.DeleteFunc(phone.devices(), func(id string) bool { return slices.Contains(own, id) })
	if len(own) != 1 || len(other) != 1 {
		t.Fatalf("devices: got %v at first and %v besides, want 1 and 1", own, other)
	}
	stranger.login("bob")
	stranger.confirm("bob")
	wantRedirect(t, phone.Submit("/devices/"+other[0]+"/revoke"), "/confirm")
	if !laptop.loggedIn() {
		t.Fatal("the laptop was logged out without a second proof")
	}
	phone.confirm("alice")
	wantRedirect(t, stranger.Submit("/devices/"+other[0]+"/revoke"), "/devices")
	if !laptop.loggedIn() {
		t.Fatal("bob logged out a device of alice")
	}

	wantRedirect(t, phone.Submit("/devices/"+other[0]+"/revoke"), "/devices")
	wantText(t, phone.Open("/devices"), "That device is logged out.")
	wantRedirect(t, laptop.Open("/devices"), "/?next=%2Fdevices")
	wantText(t, laptop.Open("/"), "Log in")
	wantRedirect(t, phone.Submit("/devices/"+other[0]+"/revoke"), "/devices")
	wantText(t, phone.Open("/devices"), "logged out already")

	wantRedirect(t, phone.Submit("/devices/"+own[0]+"/revoke"), "/") // the own one
	if phone.loggedIn() {
		t.Error("still logged in after revoking the own device")
	}
}

func TestAccountAsksForThePasswordAgain(t *testing.T) {
	redistest.Long(t)
	onEach(t, testAccountAsksForThePasswordAgain)
}

func testAccountAsksForThePasswordAgain(t *testing.T, framework string) {
	server := redistest.Embedded(t)
	v := visit(t, site(t, framework, server.URL(), "-fresh", "1h"))
	v.login("alice")
	wantRedirect(t, v.Open("/account"), "/confirm?next=%2Faccount")
	wantRedirect(t, v.Submit("/account", "email", "thief@example.org"), "/confirm")
	wantStatus(t, v.Submit("/confirm", "password", "wrong"), http.StatusUnauthorized)
	wantRedirect(t, v.Open("/account"), "/confirm?next=%2Faccount")

	before := v.Cookie()
	wantRedirect(t, v.Submit("/confirm", "password", v.shownPassword("alice")), "/account")
	if v.Cookie() == before {
		t.Error("the confirmed session kept its token")
	}
	wantText(t, v.Open("/account"), `value="alice@example.com"`)
	wantStatus(t, v.Submit("/account", "email", "nonsense"), http.StatusUnprocessableEntity)
	wantRedirect(t, v.Submit("/account", "email", "alice@example.org"), "/account")
	page := v.Open("/account")
	wantText(t, page, "The recovery address is changed.")
	wantText(t, page, `value="alice@example.org"`)

	// For a stricter site the confirmation is too old.
	lenient := v.Base
	v.Base = site(t, framework, server.URL(), "-fresh", "1s")
	time.Sleep(1100 * time.Millisecond)
	wantRedirect(t, v.Open("/account"), "/confirm?next=%2Faccount")
	if got := v.Submit("/account", "email", "thief@example.org").Status; got != http.StatusForbidden && got != http.StatusSeeOther {
		t.Errorf("POST /account when the confirmation is old: got %d, want 303 or 403", got)
	}
	wantRedirect(t, v.Submit("/confirm", "password", v.shownPassword("alice")), "/account")
	v.Base = lenient
	wantText(t, v.Open("/account"), `value="alice@example.org"`)
}

func TestConfirmIsThrottled(t *testing.T) { onEach(t, testConfirmIsThrottled) }

func testConfirmIsThrottled(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	v.login("alice")
	for range 5 {
		wantStatus(t, v.Submit("/confirm", "password", "wrong"), http.StatusUnauthorized)
	}
	res := v.Submit("/confirm", "password", v.shownPassword("alice"))
	wantStatus(t, res, http.StatusTooManyRequests)
	wantText(t, res, "data-wait")
}

func TestOtherSitesFormsAreRefused(t *testing.T) { onEach(t, testOtherSitesFormsAreRefused) }

func testOtherSitesFormsAreRefused(t *testing.T, framework string) {
	v := visit(t, site(t, framework, ""))
	v.login("alice")
	for _, header := range [][2]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
		for _, path := range []string{"/login", "/logout", "/devices/revoke-others", "/confirm", "/account", "/theme"} {
			t.Run(path, func(t *testing.T) {
				res := v.Send("POST", path, nil, header[0], header[1])
				if res.Status != http.StatusForbidden || res.Header["Set-Cookie"] != nil {
					t.Errorf("POST %s with %s: %s: got %d, want 403 and no cookie", path, header[0], header[1], res.Status)
				}
			})
		}
	}
	if !v.loggedIn() {
		t.Error("another site's form logged alice out")
	}
}

func TestRedisDown(t *testing.T) {
	redistest.Long(t)
	onEach(t, func(t *testing.T, framework string) {
		server := redistest.Embedded(t)
		testRedisDown(t, framework, server,
			func() { server.Miniredis().SetError("ERR down") }, func() { server.Miniredis().SetError("") })
	})
	t.Run("frozen", func(t *testing.T) {
		t.Parallel()
		server := redistest.NewSingle(t)
		testRedisDown(t, "nethttp", server, func() { server.Freeze(t) }, func() { server.Thaw(t) })
	})
}

func testRedisDown(t *testing.T, framework string, server *redistest.Server, stop, goOn func()) {
	t.Helper()
	v := visit(t, site(t, framework, server.URL()))
	v.login("alice")
	cookie := v.Cookie()
	// While Redis is away, a site that does not wait long for it answers.
	patient := v.Base
	v.Base = site(t, framework, server.URL(), "-budget", "1s")
	stop()
	guest := visit(t, v.Base)
	wantStatus(t, guest.Open("/"), http.StatusOK) // without a cookie there is nothing to look up
	password := demoPasswords[0].Password
	for name, res := range map[string]demotest.Answer{
		"GET /":         v.Open("/"),
		"GET /devices":  v.Open("/devices"),
		"POST /logout":  v.Submit("/logout"),
		"POST /login":   v.try("alice", password),
		"guest's login": guest.try("alice", password),
	} {
		t.Run(name, func(t *testing.T) {
			if res.Status != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || res.Header["Set-Cookie"] != nil {
				t.Errorf("got %d, Retry-After %q, %d cookies; want 503, a time, 0", res.Status, res.Header.Get("Retry-After"), len(res.Header["Set-Cookie"]))
			}
			wantText(t, res, "Back in a moment")
		})
	}
	goOn()
	if v.Cookie() != cookie {
		t.Error("the cookie changed while Redis was down")
	}
	demotest.BackSoon(t, func() demotest.Answer { return v.Open("/") })
	v.Base = patient
	// The server may have carried the logout out when it went on, but nobody promised
	// that.
	if got := v.Open("/").Status; got != http.StatusOK {
		t.Errorf("GET / when Redis is back: got %d, want 200", got)
	}
	v.login("alice")
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	demotest.RefusesWrongStarts(t, run)
	demotest.Refuses(t, run, "echo4", "", "-framework", "echo4")
}

func TestDeviceLabel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ userAgent, want string }{
		{"", "Unknown browser"},
		{"Go-http-client/1.1", "Go program"},
		{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36", "Chrome on Linux"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0", "Edge on Windows"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", "Safari on iPhone"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0", "Firefox on macOS"},
		{"Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36", "Chrome on Android"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := deviceLabel(tt.userAgent); got != tt.want {
				t.Errorf("deviceLabel(%q): got %q, want %q", tt.userAgent, got, tt.want)
			}
		})
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int]string{1: "0:01", 60: "1:00", 754: "12:34", 3723: "1:02:03"} {
		if got := clock(time.Duration(seconds) * time.Second); got != want {
			t.Errorf("clock of %d s: got %q, want %q", seconds, got, want)
		}
	}
}
