package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/lua/luatest"
)

func TestMain(m *testing.M) { luatest.Main(m) }

// start runs the program until the test ends and returns its URL and what it printed before it served.
func start(t *testing.T, redisURL string) (url, printed string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(context.Background())
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-addr", "127.0.0.1:0"}, func(name string) string {
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

func get(t *testing.T, url string) answer {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
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

func TestHello(t *testing.T) {
	t.Parallel() // each waits for 10 s
	for _, c := range []struct {
		name, printed string
		url           func(*testing.T) string
	}{
		{"embedded", "embedded Redis", func(*testing.T) string { return "" }},
		{"REDIS_URL", "(REDIS_URL)\n", func(t *testing.T) string { return luatest.Single(t).URL() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, printed := start(t, c.url(t))
			for _, want := range []string{c.printed, "curl -i " + url + "/hello\n", "'" + url + "/hello?[1-6]'\n"} {
				if !strings.Contains(printed, want) {
					t.Errorf("printed %q, want %q in it", printed, want)
				}
			}
			began := time.Now()
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
			time.Sleep(time.Duration(retry) * time.Second)
			if a := get(t, url+"/hello"); a.status != 200 {
				t.Errorf("%v after the first request and Retry-After %d s: got %d %s", time.Since(began), retry, a.status, a.body)
			}
		})
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	url, _ := start(t, "")
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
	if a := get(t, url+"/nowhere"); a.status != 404 {
		t.Errorf("/nowhere: got %d", a.status)
	}
}

// It runs before those in parallel: go-redis goes on looking for a server that was away for a second after Close, which
// would count as a leak at the end.
func TestRedisThatIsAway(t *testing.T) {
	url, printed := start(t, "redis://:s3cret@127.0.0.1:1")
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
		"REDIS_URL": {[]string{"-addr", "127.0.0.1:0"}, "http://x", "REDIS_URL"},
	} {
		err := run(context.Background(), c.args, func(string) string { return c.url }, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one about %s", name, err, c.want)
		}
	}
}
