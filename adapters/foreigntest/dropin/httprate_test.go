package dropin_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/dropin"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/go-chi/httprate"
)

var _ httprate.LimitCounter = (*dropin.LimitCounter)(nil)

// counted returns httprate's option for our counter, with the error handler that belongs
// to it.
func counted(limiter *ratelimit.Limiter, opts dropin.LimitCounterOptions) httprate.Option {
	counter := httprate.WithLimitCounter(dropin.NewLimitCounter(limiter, "api", opts))
	return func(rl *httprate.RateLimiter) {
		counter(rl)
		httprate.WithErrorHandler(dropin.HandleLimitError)(rl)
	}
}

// hit is one request and the expected answer; empty fields are not checked.
type hit struct {
	from      string // address
	increment int    // -1: none is set
	limit     int    // of this request; 0: the rate limiter's

	code      int
	remaining string
	body      string
}

func (h hit) do(t *testing.T, what string, handler http.Handler) http.Header {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	if h.from != "" {
		r.RemoteAddr = h.from
	}
	if h.increment >= 0 {
		r = r.WithContext(httprate.WithIncrement(r.Context(), h.increment))
	}
	if h.limit > 0 {
		r = r.WithContext(httprate.WithRequestLimit(r.Context(), h.limit))
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != h.code {
		t.Errorf("%s: status %d, want %d: %s", what, w.Code, h.code, w.Body)
	}
	if got := w.Header().Get("X-RateLimit-Remaining"); h.remaining != "" && got != h.remaining {
		t.Errorf("%s: X-RateLimit-Remaining %q, want %q", what, got, h.remaining)
	}
	if body := strings.TrimSpace(w.Body.String()); h.body != "" && body != h.body {
		t.Errorf("%s: body %q, want %q", what, body, h.body)
	}
	return w.Header()
}

// hits are requests with an increment, until the statuses and what remains run out.
func hits(increments, codes []int, remaining []string) (list []hit) {
	for i := range codes {
		h := hit{increment: increments[min(i, len(increments)-1)], code: codes[i]}
		if remaining != nil {
			h.remaining = remaining[i]
		}
		list = append(list, h)
	}
	return list
}

var everyone = httprate.Key("*")

func byAddress(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return httprate.CanonicalizeIP(host), err
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })

func TestHTTPRate(t *testing.T) {
	slow := httprate.WithLimitHandler(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "slow down", http.StatusTooManyRequests) })
	const min, no = time.Minute, -1
	for _, c := range []struct {
		name    string
		limit   int
		window  time.Duration
		options []httprate.Option
		max     int // MaxLimit
		hits    []hit
	}{
		{"within", 3, 4 * time.Second, nil, 0, hits([]int{no}, []int{200, 200, 200}, nil)},
		{"over", 3, min, nil, 0, hits([]int{no}, []int{200, 200, 200, 429}, nil)},
		{"increment 0", 3, min, nil, 0, hits([]int{0}, []int{200, 200, 200, 200}, []string{"3", "3", "3", "3"})},
		{"increment 1", 3, min, nil, 0, hits([]int{1}, []int{200, 200, 200, 429}, nil)},
		{"increment 2", 3, min, nil, 0, hits([]int{2}, []int{200, 429, 429, 429}, nil)},
		{"increment 3", 3, min, nil, 0, hits([]int{3}, []int{200, 429, 429, 429}, nil)},
		{"increment above the limit", 3, min, nil, 0, hits([]int{4}, []int{429, 429, 429, 429}, []string{"3", "3", "3", "3"})},
		{"what remains", 5, min, nil, 0,
			hits([]int{1}, []int{200, 200, 200, 200, 200, 429}, []string{"4", "3", "2", "1", "0", "0"})},
		{"what remains after increments", 5, min, nil, 0,
			hits([]int{2, 2, 1, 2, 10, 1}, []int{200, 200, 200, 429, 429, 429}, []string{"3", "1", "0", "0", "0", "0"})},
		{"own answer", 1, min, []httprate.Option{slow}, 0, []hit{{code: 200, increment: no, body: "ok"}, {code: 429, increment: no, body: "slow down"}}},
		{"by address", 1, min, []httprate.Option{httprate.WithKeyFuncs(byAddress)}, 0, []hit{
			{from: "1.1.1.1:100", increment: no, code: 200}, {from: "1.1.1.1:200", increment: no, code: 429}, {from: "2.2.2.2:200", increment: no, code: 200}}},
		{"by address, v6", 1, min, []httprate.Option{httprate.WithKeyFuncs(byAddress)}, 0, []hit{
			{from: "[2001:db8::21f:5bff:febf:ce22]:1", increment: no, code: 200}, {from: "[2001:db8::1]:2", increment: no, code: 429},
			{from: "[2002:db8::1]:1", increment: no, code: 200}}},
		{"limit of the request", 3, min, nil, 5, []hit{
			{increment: no, code: 200}, {increment: no, limit: 1, code: 429}, {increment: no, code: 200}, {increment: no, code: 200}, {increment: no, code: 429},
			{increment: no, limit: 5, code: 200}, {increment: no, limit: 5, code: 200}, {increment: no, limit: 5, code: 429}}},
		{"limit of the request above MaxLimit", 3, min, nil, 4, []hit{
			{increment: 3, code: 200}, {increment: no, limit: 9, code: 200}, {increment: no, limit: 9, code: 429}}},
		{"limit 0", 0, min, nil, 0, hits([]int{no}, []int{429}, nil)},
		{"limit 0 and one of the request", 0, min, nil, 2, []hit{{increment: no, code: 429}, {increment: no, limit: 2, code: 200}}},
		{"large limit", 10_000, min, nil, 0, hits([]int{9_999, 1, 1}, []int{200, 200, 429}, []string{"1", "0", "0"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, server *redistest.Server) {
				options := append(c.options, counted(newLimiter(t, server.Client(t)), dropin.LimitCounterOptions{MaxLimit: c.max}))
				handler := httprate.LimitBy(c.limit, c.window, everyone, options...)(ok)
				for i, h := range c.hits {
					header := h.do(t, fmt.Sprint("request ", i), handler)
					if reset, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64); err != nil || reset < time.Now().Unix() {
						t.Errorf("request %d: X-RateLimit-Reset %q is not in the future", i, header.Get("X-RateLimit-Reset"))
					}
				}
			})
		})
	}
}

