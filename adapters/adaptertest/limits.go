package adaptertest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
)

// denied checks the answer to a request that the named limit stopped.
func (a answer) denied(t testing.TB, limit string) {
	t.Helper()
	a.wants(t, 429, "*").cookies(t, 0).has(t, "Cache-Control", "no-store")
	if !strings.Contains(a.header.Get("RateLimit"), `"`+limit+`";r=0;t=`) {
		t.Errorf("%s: got RateLimit %q, want %s with r=0", a.what, a.header["Ratelimit"], limit)
	}
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 {
		t.Errorf("%s: got Retry-After %q, want seconds", a.what, a.header.Get("Retry-After"))
	}
	if strings.HasPrefix(a.what, "HEAD") {
		return
	}
	var problem struct {
		Type     string
		Status   int
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
		t.Fatalf("%s: body %q: %v", a.what, a.body, err)
	}
	quota := problem.Status == 429 && strings.HasSuffix(problem.Type, "#quota-exceeded")
	if !quota || !slices.Equal(problem.Violated, []string{limit}) {
		t.Errorf("%s: got problem details %+v, want those of %s", a.what, problem, limit)
	}
	if ct := a.header.Get("Content-Type"); !strings.HasSuffix(ct, "json") {
		t.Errorf("%s: got Content-Type %q, want application/problem+json", a.what, ct)
	}
}

// passed checks the fields of a response whose request one limit let pass.
func (a answer) passed(t testing.TB, limit string, quota, left int) {
	t.Helper()
	a.has(t, "RateLimit-Policy", `"`+limit+`";q=`+strconv.Itoa(quota)+`;w=3600`).has(t, "Retry-After", "")
	state := `"` + limit + `";r=` + strconv.Itoa(left) + ";t="
	if lines := a.header.Values("RateLimit"); len(lines) != 1 || !strings.HasPrefix(lines[0], state) {
		t.Errorf("%s: got RateLimit %q, want one line with %s", a.what, lines, state)
	}
}

// limited: the fields in which responses report a limit, whatever their status.
func limited(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	quota := len(ways) + len(k.answers) + 3
	limit := w.limit("pages", int64(quota))
	w.use = []layer{k.recover(), k.sessions(w.m)}
	w.group("", limit)
	for i, way := range ways {
		w.on("GET", "/way/"+strconv.Itoa(i), way.respond)
	}
	for i, a := range k.answers {
		w.mount("GET", "/answer/"+strconv.Itoa(i), a.Handler)
	}
	w.on("GET", "/decisions", func(rw http.ResponseWriter, r *http.Request) error {
		ds := ratelimit.FromContext(r.Context())
		if len(ds) != 1 || !ds[0].Allowed || ds[0].Policy().Name() != "pages" {
			t.Errorf("the handler finds %v, want the decision of one limit", ds)
		}
		return nil
	})
	w.on("GET", "/panic", func(http.ResponseWriter, *http.Request) error { panic("on purpose") })
	w.on("POST", "/mark", func(_ http.ResponseWriter, r *http.Request) error { return Mark(session.From(r.Context())) })
	w.start()
	v := w.visitor()
	left := quota
	pass := func(method, path string, status int) {
		t.Helper()
		left--
		v.do(method, path).wants(t, status, "*").passed(t, "pages", quota, left)
	}
	for i, way := range ways {
		pass("GET", "/way/"+strconv.Itoa(i), way.status)
	}
	for i, a := range k.answers {
		pass("GET", "/answer/"+strconv.Itoa(i), a.Status)
	}
	pass("GET", "/decisions", 200)
	pass("GET", "/panic", 500)
	pass("POST", "/mark", 200)
	v.sees(t, "", "red")

	v = w.regular()
	ran := w.ran.Load()
	for _, c := range [][2]string{{"GET", "/way/0"}, {"HEAD", "/way/1"}, {"GET", "/panic"}, {"POST", "/mark"}} {
		v.do(c[0], c[1]).has(t, "Vary", "").denied(t, "pages")
	}
	if n := w.ran.Load() - ran; n > 0 {
		t.Errorf("%d handlers ran for requests that were denied", n)
	}
	v.sees(t, "", "blue")
	w.wantLeft("pages", int64(quota), 0)
}

