package gatehttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

var (
	byIP  = ratelimit.MustByIP(ratelimit.IPOptions{})
	byKey = ratelimit.ByHeader("X-Api-Key")
	ok    = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") })
)

func newLimiter(t testing.TB, client gatekit.Client) *ratelimit.Limiter {
	t.Helper()
	// The budget is wide, so that fail modes decide nothing on a busy machine.
	limiter, err := ratelimit.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: 5 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return limiter
}

// serve starts a server on a free port and returns its URL.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handlers that panic on purpose
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request over TCP; header is a list of names and values.
func send(t testing.TB, method, url string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
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

func wantLeft(t *testing.T, limiter *ratelimit.Limiter, p *ratelimit.Policy, key string, want int64) {
	t.Helper()
	d, err := limiter.Peek(context.Background(), p, key)
	if err != nil || d.Remaining != want {
		t.Errorf("policy %s: got %d permits left, %v, want %d", p.Name(), d.Remaining, err, want)
	}
}

// items returns the items of a list field, by name.
func items(t *testing.T, h http.Header, field string) map[string]httpsfv.Item {
	t.Helper()
	list, err := httpsfv.UnmarshalList(h.Values(field))
	if err != nil {
		t.Fatalf("%s: %q: %v", field, h.Values(field), err)
	}
	found := map[string]httpsfv.Item{}
	for _, m := range list {
		item := m.(httpsfv.Item)
		found[item.Value.(string)] = item
	}
	return found
}

func TestRateLimitOverTCP(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := newLimiter(t, s.Client(t))
		perIP := ratelimit.MustPolicy("ip", ratelimit.Per(4, time.Minute), ratelimit.PerHour(100))
		perKey := ratelimit.MustPolicy("key", ratelimit.PerHour(1000))
		limit := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{},
			ratelimit.Rule{Policy: perIP, Key: byIP}, ratelimit.Rule{Policy: perKey, Key: byKey})
		mux := http.NewServeMux()
		mux.Handle("GET /hello", limit(ok))
		mux.Handle("GET /missing", limit(http.NotFoundHandler()))
		mux.Handle("GET /broken", limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "broken", http.StatusInternalServerError)
		})))
		url := serve(t, mux)

		for i, c := range []struct {
			method, path string
			status       int
		}{{"GET", "/hello", 200}, {"GET", "/missing", 404}, {"GET", "/broken", 500}, {"HEAD", "/hello", 200}} {
			a := send(t, c.method, url+c.path, "X-Api-Key", "k1")
			if a.status != c.status {
				t.Fatalf("request %d: got status %d %s, want %d", i, a.status, a.body, c.status)
			}
			if got, want := a.header.Get("RateLimit-Policy"), `"ip-1m0s";q=4;w=60, "ip-hour";q=100;w=3600, "key";q=1000;w=3600`; got != want {
				t.Errorf("%s: got RateLimit-Policy %s, want %s", c.path, got, want)
			}
			left := items(t, a.header, "RateLimit")
			for name, want := range map[string]int64{"ip-1m0s": 3 - int64(i), "ip-hour": 99 - int64(i), "key": 999 - int64(i)} {
				t.Run(name, func(t *testing.T) {
					if r, _ := left[name].Params.Get("r"); r != want {
						t.Errorf("%s: got RateLimit %s, want r=%d for %s", c.path, a.header.Get("RateLimit"), want, name)
					}
				})
			}
			if a.header.Get("Retry-After") != "" || c.status == 200 && a.header.Get("Cache-Control") != "" {
				t.Errorf("%s: passed with %v", c.path, a.header)
			}
		}

		denied := send(t, "GET", url+"/hello", "X-Api-Key", "k1")
		var problem struct {
			Type, Title, Detail string
			Status              int
			Violated            []string `json:"violated-policies"`
		}
		if err := json.Unmarshal([]byte(denied.body), &problem); err != nil {
			t.Fatalf("body %q: %v", denied.body, err)
		}
		if denied.status != 429 || problem.Status != 429 || problem.Type != "https://iana.org/assignments/http-problem-types#quota-exceeded" ||
			problem.Title == "" || problem.Detail == "" || !reflect.DeepEqual(problem.Violated, []string{"ip-1m0s"}) {
			t.Errorf("got status %d and %+v", denied.status, problem)
		}
		retry, err := strconv.Atoi(denied.header.Get("Retry-After"))
		if err != nil || retry < 50 || retry > 66 {
			t.Errorf("Retry-After %q: want 60 s less what passed, up to a tenth more", denied.header.Get("Retry-After"))
		}
		for field, want := range map[string]string{"Content-Type": "application/problem+json", "Cache-Control": "no-store",
			"Content-Length": strconv.Itoa(len(denied.body)), "X-Content-Type-Options": "nosniff"} {
			t.Run(field, func(t *testing.T) {
				if got := denied.header.Get(field); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
		if r, _ := items(t, denied.header, "RateLimit")["key"].Params.Get("r"); r != int64(996) {
			t.Errorf("got RateLimit %s, want 996 left to the key", denied.header.Get("RateLimit"))
		}
		head := send(t, "HEAD", url+"/hello", "X-Api-Key", "k1")
		if head.status != 429 || head.body != "" || head.header.Get("Content-Length") != denied.header.Get("Content-Length") || head.header.Get("Retry-After") == "" {
			t.Errorf("HEAD: got %+v, want the header of GET and no body", head)
		}
		wantLeft(t, limiter, perKey, ratelimit.Join("header", "X-Api-Key", "k1"), 996)
	})
}

