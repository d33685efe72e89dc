package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/examples/internal/demo"
	"github.com/gatekit/gatekit/examples/internal/demotest"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/labstack/echo/v4"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// A service is the running program, or its handler.
type service struct {
	t                       *testing.T
	program                 *demotest.Running
	url                     string
	acme, initech, operator string // the keys that it printed
}

// onEach runs a test with the program on each kind of Redis, which no other test uses.
func onEach(t *testing.T, test func(*testing.T, *service)) {
	demotest.OnEachRedis(t, func(t *testing.T, redisURL string) { test(t, start(t, redisURL)) })
}

func start(t *testing.T, redisURL string, args ...string) *service {
	t.Helper()
	// A busy machine may take long. A -budget in args comes later and wins.
	p := demotest.Start(t, run, redisURL, append([]string{"-budget", "10s"}, args...)...)
	printed := p.Until(t, "\nlog:\n")
	form := regexp.MustCompile(`^listening on http://.*\n\n` +
		`key of acme \(plan pro\): +(gk_\w+)\nkey of initech \(plan free\): +(gk_\w+)\nkey of the operator: +(gk_\w+)\n\n  curl -i `)
	match := form.FindStringSubmatch(printed)
	if match == nil {
		t.Fatalf("printed %q", printed)
	}
	return &service{t: t, program: p, url: p.URL, acme: match[1], initech: match[2], operator: match[3]}
}

func (s *service) send(method, path, key, body string) demotest.Answer {
	s.t.Helper()
	var header []string
	if key != "" {
		header = append(header, "Authorization", "Bearer "+key)
	}
	if body != "" {
		header = append(header, "Content-Type", "application/json")
	}
	return demotest.Send(s.t, method, s.url+path, body, header...)
}

// want checks an answer's status and, if it is an error, that the body is a problem with
// the same status.
func (s *service) want(a demotest.Answer, status int) demotest.Answer {
	s.t.Helper()
	if a.Status != status {
		s.t.Fatalf("got status %d, want %d: %s", a.Status, status, a.Body)
	}
	if status < 400 {
		return a
	}
	var problem struct {
		Title  string
		Status int
	}
	if err := json.Unmarshal([]byte(a.Body), &problem); err != nil || problem.Status != status || problem.Title == "" ||
		a.Header.Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("status %d: got %s %q, %v", status, a.Header.Get("Content-Type"), a.Body, err)
	}
	return a
}

// left returns how much a tenant has left in this minute, from the answer to /v1/usage or
// to a change of its quota.
func (s *service) left(a demotest.Answer) (quota, remaining int64) {
	s.t.Helper()
	var got struct{ Limits []usage }
	if err := json.Unmarshal([]byte(s.want(a, 200).Body), &got); err != nil || len(got.Limits) != 3 || got.Limits[0].Limit != "minute" {
		s.t.Fatalf("got %q, %v", a.Body, err)
	}
	return got.Limits[0].Quota, got.Limits[0].Remaining
}