func TestHTTPRateHeaderNames(t *testing.T) {
	limiter := newLimiter(t, redistest.Single(t).Client(t))
	names := httprate.ResponseHeaders{Limit: "RateLimit-Limit", Remaining: "RateLimit-Remaining", Reset: "RateLimit-Reset", RetryAfter: "RateLimit-Retry"}
	handler := httprate.LimitBy(1, time.Minute, everyone, httprate.WithResponseHeaders(names), counted(limiter, dropin.LimitCounterOptions{}))(ok)
	header := hit{increment: 2, code: 429}.do(t, "request", handler)
	for _, name := range []string{names.Limit, names.Remaining, names.Reset, names.RetryAfter} {
		if header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Increment", "Retry-After", ""} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			if got := header.Values(name); got != nil {
				t.Errorf("header %q is %q, want none", name, got)
			}
		})
	}
}

// A rate limiter of the program's own, asked in the handler.
func TestHTTPRateInHandler(t *testing.T) {
	limiter := newLimiter(t, redistest.Single(t).Client(t))
	logins := httprate.NewRateLimiter(5, time.Minute, counted(limiter, dropin.LimitCounterOptions{}))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !logins.RespondOnLimit(w, r, "alice") {
			_, _ = io.WriteString(w, "welcome")
		}
	})
	for i := range 8 {
		want := hit{increment: -1, code: 200, body: "welcome"}
		if i >= 5 {
			want = hit{increment: -1, code: 429, body: "Too Many Requests"}
		}
		want.do(t, fmt.Sprint("login ", i), handler)
	}
	if within, rate, err := logins.Status("alice"); !within || rate != 5 || err != nil {
		t.Errorf("status %v, %v, %v; want 5, which is not over 5", within, rate, err)
	}
	if _, rate, err := logins.Status("bob"); rate != 0 || err != nil {
		t.Errorf("bob's rate is %v, %v", rate, err)
	}
}

// All permits of the last window count in the current one, whatever windows httprate asks
// for. Older ones do not count.
func TestLimitCounterSlides(t *testing.T) {
	server := redistest.Embedded(t)
	start := time.Unix(1_800_000_000, 0)
	// Each time is a ms late, because permits lie a µs apart when the clock stands still.
	at := func(seconds int) {
		server.Miniredis().SetTime(start.Add(time.Duration(seconds)*time.Second + time.Duration(seconds)*time.Millisecond))
	}
	counter := dropin.NewLimitCounter(newLimiter(t, server.Client(t)), "api", dropin.LimitCounterOptions{})
	counter.Config(1000, time.Minute)
	get := func(want int) {
		t.Helper()
		current, previous, err := counter.Get("key", start, start.Add(-time.Minute))
		if current != want || previous != 0 || err != nil {
			t.Errorf("counted %d and %d, error %v; want %d and 0", current, previous, err, want)
		}
	}
	by := func(n int) {
		t.Helper()
		if err := counter.IncrementBy("key", start, n); err != nil {
			t.Error(err)
		}
	}
	at(0)
	get(0)
	if err := counter.Increment("key", start); err != nil {
		t.Error(err)
	}
	by(99)
	get(100)
	at(59)
	get(100)
	by(20)
	get(120)
	at(60)
	get(20)
	at(118)
	get(20)
	at(119)
	get(0)
}

