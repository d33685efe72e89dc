package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/lua/luatest"
)

func TestMain(m *testing.M) {
	rounds = 1000
	luatest.Main(m)
}

// onEach runs a test with the program on each kind of Redis, of which it has the only one: all visitors have one address.
func onEach(t *testing.T, test func(t *testing.T, base string)) {
	t.Run("embedded", func(t *testing.T) { t.Parallel(); test(t, start(t, "")) })
	t.Run("REDIS_URL", func(t *testing.T) { t.Parallel(); test(t, start(t, luatest.NewSingle(t).URL())) })
}

// start runs the program until the test ends and returns its address.
func start(t *testing.T, redisURL string, args ...string) (base string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		getenv := func(name string) string { return map[string]string{"REDIS_URL": redisURL}[name] }
		// A busy machine may take long; what a test passes in args comes later and wins.
		err := run(ctx, append([]string{"-addr", "127.0.0.1:0", "-budget", "10s"}, args...), getenv, stdout)
		_ = stdout.Close()
		ended <- err
	}()
	t.Cleanup(func() {
		interrupt()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	match := regexp.MustCompile(`^listening on (http://127\.0\.0\.1:[1-9]\d*)\n$`).FindStringSubmatch(first)
	if match == nil {
		t.Fatalf("first line is %q, %v", first, err)
	}
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, lines) }()
	t.Cleanup(func() { interrupt(); <-drained })
	return match[1]
}

// A visitor is a browser with a cookie jar that follows no redirects.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

func visit(t *testing.T, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t, base, &http.Client{
		Jar: jar, Transport: transport, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (v *visitor) send(method, path string, form url.Values, header ...string) answer {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,*/*")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := v.client.Do(req)
	if err != nil {
		v.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatalf("%s %s: %v", method, path, err)
	}
	if res.Header.Get("Content-Security-Policy") == "" {
		v.t.Errorf("%s %s: %d without a Content-Security-Policy", method, path, res.StatusCode)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// get returns a page, which has to have the status and the texts.
func (v *visitor) get(path string, status int, texts ...string) answer {
	v.t.Helper()
	return v.check(v.send("GET", path, nil), status, texts...)
}

func (v *visitor) check(a answer, status int, texts ...string) answer {
	v.t.Helper()
	if a.status != status {
		v.t.Fatalf("got status %d, want %d: %s", a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			v.t.Fatalf("no %q in the page: %s", text, a.body)
		}
	}
	return a
}

// post sends a form that has to lead to a page.
func (v *visitor) post(path, there string, fields ...string) {
	v.t.Helper()
	a := v.check(v.try(path, fields...), http.StatusSeeOther)
	if got := a.header.Get("Location"); got != there {
		v.t.Fatalf("POST %s leads to %q, want %q", path, got, there)
	}
}

func (v *visitor) try(path string, fields ...string) answer {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.send("POST", path, form)
}

func (v *visitor) add(product string, n int) {
	v.t.Helper()
	for range n {
		v.post("/cart/"+product+"/add", "/")
	}
}

// login logs a demo user in, with the password that the page shows.
func (v *visitor) login(name string) {
	v.t.Helper()
	v.post("/login", "/cart", "username", name, "password", v.shownPassword(name))
	v.get("/cart", 200, "Welcome, "+name+".", "Log out "+name)
}

func (v *visitor) shownPassword(name string) string {
	v.t.Helper()
	found := regexp.MustCompile(`<dt>` + name + `</dt><dd><code>([^<]+)</code>`).FindStringSubmatch(v.get("/login", 200).body)
	if found == nil {
		v.t.Fatalf("the page shows no password of %s", name)
	}
	return found[1]
}

// inCart returns how many of which product the cart page shows, by the product's name.
func (v *visitor) inCart() map[string]int {
	v.t.Helper()
	shown := map[string]int{}
	for _, row := range regexp.MustCompile(`(?s)<tr>\s*<td>([^<]+)</td>.*?<span>(\d+)</span>`).FindAllStringSubmatch(v.get("/cart", 200).body, -1) {
		shown[row[1]], _ = strconv.Atoi(row[2])
	}
	return shown
}

func (v *visitor) wantCart(want map[string]int) {
	v.t.Helper()
	if got := v.inCart(); fmt.Sprint(got) != fmt.Sprint(want) {
		v.t.Errorf("in the cart: %v, want %v", got, want)
	}
}

func (v *visitor) orderCount() int {
	v.t.Helper()
	return strings.Count(v.get("/orders", 200).body, "<h2>Order ")
}

func (v *visitor) cookie() string {
	v.t.Helper()
	base, err := url.Parse(v.base)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(base) {
		return c.Value
	}
	return ""
}