func TestPlansAndCosts(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		first := s.want(s.send("GET", "/v1/items", s.initech, ""), 200)
		if got := first.Header.Get("RateLimit-Policy"); !strings.HasPrefix(got, `"api-minute";q=10;w=60, "api-day";q=1440;w=86400, "api-calendar-month";q=14400;w=`) {
			t.Errorf("free: got RateLimit-Policy %s", got)
		}
		if got := first.Header.Get("RateLimit"); !strings.HasPrefix(got, `"api-minute";r=9;t=`) || !strings.Contains(got, `"api-day";r=1439;t=`) || !strings.Contains(got, `"api-calendar-month";r=14399;t=`) {
			t.Errorf("free: got RateLimit %s", got)
		}
		report := s.want(s.send("POST", "/v1/reports", s.initech, ""), 201)
		if got := report.Header.Get("RateLimit"); !strings.HasPrefix(got, `"api-minute";r=4;`) {
			t.Errorf("after a report: got RateLimit %s, want 4 left", got)
		}
		denied := s.want(s.send("POST", "/v1/reports", s.initech, ""), 429)
		wait, err := strconv.Atoi(denied.Header.Get("Retry-After"))
		if err != nil || wait < 1 || wait > 66 || !strings.Contains(denied.Body, `"violated-policies":["api-minute"]`) ||
			denied.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("denied: got Retry-After %q with %v and %s", denied.Header.Get("Retry-After"), denied.Header, denied.Body)
		}
		for i := range 4 { // a denial costs nothing, so what a report was too dear for is left for smaller requests
			if a := s.want(s.send("GET", "/v1/items", s.initech, ""), 200); !strings.HasPrefix(a.Header.Get("RateLimit"), `"api-minute";r=`+strconv.Itoa(3-i)+`;`) {
				t.Errorf("got RateLimit %s, want %d left", a.Header.Get("RateLimit"), 3-i)
			}
		}
		s.want(s.send("GET", "/v1/items", s.initech, ""), 429)

		other := s.want(s.send("GET", "/v1/items", s.acme, ""), 200)
		if got := other.Header.Get("RateLimit"); !strings.HasPrefix(got, `"api-minute";r=99;`) {
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
		// The answer to an unreadable body has the API's own text, without words of Go.
		a := s.want(s.send("PUT", path, s.operator, `{"per_minute": "hunter2"}`), 400)
		if strings.Contains(a.Body, "Unmarshal") || strings.Contains(a.Body, "int64") || strings.Contains(a.Body, "offset") {
			t.Errorf("the answer shows Echo's words: %s", a.Body)
		}
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
			if got := a.Header.Get("RateLimit"); !strings.HasPrefix(got, `"strangers";r=`+strconv.Itoa(19-i)+`;`) {
				t.Errorf("GET %s with key %q: got %d, RateLimit %s, want %d left", path, wrong[i%len(wrong)], a.Status, got, 19-i)
			}
			if strings.HasPrefix(path, "/v1") && (a.Status != 401 || a.Header.Get("WWW-Authenticate") == "") {
				t.Errorf("GET %s with key %q: got %d with %v, want 401", path, wrong[i%len(wrong)], a.Status, a.Header)
			}
		}
		denied := s.want(s.send("GET", "/v1/items", "guess", ""), 429)
		if denied.Header.Get("Retry-After") == "" || !strings.Contains(denied.Body, "strangers") {
			t.Errorf("denied: got %v %s", denied.Header, denied.Body)
		}
		s.want(s.send("GET", "/nowhere", "", ""), 429)
		// Tenants with a key lose nothing by it, though the address is the same.
		if a := s.want(s.send("GET", "/v1/items", s.acme, ""), 200); strings.Contains(a.Header.Get("RateLimit"), "strangers") {
			t.Errorf("with a key: got RateLimit %s", a.Header.Get("RateLimit"))
		}
		s.want(s.send("GET", "/nowhere", s.acme, ""), 404)
	})
}

func TestHealthIsNotCounted(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		for range 30 {
			if a := s.want(s.send("GET", "/health", "", ""), 200); a.Body != "ok\n" || a.Header.Get("RateLimit-Policy") != "" {
				t.Fatalf("got %q with %v", a.Body, a.Header)
			}
		}
		if a := s.send("GET", "/v1/items", "", ""); !strings.HasPrefix(a.Header.Get("RateLimit"), `"strangers";r=19;`) {
			t.Errorf("after 30 health checks: got RateLimit %s, want 19 left", a.Header.Get("RateLimit"))
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *service) {
		got := demotest.AtOnce(30, func() demotest.Answer { return s.send("GET", "/v1/items", s.initech, "") })
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
	for end := time.Now().Add(time.Minute); strings.Count(text, `"msg":"request"`) < 4; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("logged only %s", text)
		}
		_, text, _ = strings.Cut(s.program.Printed(), "\nlog:\n")
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
	redis, err := demo.Connect("", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	limiter, err := ratelimit.New(kvtest.Open(t, redis.Client, gatekit.Options{Budget: 10 * time.Second}), ratelimit.Options{})
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
	if strings.Contains(a.Body, "a broken route") || !strings.Contains(log.String(), "a broken route") || !strings.Contains(log.String(), `"status":500`) {
		t.Errorf("answered %s and logged %s: the reason belongs into the log alone", a.Body, log.String())
	}
}

// Without Redis this process decides alone, and the API can't say what is left.
func TestRedisDown(t *testing.T) {
	t.Parallel()
	server := redistest.NewSingle(t)
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
	demotest.RefusesWrongStarts(t, run)
}