// If the request passes, the response has two fields more than without the middleware,
// and the handler gets the same writer.
func TestNothingElseIsTouched(t *testing.T) {
	type connection struct{ http.ResponseWriter } // a type that only the server in this test hands out
	var got http.ResponseWriter
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = w
		w.Header().Set("Etag", `"1"`)
		if r.PathValue("id") != "7" {
			t.Errorf("the handler got path value %q, want 7", r.PathValue("id"))
		}
	})
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	limit := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: ratelimit.MustPolicy("p", ratelimit.PerHour(5)), Key: byIP})
	mux := http.NewServeMux()
	mux.Handle("/limited/{id}", limit(handler))
	mux.Handle("/{id}", handler)
	plain, limited := httptest.NewRecorder(), httptest.NewRecorder()
	mux.ServeHTTP(plain, httptest.NewRequest("GET", "/7", nil))
	writer := &connection{limited}
	mux.ServeHTTP(writer, httptest.NewRequest("GET", "/limited/7", nil))
	if got != http.ResponseWriter(writer) {
		t.Errorf("the handler got a %T, want the writer of the server", got)
	}
	for field := range limited.Header() {
		if _, there := plain.Header()[field]; !there && field != "Ratelimit" && field != "Ratelimit-Policy" {
			t.Errorf("the middleware added %s: %s", field, limited.Header().Get(field))
		}
	}
	if limited.Body.Len() != 0 || len(limited.Header()) != len(plain.Header())+2 {
		t.Errorf("got %v, want the two fields and those of %v", limited.Header(), plain.Header())
	}
}

