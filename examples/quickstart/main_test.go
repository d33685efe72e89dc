package main

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/examples/internal/demotest"
	"github.com/gatekit/gatekit/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// start runs the program until the test ends. It returns the program's URL and the output
// before it served.
func start(t *testing.T, redisURL string, args ...string) (url, printed string) {
	t.Helper()
	p := demotest.Start(t, run, redisURL, args...)
	return p.URL, p.Until(t, "Ctrl-C ends it\n")
}

func get(t *testing.T, url string) demotest.Answer {
	t.Helper()
	return demotest.Send(t, "GET", url, "")
}

var eachFramework = slices.Sorted(maps.Keys(frameworks))

func TestHello(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	var urls []string
	var longest time.Duration // of the waits that the servers ask for; it is waited for once
	began := time.Now()
	for _, framework := range eachFramework {
		for _, c := range []struct{ name, redisURL, printed string }{
			{"embedded", "", "embedded Redis"},
			{"REDIS_URL", redistest.NewSingle(t).URL(), "(REDIS_URL)\n"}, // one for each, since all count the same address
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
		if a := get(t, url+"/hello"); a.Status != 200 {
			t.Errorf("%v after the first request and Retry-After %v: got %d %s", time.Since(began), longest, a.Status, a.Body)
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
		if a.Status != 200 || a.Body != "hello\n" || !state.MatchString(a.Header.Get("RateLimit")) {
			t.Errorf("request %d: got %d %q, RateLimit %s", i+1, a.Status, a.Body, a.Header.Get("RateLimit"))
		}
	}
	denied := get(t, url+"/hello")
	var problem struct {
		Status   int
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal([]byte(denied.Body), &problem); err != nil {
		t.Fatalf("%q: %v", denied.Body, err)
	}
	if denied.Status != 429 || problem.Status != 429 || len(problem.Violated) != 1 || problem.Violated[0] != "hello-10s" ||
		denied.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("request 6: got %d %q", denied.Status, denied.Body)
	}
	fields := []string{"Cache-Control", "Content-Length", "Content-Type", "Date", "Ratelimit", "Ratelimit-Policy", "Retry-After", "X-Content-Type-Options"}
	if got := slices.Sorted(maps.Keys(denied.Header)); !slices.Equal(got, fields) {
		t.Errorf("request 6: got fields %v, want %v", got, fields)
	}
	for _, a := range []demotest.Answer{denied, get(t, url+"/hello")} {
		if got := a.Header.Get("RateLimit-Policy"); got != `"hello-10s";q=5;w=10, "hello-hour";q=100;w=3600` {
			t.Errorf("got RateLimit-Policy %s", got)
		}
		if !strings.Contains(a.Header.Get("RateLimit"), `"hello-hour";r=95;`) {
			t.Errorf("got RateLimit %s: a denial must spend nothing", a.Header.Get("RateLimit"))
		}
	}
	retry, err := strconv.Atoi(denied.Header.Get("Retry-After"))
	if err != nil || retry < 1 || retry > 11 {
		t.Fatalf("Retry-After is %q", denied.Header.Get("Retry-After"))
	}
	return time.Duration(retry) * time.Second
}

func TestPage(t *testing.T) {
	t.Parallel()
	pages := map[string]demotest.Answer{}
	for _, framework := range eachFramework {
		t.Run(framework, func(t *testing.T) {
			url, _ := start(t, "", "-framework", framework)
			a := get(t, url)
			if a.Status != 200 || a.Header.Get("Content-Type") != "text/html; charset=utf-8" || a.Header.Get("RateLimit") != "" {
				t.Errorf("got %d with %v", a.Status, a.Header)
			}
			for _, want := range []string{"<!doctype html>", `fetch("/hello"`, "RateLimit-Policy", "Retry-After", `id="burst"`, "in an embedded Redis"} {
				t.Run(want, func(t *testing.T) {
					if !strings.Contains(a.Body, want) {
						t.Errorf("the page has no %s", want)
					}
				})
			}
			// Everything is in the one file.
			if found := regexp.MustCompile(`(?i)(src|href)="?[^"d]|url\(|@import|https?://`).FindString(a.Body); found != "" {
				t.Errorf("the page loads something: %s", found)
			}
			for _, c := range []struct {
				method, path string
				status       int
			}{
				{"GET", "/nowhere", 404}, {"GET", "/hello/", 404}, {"POST", "/hello", 405}, {"HEAD", "/", 200}, {"HEAD", "/hello", 200},
			} {
				if a := demotest.Send(t, c.method, url+c.path, ""); a.Status != c.status {
					t.Errorf("%s %s: got %d, want %d", c.method, c.path, a.Status, c.status)
				}
			}
			a.Header.Del("Date")
			pages[framework] = a
		})
	}
	for _, framework := range eachFramework {
		if want, got := pages["nethttp"], pages[framework]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %d with %v and a page of %d bytes; nethttp: %d with %v and %d bytes", framework,
				got.Status, got.Header, len(got.Body), want.Status, want.Header, len(want.Body))
		}
	}
}

// It runs before those in parallel: go-redis goes on looking for a server that was away
// for a second after Close, which would count as a leak at the end.
func TestRedisThatIsAway(t *testing.T) {
	redistest.Long(t)
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
		if a := get(t, url+"/hello"); a.Status != want {
			t.Errorf("request %d: got %d, want %d", i+1, a.Status, want)
		}
	}
}

func TestWrongStart(t *testing.T) {
	demotest.RefusesWrongStarts(t, run)
	demotest.Refuses(t, run, "nethttp, echo, echo5 or gin", "", "-framework", "echo4")
}
