package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/lua/luatest"
)

func TestMain(m *testing.M) { luatest.Main(m) }

// start runs the program until the test ends and returns its URL and what it printed before it served.
func start(t *testing.T, redisURL string, args ...string) (url, printed string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), func(name string) string {
			if name != "REDIS_URL" {
				t.Errorf("the program asked for the environment's %s", name)
			}
			return redisURL
		}, stdout)
		_ = stdout.Close()
	}()
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("no first line: %v, %v", err, <-ended)
	}
	form := regexp.MustCompile(`^listening on (http://127\.0\.0\.1:[1-9][0-9]*)\n$`)
	match := form.FindStringSubmatch(first)
	if match == nil {
		t.Fatalf("first line is %q", first)
	}
	for !strings.Contains(printed, "Ctrl-C") {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("got %q, then %v, %v", printed, err, <-ended)
		}
		printed += line
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	t.Cleanup(func() {
		interrupt()
		if err := <-ended; err != nil {
			t.Errorf("interrupted, the program ended with %v", err)
		}
	})
	return match[1], printed
}

type answer struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, url string) answer { t.Helper(); return send(t, "GET", url) }

func send(t *testing.T, method, url string) answer {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

var eachFramework = slices.Sorted(maps.Keys(frameworks))

func TestHello(t *testing.T) {
	t.Parallel()
	var urls []string
	var longest time.Duration // of the waits that the servers ask for; it is waited for once
	began := time.Now()
	for _, framework := range eachFramework {
		for _, c := range []struct{ name, redisURL, printed string }{
			{"embedded", "", "embedded Redis"},
			{"REDIS_URL", luatest.NewSingle(t).URL(), "(REDIS_URL)\n"}, // one for each, since all count the same address
		} {
			url, printed := start(t, c.redisURL, "-framework", framework)
			urls = append(urls, url)
			t.Run(framework+"/"+c.name, func(t *testing.T) {
				if !strings.Contains(printed, c.printed) || !strings.Contains(printed, "served by "+framework+";") {
					t.Errorf("printed %q, want %q and the framework in it", printed, c.printed)
				}
				longest = max(longest, testHello(t, url, printed))
			})
		}
	}
	time.Sleep(longest)
	for _, url := range urls {
		if a := get(t, url+"/hello"); a.status != 200 {
			t.Errorf("%v after the first request and Retry-After %v: got %d %s", time.Since(began), longest, a.status, a.body)
		}
	}
}

// testHello sends requests until one is denied, and returns its Retry-After.
func testHello(t *testing.T, url, printed string) time.Duration {
	t.Helper()
	for _, want := range []string{"curl -i " + url + "/hello\n", "'" + url + "/hello?[1-6]'\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("printed %q, want %q in it", printed, want)
		}
	}
	for i := range 5 {
		a := get(t, url+"/hello")
		state := regexp.MustCompile(`^"hello-10s";r=` + strconv.Itoa(4-i) + `;t=\d+, "hello-hour";r=` + strconv.Itoa(99-i) + `;t=3600$`)
		if a.status != 200 || a.body != "hello\n" || !state.MatchString(a.header.Get("RateLimit")) {
			t.Errorf("request %d: got %d %q, RateLimit %s", i+1, a.status, a.body, a.header.Get("RateLimit"))
		}
	}
	denied := get(t, url+"/hello")
	var problem struct {
		Status   int
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal([]byte(denied.body), &problem); err != nil {
		t.Fatalf("%q: %v", denied.body, err)
	}
	if denied.status != 429 || problem.Status != 429 || len(problem.Violated) != 1 || problem.Violated[0] != "hello-10s" ||
		denied.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("request 6: got %d %q", denied.status, denied.body)
	}
	fields := []string{"Cache-Control", "Content-Length", "Content-Type", "Date", "Ratelimit", "Ratelimit-Policy", "Retry-After", "X-Content-Type-Options"}
	if got := slices.Sorted(maps.Keys(denied.header)); !slices.Equal(got, fields) {
		t.Errorf("request 6: got fields %v, want %v", got, fields)
	}
	for _, a := range []answer{denied, get(t, url+"/hello")} {
		if got := a.header.Get("RateLimit-Policy"); got != `"hello-10s";q=5;w=10, "hello-hour";q=100;w=3600` {
			t.Errorf("got RateLimit-Policy %s", got)
		}
		if !strings.Contains(a.header.Get("RateLimit"), `"hello-hour";r=95;`) {
			t.Errorf("got RateLimit %s: a denial must spend nothing", a.header.Get("RateLimit"))
		}
	}
	retry, err := strconv.Atoi(denied.header.Get("Retry-After"))
	if err != nil || retry < 1 || retry > 11 {
		t.Fatalf("Retry-After is %q", denied.header.Get("Retry-After"))
	}
	return time.Duration(retry) * time.Second
}