func TestFlushAndHijack(t *testing.T) {
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	limit := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: ratelimit.MustPolicy("p", ratelimit.PerHour(5)), Key: byIP})
	goOn := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/flush", limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-goOn
		_, _ = io.WriteString(w, "two\n")
	})))
	mux.Handle("/hijack", limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.0 299 Mine\r\n\r\n")
		_ = c.Close()
	})))
	url := serve(t, mux)
	resp, err := http.DefaultClient.Do(must(http.NewRequest("GET", url+"/flush", nil)))
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewReader(resp.Body)
	first, err := body.ReadString('\n') // the handler waits meanwhile
	if first != "one\n" || resp.Header.Get("RateLimit") == "" {
		t.Errorf("got %q, %v with %v before the handler ended", first, err, resp.Header)
	}
	close(goOn)
	rest, err := io.ReadAll(body)
	if string(rest) != "two\n" {
		t.Errorf("then got %q, %v", rest, err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if a := send(t, "GET", url+"/hijack"); a.status != 299 {
		t.Errorf("hijacked: got status %d, want 299", a.status)
	}
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}

// spellings are ways to write a path that some router takes for the same path. Each must
// count as the route that was matched, or never reach a handler.
var spellings = []string{
	"/reports/7", "/reports/8", "//reports/7", "/reports//7", "/./reports/7", "/x/../reports/7", "/reports/./7", "/reports/7/",
	"/reports/7//", "/reports/7/.", "/reports%2f7", "/%72eports/7", "/reports/%37", "/reports/7%00", "/reports/7%20", "/reports/7?",
	"/reports/7?a=1", "/reports/7?/../x", "/Reports/7", "/REPORTS/7", "/reports/7;x=1", "/reports;x/7", "/reports/7%2f", "/reports/%2e%2e/reports/7",
	"/reports/..%2f7", "/reports/%c0%af7", "/reports/%ff", "/reports/7%0d%0a", "/reports/\\7", "/reports/7%5c", "/reports/7.json",
}

func TestPerRouteCountsPatternsNotPaths(t *testing.T) {
	for _, around := range []bool{false, true} {
		t.Run(fmt.Sprintf("around the mux: %v", around), func(t *testing.T) {
			mux := http.NewServeMux()
			limiter := newLimiter(t, redistest.Embedded(t).Client(t))
			p := ratelimit.MustPolicy("p", ratelimit.PerHour(1000))
			rule := ratelimit.Rule{Policy: p, Key: byIP, PerRoute: true}
			handled := 0
			report := http.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { handled++ }))
			var h http.Handler = mux
			if around {
				h = gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{Pattern: gatehttp.MuxPattern(mux)}, rule)(mux)
			} else {
				report = gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, rule)(report)
			}
			mux.Handle("GET /reports/{id}", report)
			url := serve(t, h)
			redirected, unmatched := 0, 0
			for _, path := range spellings {
				t.Run(path, func(t *testing.T) {
					// Send the path unchanged: an http.Client would clean it.
					a := raw(t, url, "GET "+path+" HTTP/1.1")
					switch a.status {
					case 200:
					case 307:
						redirected++
					case 404, 400:
						unmatched++
					default:
						t.Errorf("got status %d %s", a.status, a.body)
					}
				})
			}
			for _, line := range []string{"HEAD /reports/9 HTTP/1.1", "POST /reports/9 HTTP/1.1", "CONNECT /reports/9 HTTP/1.1"} {
				if a := raw(t, url, line); a.status == 405 {
					unmatched++
				}
			}
			const route = "GET /reports/{id}"
			ip := ratelimit.Join("ip", "127.0.0.1")
			if handled < 10 || redirected < 5 || unmatched < 5 {
				t.Fatalf("%d handled, %d redirected, %d unmatched: the spellings test nothing", handled, redirected, unmatched)
			}
			d, err := limiter.Peek(context.Background(), p, ratelimit.Join("route", route, ip))
			if err != nil {
				t.Fatal(err)
			}
			elsewhere, err := limiter.Peek(context.Background(), p, ratelimit.Join("route", ratelimit.NoRoute, ip))
			if err != nil {
				t.Fatal(err)
			}
			counted, none := 1000-int(d.Remaining), 1000-int(elsewhere.Remaining)
			if !around && (counted != handled || none != 0) {
				t.Errorf("%d handled: counted %d by the route and %d elsewhere", handled, counted, none)
			}
			// Around the mux, redirects count too, as the route that they lead to.
			if around && (counted < handled || counted+none < handled+redirected) {
				t.Errorf("%d handled, %d redirected, %d unmatched: counted %d by the route and %d by none", handled, redirected, unmatched, counted, none)
			}
		})
	}
}

// raw sends a request line unchanged, from 127.0.0.1.
func raw(t *testing.T, url, line string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "%s\r\nHost: x\r\nConnection: close\r\n\r\n", line)
	if err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// A mux answers a CONNECT that it redirects with the path in place of the pattern.
