package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v4"
)

func TestMain(m *testing.M) { luatest.Main(m) }

// A service is the running program.
type service struct {
	t                       *testing.T
	url                     string
	acme, initech, operator string     // the keys that it printed
	mu                      sync.Mutex // guards log
	log                     bytes.Buffer
}

// onEach runs a test with the program on each kind of Redis, of which it has the only one: all requests come from one address.
func onEach(t *testing.T, test func(*testing.T, *service)) {
	t.Run("embedded", func(t *testing.T) { t.Parallel(); test(t, start(t, "")) })
	t.Run("REDIS_URL", func(t *testing.T) { t.Parallel(); test(t, start(t, luatest.NewSingle(t).URL())) })
}

func start(t *testing.T, redisURL string, args ...string) *service {
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
	printed := ""
	for !strings.HasSuffix(printed, "\nlog:\n") {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("printed %q, then %v", printed, err)
		}
		printed += line
	}
	form := regexp.MustCompile(`^listening on (http://127\.0\.0\.1:[1-9]\d*)\n\n` +
		`key of acme \(plan pro\): +(gk_\w+)\nkey of initech \(plan free\): +(gk_\w+)\nkey of the operator: +(gk_\w+)\n\n  curl -i `)
	match := form.FindStringSubmatch(printed)
	if match == nil {
		t.Fatalf("printed %q", printed)
	}
	s := &service{t: t, url: match[1], acme: match[2], initech: match[3], operator: match[4]}
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(s, lines) }()
	t.Cleanup(func() { interrupt(); <-drained })
	return s
}

// Write takes what the program logs.
func (s *service) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (s *service) send(method, path, key, body string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// want checks an answer's status and, if it is an error, that the body is a problem that says the same.
func (s *service) want(a answer, status int) answer {
	s.t.Helper()
	if a.status != status {
		s.t.Fatalf("got status %d, want %d: %s", a.status, status, a.body)
	}
	if status < 400 {
		return a
	}
	var problem struct {
		Title  string
		Status int
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.Status != status || problem.Title == "" ||
		a.header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("status %d: got %s %q, %v", status, a.header.Get("Content-Type"), a.body, err)
	}
	return a
}

// left returns what a tenant has left in this minute, by the answer to /v1/usage or to a change of its quota.
func (s *service) left(a answer) (quota, remaining int64) {
	s.t.Helper()
	var got struct{ Limits []usage }
	if err := json.Unmarshal([]byte(s.want(a, 200).body), &got); err != nil || len(got.Limits) != 2 || got.Limits[0].Limit != "minute" {
		s.t.Fatalf("got %q, %v", a.body, err)
	}
	return got.Limits[0].Quota, got.Limits[0].Remaining
}

func TestPlansAndCosts(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		first := s.want(s.send("GET", "/v1/items", s.initech, ""), 200)
		if got := first.header.Get("RateLimit-Policy"); got != `"api-minute";q=10;w=60, "api-day";q=1440;w=86400` {
			t.Errorf("free: got RateLimit-Policy %s", got)
		}
		if got := first.header.Get("RateLimit"); !strings.HasPrefix(got, `"api-minute";r=9;t=`) || !strings.Contains(got, `"api-day";r=1439;t=`) {
			t.Errorf("free: got RateLimit %s", got)
		}
		report := s.want(s.send("POST", "/v1/reports", s.initech, ""), 201)
		if got := report.header.Get("RateLimit"); !strings.HasPrefix(got, `"api-minute";r=4;`) {
			t.Errorf("after a report: got RateLimit %s, want 4 left", got)
		}
		denied := s.want(s.send("POST", "/v1/reports", s.initech, ""), 429)
		wait, err := strconv.Atoi(denied.header.Get("Retry-After"))
		if err != nil || wait < 1 || wait > 66 || !strings.Contains(denied.body, `"violated-policies":["api-minute"]`) ||
			denied.header.Get("Cache-Control") != "no-store" {
			t.Errorf("denied: got Retry-After %q with %v and %s", denied.header.Get("Retry-After"), denied.header, denied.body)
		}
		for i := range 4 { // a denial costs nothing, so what a report was too dear for is left for smaller requests
			if a := s.want(s.send("GET", "/v1/items", s.initech, ""), 200); !strings.HasPrefix(a.header.Get("RateLimit"), `"api-minute";r=`+strconv.Itoa(3-i)+`;`) {
				t.Errorf("got RateLimit %s, want %d left", a.header.Get("RateLimit"), 3-i)
			}
		}
		s.want(s.send("GET", "/v1/items", s.initech, ""), 429)

		other := s.want(s.send("GET", "/v1/items", s.acme, ""), 200)
		if got := other.header.Get("RateLimit"); !strings.HasPrefix(got, `"api-minute";r=99;`) {
			t.Errorf("pro: got RateLimit %s, want 99 left", got)
		}
	})
}

func TestUsageCostsNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		s.want(s.send("POST", "/v1/reports", s.initech, ""), 201)
		for range 12 {
			if quota, left := s.left(s.send("GET", "/v1/usage", s.initech, "")); quota != 10 || left != 5 {
				t.Fatalf("got %d of %d left, want 5 of 10", left, quota)
			}
		}
	})
}

func TestOperatorChangesAQuota(t *testing.T) {
	t.Parallel()
	const path = "/admin/tenants/initech/quota"
	onEach(t, func(t *testing.T, s *service) {
		for range 6 {
			s.want(s.send("GET", "/v1/items", s.initech, ""), 200)
		}
		for _, step := range []struct{ perMinute, quota, left int64 }{{8, 8, 2}, {20, 20, 14}, {6, 6, 0}, {0, 10, 4}} {
			body := `{"per_minute": ` + strconv.FormatInt(step.perMinute, 10) + `}`
			if quota, left := s.left(s.send("PUT", path, s.operator, body)); quota != step.quota || left != step.left {
				t.Errorf("%s: got %d of %d left, want %d of %d: what was spent stays spent", body, left, quota, step.left, step.quota)
			}
			if step.left == 0 {
				s.want(s.send("GET", "/v1/items", s.initech, ""), 429)
			}
		}
		if quota, _ := s.left(s.send("GET", "/v1/usage", s.acme, "")); quota != 100 {
			t.Errorf("the other tenant's quota: got %d, want 100", quota)
		}
		s.want(s.send("PUT", path, s.acme, `{"per_minute": 1000}`), 403)
		s.want(s.send("PUT", path, "", `{"per_minute": 1000}`), 401)
		s.want(s.send("GET", "/v1/items", s.operator, ""), 403)
		s.want(s.send("PUT", "/admin/tenants/nobody/quota", s.operator, `{"per_minute": 5}`), 404)
		s.want(s.send("PUT", path, s.operator, `{"per_minute": 5`), 400)
		for _, body := range []string{`{}`, `{"per_minute": -1}`, `{"per_minute": 5000}`} {
			s.want(s.send("PUT", path, s.operator, body), 422)
		}
		s.want(s.send("PUT", path, s.operator, `{"per_minute": 5, "x": "`+strings.Repeat("x", 20<<10)+`"}`), 413)
		if quota, left := s.left(s.send("GET", "/v1/usage", s.initech, "")); quota != 10 || left != 4 {
			t.Errorf("after refused changes: got %d of %d left, want 4 of 10", left, quota)
		}
	})
}

func TestStrangersAreLimitedByAddress(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		wrong := []string{"", "guess", "gk_acme1_", "gk_acme1_guess", "gk_nobody_guess", strings.ToLower(s.acme), s.acme + "x", s.acme[:len(s.acme)-1], "gk_operator_"}
		for i := range 20 {
			path := []string{"/v1/items", "/v1/usage", "/nowhere", "/admin/tenants/acme/quota"}[i%4]
			a := s.send("GET", path, wrong[i%len(wrong)], "")
			if got := a.header.Get("RateLimit"); !strings.HasPrefix(got, `"strangers";r=`+strconv.Itoa(19-i)+`;`) {
				t.Errorf("GET %s with key %q: got %d, RateLimit %s, want %d left", path, wrong[i%len(wrong)], a.status, got, 19-i)
			}
			if strings.HasPrefix(path, "/v1") && (a.status != 401 || a.header.Get("WWW-Authenticate") == "") {
				t.Errorf("GET %s with key %q: got %d with %v, want 401", path, wrong[i%len(wrong)], a.status, a.header)
			}
		}
		denied := s.want(s.send("GET", "/v1/items", "guess", ""), 429)
		if denied.header.Get("Retry-After") == "" || !strings.Contains(denied.body, "strangers") {
			t.Errorf("denied: got %v %s", denied.header, denied.body)
		}
		s.want(s.send("GET", "/nowhere", "", ""), 429)
		// Those who have a key lose nothing by it, though the address is the same.
		if a := s.want(s.send("GET", "/v1/items", s.acme, ""), 200); strings.Contains(a.header.Get("RateLimit"), "strangers") {
			t.Errorf("with a key: got RateLimit %s", a.header.Get("RateLimit"))
		}
		s.want(s.send("GET", "/nowhere", s.acme, ""), 404)
	})
}