func TestPage(t *testing.T) {
	t.Parallel()
	pages := map[string]answer{}
	for _, framework := range eachFramework {
		t.Run(framework, func(t *testing.T) {
			url, _ := start(t, "", "-framework", framework)
			a := get(t, url)
			if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("RateLimit") != "" {
				t.Errorf("got %d with %v", a.status, a.header)
			}
			for _, want := range []string{"<!doctype html>", `fetch("/hello"`, "RateLimit-Policy", "Retry-After", `id="burst"`, "in an embedded Redis"} {
				if !strings.Contains(a.body, want) {
					t.Errorf("the page has no %s", want)
				}
			}
			// Everything is in the one file.
			if found := regexp.MustCompile(`(?i)(src|href)="?[^"d]|url\(|@import|https?://`).FindString(a.body); found != "" {
				t.Errorf("the page loads something: %s", found)
			}
			for _, c := range []struct {
				method, path string
				status       int
			}{
				{"GET", "/nowhere", 404}, {"GET", "/hello/", 404}, {"POST", "/hello", 405}, {"HEAD", "/", 200}, {"HEAD", "/hello", 200},
			} {
				if a := send(t, c.method, url+c.path); a.status != c.status {
					t.Errorf("%s %s: got %d, want %d", c.method, c.path, a.status, c.status)
				}
			}
			a.header.Del("Date")
			pages[framework] = a
		})
	}
	for _, framework := range eachFramework {
		if want, got := pages["nethttp"], pages[framework]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %d with %v and a page of %d bytes; nethttp: %d with %v and %d bytes", framework,
				got.status, got.header, len(got.body), want.status, want.header, len(want.body))
		}
	}
}

// It runs before those in parallel: go-redis goes on looking for a server that was away for a second after Close, which
// would count as a leak at the end.
func TestRedisThatIsAway(t *testing.T) {
	for _, framework := range eachFramework {
		t.Run(framework, func(t *testing.T) { testRedisThatIsAway(t, framework) })
	}
}

func testRedisThatIsAway(t *testing.T, framework string) {
	url, printed := start(t, "redis://:s3cret@127.0.0.1:1", "-framework", framework)
	if !strings.Contains(printed, "127.0.0.1:1 (REDIS_URL), which does not answer yet") || strings.Contains(printed, "s3cret") {
		t.Errorf("printed %q", printed)
	}
	for i, want := range []int{200, 200, 200, 200, 200, 429} {
		if a := get(t, url+"/hello"); a.status != want {
			t.Errorf("request %d: got %d, want %d", i+1, a.status, want)
		}
	}
}

func TestWrongStart(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		url  string
		want string
	}{
		"flag":      {[]string{"-port", "1"}, "", "-port"},
		"address":   {[]string{"-addr", "127.0.0.1:99999"}, "", "99999"},
		"framework": {[]string{"-framework", "echo4"}, "", "nethttp, echo, echo5 or gin"},
		"REDIS_URL": {[]string{"-addr", "127.0.0.1:0"}, "http://x", "REDIS_URL"},
	} {
		err := run(context.Background(), c.args, func(string) string { return c.url }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one about %s", name, err, c.want)
		}
	}
}