func TestMuxPattern(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/{tenant}/", ok)
	mux.Handle("GET /{tenant}/files/{id}", ok)
	mux.Handle("POST /only/post", ok)
	mux.Handle("CONNECT /tunnel/{x}", ok)
	pattern := gatehttp.MuxPattern(mux)
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/acme/", "/{tenant}/"},
		{"GET", "/acme/x/y", "/{tenant}/"},
		{"GET", "/acme", "/{tenant}/"}, // redirected
		{"GET", "//acme//x", "/{tenant}/"},
		{"GET", "/acme/files/7", "GET /{tenant}/files/{id}"},
		{"HEAD", "/acme/files/7", "GET /{tenant}/files/{id}"},
		{"POST", "/only/post", "POST /only/post"},
		{"GET", "/", ratelimit.NoRoute},
		{"CONNECT", "/acme", ratelimit.NoRoute},
		{"CONNECT", "/ac%6de", ratelimit.NoRoute},
		{"CONNECT", "/..%2facme", ratelimit.NoRoute},
		{"CONNECT", "/acme/../bcme", "/{tenant}/"},
		{"CONNECT", "/acme/", "/{tenant}/"},
		{"CONNECT", "/acme/x", "/{tenant}/"},
		{"CONNECT", "/tunnel/1", "CONNECT /tunnel/{x}"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			r := httptest.NewRequest("GET", c.path, nil)
			r.Method = c.method
			if got := pattern(r); got != c.want {
				t.Errorf("%s %s: got %q, want %q", c.method, c.path, got, c.want)
			}
		})
	}
}

func TestPatternNotKnown(t *testing.T) {
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	mux := http.NewServeMux()
	mux.Handle("/", ok)
	rule := ratelimit.Rule{Policy: ratelimit.MustPolicy("p", ratelimit.PerHour(1)), Key: byIP, PerRoute: true}
	around := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, rule)(mux)
	if a := send(t, "GET", serve(t, around)); a.status != 500 || !strings.Contains(a.body, `"about:blank"`) {
		t.Errorf("around the mux without Pattern: got %d %s, want 500", a.status, a.body)
	}
	// As for chi and gorilla/mux, a function of the options returns the pattern.
	asked := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{Pattern: func(r *http.Request) string { return r.Header.Get("Route") }}, rule)(mux)
	url := serve(t, asked)
	for _, c := range []struct {
		route  string
		status int
	}{{"a", 200}, {"a", 429}, {"b", 200}} {
		if a := send(t, "GET", url, "Route", c.route); a.status != c.status {
			t.Errorf("route %s: got status %d, want %d", c.route, a.status, c.status)
		}
	}
}

func TestTwoMiddlewares(t *testing.T) {
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	opts := ratelimit.GateOptions{LegacyHeaders: true}
	service := ratelimit.MustPolicy("service", ratelimit.PerHour(100))
	route := ratelimit.MustPolicy("route", ratelimit.PerHour(1))
	outer := gatehttp.MustRateLimit(limiter, opts, ratelimit.Rule{Policy: service, Key: byIP})
	inner := gatehttp.MustRateLimit(limiter, opts, ratelimit.Rule{Policy: route, Key: byIP})
	seen := 0
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = len(ratelimit.FromContext(r.Context())) })
	url := serve(t, outer(inner(handler)))
	for _, status := range []int{200, 429} {
		a := send(t, "GET", url)
		if a.status != status || len(a.header.Values("RateLimit")) != 1 || len(a.header.Values("RateLimit-Policy")) != 1 {
			t.Errorf("got %d with %v, want %d and one line of each field", a.status, a.header, status)
		}
		policies, state := items(t, a.header, "RateLimit-Policy"), items(t, a.header, "RateLimit")
		for _, name := range []string{"service", "route"} {
			if _, there := policies[name]; !there {
				t.Errorf("RateLimit-Policy %s: no item %s", a.header.Get("RateLimit-Policy"), name)
			}
			if _, there := state[name]; !there {
				t.Errorf("RateLimit %s: no item %s", a.header.Get("RateLimit"), name)
			}
		}
		if a.header.Get("X-RateLimit-Limit") != "1" || a.header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("got legacy fields %v, want those of the route", a.header)
		}
	}
	if seen != 2 {
		t.Errorf("the handler saw %d decisions, want 2", seen)
	}
}