// orders: a limit before the sessions and one behind them.
func orders(t *testing.T, k kit, srv *redistest.Server) {
	for _, outside := range []bool{true, false} {
		t.Run("limit outside "+strconv.FormatBool(outside), func(t *testing.T) {
			w := newWorld(t, k, srv.Client(t))
			limited := []layer{w.limit("service", 4)}
			if w.use = append(w.use, limited...); outside {
				w.use = append(limited, w.use[0])
			}
			w.start()
			v := w.visitor()
			v.do("POST", "/login").wants(t, 200, "").cookies(t, 1).passed(t, "service", 4, 3)
			v.do("POST", "/set?color=red").wants(t, 200, "").cookies(t, 0).passed(t, "service", 4, 2)
			v.do("GET", "/value").wants(t, 200, "alice:red").cookies(t, 0).has(t, "Vary", "Cookie").passed(t, "service", 4, 1)
			v.do("GET", "/nowhere").wants(t, 404, "*").passed(t, "service", 4, 0)
			v.do("POST", "/set?color=green").denied(t, "service")
			v.do("GET", "/value").denied(t, "service")
			if n := len(w.sessionsOf("alice")); n != 1 {
				t.Errorf("alice has %d sessions, want the one she had", n)
			}
			w.wantLeft("service", 4, 0)
		})
	}
}

// several: two limits at once, and one that is mounted twice.
func several(t *testing.T, k kit, srv *redistest.Server) {
	w := newWorld(t, k, srv.Client(t))
	page := func(rw http.ResponseWriter, r *http.Request) error {
		if n := strconv.Itoa(len(ratelimit.FromContext(r.Context()))); n != "2" {
			return errors.New("want two decisions, not " + n)
		}
		return second(io.WriteString(rw, "body"))
	}
	outer, inner, twice := w.limit("outer", 10), w.limit("inner", 1), w.limit("twice", 10)
	w.group("/two", outer)
	w.on("GET", "/page", page, inner)
	w.group("/twice", twice)
	w.on("GET", "/page", page, twice)
	w.start()
	v := w.visitor()
	for _, want := range []int{200, 429} {
		a := v.do("GET", "/two/page").wants(t, want, "*")
		for field, items := range map[string][2]string{
			"RateLimit": {`"outer";r=`, `"inner";r=0`}, "RateLimit-Policy": {`"outer";q=10`, `"inner";q=1`},
		} {
			lines := a.header.Values(field)
			if len(lines) != 1 || !strings.Contains(lines[0], items[0]) || !strings.Contains(lines[0], items[1]) {
				t.Errorf("%d: got %s %q, want one line with %q", want, field, lines, items)
			}
		}
	}
	w.wantLeft("outer", 10, 8) // it let the second request pass
	w.wantLeft("inner", 1, 0)
	v.do("GET", "/twice/page").wants(t, 200, "body")
	w.wantLeft("twice", 10, 8)
}

// routes: quotas for each route, wherever the limit is mounted.
func routes(t *testing.T, k kit, srv *redistest.Server) {
	page := func(rw http.ResponseWriter, _ *http.Request) error { return second(io.WriteString(rw, "body")) }
	for _, level := range []string{"router", "group", "route"} {
		t.Run(level, func(t *testing.T) {
			w := newWorld(t, k, srv.Client(t))
			limit := k.rateLimit(w.limiter, ratelimit.GateOptions{}, ratelimit.Rule{Policy: hourly("each", 2), Key: ratelimit.Everyone(), PerRoute: true})
			var group, route []layer
			switch level {
			case "router":
				w.use = []layer{limit}
			case "group":
				group = []layer{limit}
			case "route":
				route = []layer{limit}
			}
			w.group("/api", group...)
			w.on("GET", "/items/{id}", page, route...)
			w.on("GET", "/orders/{id}", page, route...)
			w.on("GET", "/orders/{id}/lines", page, route...)
			w.start()
			v := w.visitor()
			for _, c := range []struct {
				path string
				left int
			}{
				{"/api/items/1", 1}, {"/api/items/2", 0}, {"/api/items/3?x=y", -1},
				{"/api/orders/1", 1}, {"/api/orders/1/lines", 1}, {"/api/orders/%31", 0}, {"/api/orders/4", -1},
				{"/api/orders/5/lines", 0},
			} {
				if a := v.do("GET", c.path); c.left < 0 {
					a.denied(t, "each")
				} else {
					a.wants(t, 200, "body").passed(t, "each", 2, c.left)
				}
			}
			if level == "router" { // all paths that no route matches are one route
				v.do("GET", "/no/1").wants(t, 404, "*").passed(t, "each", 2, 1)
				v.do("POST", "/api/items/1").passed(t, "each", 2, 0) // 404 or 405, by framework
				v.do("GET", "/nor/this").denied(t, "each")
			}
		})
	}
}