func TestHealthIsNotCounted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		for range 30 {
			if a := s.want(s.send("GET", "/health", "", ""), 200); a.body != "ok\n" || a.header.Get("RateLimit-Policy") != "" {
				t.Fatalf("got %q with %v", a.body, a.header)
			}
		}
		if a := s.send("GET", "/v1/items", "", ""); !strings.HasPrefix(a.header.Get("RateLimit"), `"strangers";r=19;`) {
			t.Errorf("after 30 health checks: got RateLimit %s, want 19 left", a.header.Get("RateLimit"))
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		var wg sync.WaitGroup
		statuses := make(chan int, 30)
		for range 30 {
			wg.Go(func() { statuses <- s.send("GET", "/v1/items", s.initech, "").status })
		}
		wg.Wait()
		close(statuses)
		got := map[int]int{}
		for status := range statuses {
			got[status]++
		}
		if got[200] != 10 || got[429] != 20 {
			t.Errorf("statuses of 30 requests at once: got %v, want 10 times 200 and 20 times 429", got)
		}
	})
}

func TestLogHasNoKeys(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	s.want(s.send("GET", "/v1/items?key="+s.acme, s.acme, ""), 200)
	s.want(s.send("GET", "/v1/items/"+s.acme, s.initech, ""), 404)
	s.want(s.send("GET", "/v1/usage", "gk_acme1_guess", ""), 401)
	s.want(s.send("PUT", "/admin/tenants/"+s.acme+"/quota", s.operator, `{"per_minute": 1}`), 404)
	var text string
	for end := time.Now().Add(10 * time.Second); strings.Count(text, `"msg":"request"`) < 4; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("logged only %s", text)
		}
		s.mu.Lock()
		text = s.log.String()
		s.mu.Unlock()
	}
	for _, want := range []string{
		`"method":"GET","route":"/v1/items","status":200,"caller":"acme"`,
		`"status":404,"caller":"initech"`,
		`"route":"/v1/usage","status":401,"caller":"stranger"`,
		`"route":"/admin/tenants/:tenant/quota","status":404,"caller":"operator"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the log: %s", want, text)
		}
	}
	for _, secret := range []string{s.acme, s.initech, s.operator, "gk_"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the log: %s", secret, text)
		}
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	client, stop, err := connect("", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	limiter, err := ratelimit.New(client, ratelimit.Options{Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	tenants, keys := demoTenants()
	var log bytes.Buffer
	e := (&api{limiter, tenants, slog.New(slog.NewJSONHandler(&log, nil))}).handler()
	e.GET("/broken", func(echo.Context) error { panic("a broken route") })
	server := httptest.NewServer(e)
	s := &service{t: t, url: server.URL}
	a := s.want(s.send("GET", "/broken", keys.acme, ""), 500)
	server.Close()
	if strings.Contains(a.body, "a broken route") || !strings.Contains(log.String(), "a broken route") || !strings.Contains(log.String(), `"status":500`) {
		t.Errorf("answered %s and logged %s: the reason belongs into the log alone", a.body, log.String())
	}
}

// Without Redis this process decides alone; what is left can't be told.
func TestRedisDown(t *testing.T) {
	t.Parallel()
	server := luatest.NewSingle(t)
	s := start(t, server.URL(), "-budget", "500ms")
	s.want(s.send("GET", "/v1/items", s.initech, ""), 200)
	server.Freeze(t)
	t.Cleanup(func() { server.Thaw(t) })
	s.want(s.send("GET", "/v1/items", s.initech, ""), 200)
	s.want(s.send("GET", "/v1/usage", s.initech, ""), 503)
	s.want(s.send("GET", "/health", "", ""), 200)
}

func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		redisURL string
		args     []string
	}{
		"REDIS_URL": {"nonsense", nil},
		"flag":      {"", []string{"-nonsense"}},
		"address":   {"", []string{"-addr", "127.0.0.1:nonsense"}},
	} {
		if err := run(t.Context(), c.args, func(string) string { return c.redisURL }, io.Discard); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