// The request stays charged when its handler panics or its client leaves.
func TestChargedWhateverHappens(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := newLimiter(t, s.Client(t))
		p := ratelimit.MustPolicy("p", ratelimit.PerHour(10))
		limit := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: p, Key: byIP})
		ip := ratelimit.Join("ip", "127.0.0.1")
		started, ended := make(chan struct{}), make(chan struct{})
		mux := http.NewServeMux()
		mux.Handle("/panic", limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("on purpose") })))
		mux.Handle("/slow", limit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(started)
			<-r.Context().Done()
			close(ended)
		})))
		url := serve(t, mux)

		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if resp, err := client.Get(url + "/panic"); err == nil {
			_ = resp.Body.Close()
			t.Errorf("panic: got status %d, want a closed connection", resp.StatusCode)
		}
		wantLeft(t, limiter, p, ip, 9)

		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			r := must(http.NewRequestWithContext(ctx, "GET", url+"/slow", nil))
			if resp, err := client.Do(r); err == nil {
				_ = resp.Body.Close()
			}
		})
		<-started
		cancel()
		<-ended
		wg.Wait()
		wantLeft(t, limiter, p, ip, 8)
	})
}

// Count only failures: spend before, give back after success, so that parallel attempts
// cannot slip through.
func TestCountOnlyFailures(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		limiter := newLimiter(t, s.Client(t))
		p := ratelimit.MustPolicy("login", ratelimit.PerHour(3)).OnFailure(ratelimit.FailClosed)
		login := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Password") != "right" {
				http.Error(w, "wrong", http.StatusUnauthorized)
				return
			}
			if _, err := limiter.RefundMany(r.Context(), ratelimit.FromContext(r.Context())); err != nil {
				t.Error(err)
			}
		})
		url := serve(t, gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: p, Key: byIP})(login))
		for i, c := range []struct {
			password string
			status   int
		}{{"right", 200}, {"right", 200}, {"x", 401}, {"right", 200}, {"x", 401}, {"right", 200}, {"right", 200}, {"x", 401}, {"right", 429}} {
			t.Run(fmt.Sprintf("attempt %d with %q", i, c.password), func(t *testing.T) {
				if a := send(t, "POST", url, "Password", c.password); a.status != c.status {
					t.Errorf("attempt %d with %q: got status %d, want %d", i, c.password, a.status, c.status)
				}
			})
		}
	})
}

// A client must not get a fresh quota by other header fields.
func TestSpoofing(t *testing.T) {
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	perIP, perKey := ratelimit.MustPolicy("ip", ratelimit.PerHour(5)), ratelimit.MustPolicy("key", ratelimit.PerHour(1000))
	limit := gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: perIP, Key: byIP}, ratelimit.Rule{Policy: perKey, Key: byKey})
	url := serve(t, limit(ok))
	passed := 0
	for i := range 20 {
		ip := fmt.Sprintf("203.0.113.%d", i)
		a := send(t, "GET", url, "X-Forwarded-For", ip, "X-Real-IP", ip, "True-Client-IP", ip, "CF-Connecting-IP", ip,
			"Forwarded", "for="+ip, "X-Api-Key", ip, "Connection", "X-Forwarded-For")
		if a.status == 200 {
			passed++
		}
	}
	if passed != 5 {
		t.Errorf("%d of 20 requests passed, want 5", passed)
	}
}