// Each request of one process comes between the look and the count of the other. There
// httprate alone exceeds the limit.
func TestLimitCounterBetweenProcesses(t *testing.T) {
	client := redistest.Single(t).Client(t)
	limiter := newLimiter(t, client)
	between := &sandwiched{LimitCounter: dropin.NewLimitCounter(limiter, "api", dropin.LimitCounterOptions{})}
	handler := httprate.LimitBy(1, time.Minute, everyone, httprate.WithLimitCounter(between), httprate.WithErrorHandler(dropin.HandleLimitError))(ok)
	other := httprate.LimitBy(1, time.Minute, everyone, counted(limiter, dropin.LimitCounterOptions{}))(ok)
	between.then = func() { hit{increment: -1, code: 200}.do(t, "the other process", other) }
	header := hit{increment: -1, code: 429}.do(t, "the slower one", handler)
	if wait, _ := strconv.Atoi(header.Get("Retry-After")); wait < 1 || wait > 60 {
		t.Errorf("Retry-After %q, want what is left of a minute", header.Get("Retry-After"))
	}

	// Under load, from many at once.
	var handlers []http.Handler
	for range 4 {
		handlers = append(handlers, httprate.LimitBy(50, time.Hour, everyone, counted(limiter, dropin.LimitCounterOptions{}))(ok))
	}
	var passed atomic.Int64
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			w := httptest.NewRecorder()
			handlers[i%4].ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			switch w.Code {
			case 200:
				passed.Add(1)
			case 429:
			default:
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got != 50 {
		t.Errorf("%d passed, want 50", got)
	}
}

// sandwiched calls a function after each look.
type sandwiched struct {
	*dropin.LimitCounter
	then func()
}

func (s *sandwiched) Get(key string, current, previous time.Time) (int, int, error) {
	c, p, err := s.LimitCounter.Get(key, current, previous)
	s.then()
	return c, p, err
}

func TestLimitCounterWhenRedisIsAway(t *testing.T) {
	for _, c := range []struct {
		mode ratelimit.FailMode
		want []int
	}{
		{ratelimit.FailOpen, []int{200, 200, 200}},
		{ratelimit.FailClosed, []int{503, 503, 503}},
		{ratelimit.FailLocal, []int{200, 200, 429}},
	} {
		handler := httprate.LimitBy(2, time.Minute, everyone, counted(newLimiter(t, nowhere(t)), dropin.LimitCounterOptions{FailMode: c.mode}))(ok)
		for i, code := range c.want {
			hit{increment: -1, code: code}.do(t, fmt.Sprint(c.mode, " ", i), handler)
		}
	}
	// An increment without a look before it.
	counter := dropin.NewLimitCounter(newLimiter(t, nowhere(t)), "api", dropin.LimitCounterOptions{FailMode: ratelimit.FailClosed})
	counter.Config(2, time.Minute)
	if err := counter.Increment("key", time.Now()); !errors.Is(err, gatekit.ErrUnavailable) || errors.Is(err, dropin.ErrOverLimit) {
		t.Errorf("closed: %v", err)
	}
}

func TestLimitCounterErrors(t *testing.T) {
	limiter := newLimiter(t, nowhere(t))
	counter := dropin.NewLimitCounter(limiter, "api", dropin.LimitCounterOptions{})
	if _, _, err := counter.Get("key", time.Time{}, time.Time{}); err == nil {
		t.Error("looked without Config")
	}
	if counter.Increment("key", time.Time{}) == nil {
		t.Error("counted without Config")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic with a window of 0")
			}
		}()
		counter.Config(1, 0)
	}()
	counter.Config(0, time.Minute)
	if err := counter.Increment("key", time.Time{}); !errors.Is(err, dropin.ErrOverLimit) {
		t.Errorf("of a limit of 0: %v", err)
	}
	w := httptest.NewRecorder()
	dropin.HandleLimitError(w, nil, errors.New("the key function failed"))
	if w.Code != 400 || strings.Contains(w.Body.String(), "key function") {
		t.Errorf("error of a key function: %d %s", w.Code, w.Body)
	}
}