func TestSkipAndDryRun(t *testing.T) {
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(1))
	rule := ratelimit.Rule{Policy: p, Key: byIP}
	skip := ratelimit.GateOptions{Skip: func(r *http.Request) bool { return r.URL.Path == "/health" }}
	url := serve(t, gatehttp.MustRateLimit(limiter, skip, rule)(ok))
	for range 3 {
		if a := send(t, "GET", url+"/health"); a.status != 200 || a.header.Get("RateLimit") != "" || a.header.Get("RateLimit-Policy") != "" {
			t.Errorf("skipped: got %d with %v", a.status, a.header)
		}
	}
	wantLeft(t, limiter, p, ratelimit.Join("ip", "127.0.0.1"), 1)

	dry := ratelimit.GateOptions{DryRun: true}
	var ds []ratelimit.Decision
	url = serve(t, gatehttp.MustRateLimit(limiter, dry, rule)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ds = append(ds, ratelimit.FromContext(r.Context())...)
	})))
	for range 3 {
		if a := send(t, "GET", url); a.status != 200 || a.header.Get("RateLimit") != "" {
			t.Errorf("dry run: got %d with %v", a.status, a.header)
		}
	}
	if len(ds) != 3 || !ds[0].Allowed || ds[1].Allowed || ds[2].Allowed {
		t.Errorf("dry run: the handler saw %+v, want one admission and two denials", ds)
	}
}

func TestRedisGoesAndComesBack(t *testing.T) {
	s := redistest.Single(t)
	proxy := redistest.NewProxy(t, s.Nodes()[0].Addr())
	limiter, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t)}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	closed := ratelimit.MustPolicy("login", ratelimit.PerHour(1000)).OnFailure(ratelimit.FailClosed)
	open := ratelimit.MustPolicy("pages", ratelimit.PerHour(1000)).OnFailure(ratelimit.FailOpen)
	mux := http.NewServeMux()
	mux.Handle("/login", gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: closed, Key: byIP})(ok))
	mux.Handle("/pages", gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: open, Key: byIP})(ok))
	url := serve(t, mux)
	// until repeats a request until it gets the status: a busy machine may exceed the
	// budget, and after an outage the limiter asks Redis nothing for a moment.
	until := func(path string, status int) answer {
		t.Helper()
		a := answer{}
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if a = send(t, "GET", url+path); a.status == status {
				return a
			}
		}
		t.Fatalf("%s: got status %d for a minute, want %d", path, a.status, status)
		return a
	}
	until("/login", 200)
	proxy.Refuse(true)
	a := until("/login", 503)
	if a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(a.body, "#temporary-reduced-capacity") || strings.Contains(a.body, "127.0.0.1") || strings.Contains(a.body, "refused") {
		t.Errorf("closed: got %v %s", a.header, a.body)
	}
	if a := send(t, "GET", url+"/pages"); a.status != 200 || a.header.Get("RateLimit") != "" || a.header.Get("RateLimit-Policy") == "" {
		t.Errorf("open: got %d with %v, want 200, the policy and no state", a.status, a.header)
	}
	proxy.Heal()
	if a := until("/login", 200); a.header.Get("RateLimit") == "" {
		t.Errorf("Redis is back: got %v", a.header)
	}
}

func TestCustomAnswer(t *testing.T) {
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	opts := ratelimit.GateOptions{Headers: ratelimit.NoHeaders,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal) {
			http.Error(w, "too fast: "+ratelimit.FromContext(r.Context())[0].Policy().Name(), refusal.Status)
		}}
	url := serve(t, gatehttp.MustRateLimit(limiter, opts,
		ratelimit.Rule{Policy: ratelimit.MustPolicy("p", ratelimit.PerHour(1)), Key: byIP})(ok))
	send(t, "GET", url)
	a := send(t, "GET", url)
	if a.status != 429 || a.body != "too fast: p\n" || a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("RateLimit") != "" {
		t.Errorf("got %d %q with %v", a.status, a.body, a.header)
	}
}

func TestWrongRules(t *testing.T) {
	limiter := newLimiter(t, redistest.Embedded(t).Client(t))
	if _, err := gatehttp.RateLimit(limiter, ratelimit.GateOptions{}); err == nil {
		t.Error("no rule: got no error")
	}
	defer func() {
		if err, _ := recover().(error); err == nil || errors.Unwrap(err) == nil && !strings.Contains(err.Error(), "no Key") {
			t.Errorf("no key: got panic %v", err)
		}
	}()
	gatehttp.MustRateLimit(limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: ratelimit.MustPolicy("p", ratelimit.PerHour(1))})
}
