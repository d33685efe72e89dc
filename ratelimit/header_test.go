package ratelimit

import (
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"pgregory.net/rapid"
)

// verdictOf returns a verdict that a gate of the policies could give, without asking
// Redis.
func verdictOf(opts GateOptions, ds ...Decision) Verdict {
	g := &Gate{opts: opts, fields: map[*Policy]string{}}
	for _, d := range ds {
		g.fields[d.Policy()] = string(appendPolicy(nil, d.Policy(), d.Limits))
	}
	return Verdict{gate: g, Decisions: ds}
}

// decision returns a decision by the policy, with the given states of its limits.
func decision(p *Policy, states ...LimitState) Decision {
	d := Decision{Allowed: true, record: &record{policy: p}}
	for i, s := range states {
		s.Limit = p.limits[i]
		d.Limits = append(d.Limits, s)
	}
	return d
}

func TestDraft10Fields(t *testing.T) {
	api := MustPolicy("api", PerSecond(10), PerHour(1000))
	one := MustPolicy("one", Per(5, 90*time.Second))
	for _, c := range []struct {
		name          string
		ds            []Decision
		policy, state string
	}{
		{"one limit has the policy's name", []Decision{decision(one, LimitState{Remaining: 4, ResetAfter: 90 * time.Second})},
			`"one";q=5;w=90`, `"one";r=4;t=90`},
		{"several limits", []Decision{decision(api,
			LimitState{Remaining: 9, ResetAfter: time.Microsecond},
			LimitState{Remaining: 999, ResetAfter: time.Hour})},
			`"api-second";q=10;w=1, "api-hour";q=1000;w=3600`, `"api-second";r=9;t=1, "api-hour";r=999;t=3600`},
		{"seconds are rounded up", []Decision{decision(one, LimitState{ResetAfter: time.Second + 1})},
			`"one";q=5;w=90`, `"one";r=0;t=2`},
		{"nothing spent", []Decision{decision(one, LimitState{Remaining: 5})}, `"one";q=5;w=90`, `"one";r=5`},
		{"not known what remains", []Decision{decision(one, LimitState{Remaining: Unknown, ResetAfter: time.Second})},
			`"one";q=5;w=90`, ``},
		{"of one limit not known", []Decision{decision(api, LimitState{Remaining: Unknown}, LimitState{Remaining: 7})},
			`"api-second";q=10;w=1, "api-hour";q=1000;w=3600`, `"api-hour";r=7`},
		{"two policies", []Decision{decision(one, LimitState{Remaining: 1}), decision(api, LimitState{Remaining: 2}, LimitState{Remaining: 3})},
			`"one";q=5;w=90, "api-second";q=10;w=1, "api-hour";q=1000;w=3600`, `"one";r=1, "api-second";r=2, "api-hour";r=3`},
		{"window of no whole seconds", []Decision{decision(MustPolicy("x", Per(5, 1500*time.Millisecond)), LimitState{Remaining: 1})},
			`"x";q=5`, `"x";r=1`},
		{"no decision", nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			verdictOf(GateOptions{}, c.ds...).Header(h)
			if got := h.Get("RateLimit-Policy"); got != c.policy {
				t.Errorf("%s: RateLimit-Policy: got %s, want %s", c.name, got, c.policy)
			}
			if got := h.Get("RateLimit"); got != c.state {
				t.Errorf("%s: RateLimit: got %s, want %s", c.name, got, c.state)
			}
			for name, v := range h {
				if len(v) != 1 || name != "Ratelimit" && name != "Ratelimit-Policy" {
					t.Errorf("%s: field %s: %q, want one line each of RateLimit and RateLimit-Policy", c.name, name, v)
				}
			}
			h = http.Header{}
			verdictOf(GateOptions{Headers: NoHeaders}, c.ds...).Header(h)
			if len(h) != 0 {
				t.Errorf("%s: with NoHeaders: got %v", c.name, h)
			}
		})
	}
}

func TestFieldsOfDryRunsAndOfOneName(t *testing.T) {
	free, pro := MustPolicy("plan", PerHour(10)), MustPolicy("plan", PerHour(1000))
	shadow := MustPolicy("shadow", PerHour(1))
	v := verdictOf(GateOptions{LegacyHeaders: true}, decision(shadow, LimitState{Remaining: 0}),
		decision(pro, LimitState{Remaining: 5}), decision(free, LimitState{Remaining: 7}))
	v.dry = 1 << 0
	h := http.Header{}
	v.Header(h)
	want := http.Header{"Ratelimit-Policy": {`"plan";q=1000;w=3600`}, "Ratelimit": {`"plan";r=5`},
		"X-Ratelimit-Limit": {"1000"}, "X-Ratelimit-Remaining": {"5"}, "X-Ratelimit-Reset": {"0"}}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
}

func TestLegacyFields(t *testing.T) {
	api, day := MustPolicy("api", PerSecond(10), PerHour(1000)), MustPolicy("day", PerDay(4000))
	for _, c := range []struct {
		name                    string
		second, hour, day       int64
		limit, remaining, reset string
	}{
		{"first has least", 3, 400, 3999, "10", "3", "1"},
		{"second has least", 9, 2, 4000, "1000", "2", "60"},
		{"the other policy has least", 9, 400, 1, "4000", "1", "3600"},
		{"of one is not known", Unknown, 2, 4000, "1000", "2", "60"},
		{"nothing is known", Unknown, Unknown, Unknown, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			verdictOf(GateOptions{LegacyHeaders: true, Headers: NoHeaders},
				decision(api, LimitState{Remaining: c.second, ResetAfter: 1}, LimitState{Remaining: c.hour, ResetAfter: time.Minute}),
				decision(day, LimitState{Remaining: c.day, ResetAfter: time.Hour})).Header(h)
			got := []string{h.Get("X-RateLimit-Limit"), h.Get("X-RateLimit-Remaining"), h.Get("X-RateLimit-Reset")}
			if want := []string{c.limit, c.remaining, c.reset}; !slices.Equal(got, want) {
				t.Errorf("%s: got limit, remaining, reset %q, want %q", c.name, got, want)
			}
		})
	}
}

func TestFieldsOfASecondGate(t *testing.T) {
	a, b := MustPolicy("a", PerSecond(10)), MustPolicy("b", PerMinute(100))
	opts := GateOptions{LegacyHeaders: true}
	for _, c := range []struct {
		leftA, leftB int64
		limit        string // of the one with less
	}{{3, 50, "10"}, {9, 2, "100"}, {4, 4, "10"}} {
		h := http.Header{}
		verdictOf(opts, decision(a, LimitState{Remaining: c.leftA, ResetAfter: time.Second})).Header(h)
		verdictOf(opts, decision(b, LimitState{Remaining: c.leftB, ResetAfter: time.Minute})).Header(h)
		if got, want := h["Ratelimit-Policy"], []string{`"a";q=10;w=1, "b";q=100;w=60`}; !slices.Equal(got, want) {
			t.Errorf("RateLimit-Policy: got %q, want %q", got, want)
		}
		want := `"a";r=` + strconv.FormatInt(c.leftA, 10) + `;t=1, "b";r=` + strconv.FormatInt(c.leftB, 10) + `;t=60`
		if got := h["Ratelimit"]; len(got) != 1 || got[0] != want {
			t.Errorf("RateLimit: got %q, want %q", got, want)
		}
		if h.Get("X-RateLimit-Limit") != c.limit || h.Get("X-RateLimit-Remaining") != strconv.FormatInt(min(c.leftA, c.leftB), 10) {
			t.Errorf("%d and %d left: legacy fields %v, want those of the limit %s", c.leftA, c.leftB, h, c.limit)
		}
	}
}

func TestRetryAfterField(t *testing.T) {
	p := MustPolicy("p", PerHour(10))
	for _, c := range []struct {
		name   string
		status int
		retry  time.Duration
		want   bool
	}{
		{"denied", 429, time.Minute, true},
		{"degraded", 503, time.Second, true},
		{"never", 429, Never, false},
		{"wrong", 500, 0, false},
		{"allowed", 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verdictOf(GateOptions{}, decision(p, LimitState{Remaining: 1}))
			v.Status, v.RetryAfter = c.status, c.retry
			h := http.Header{"Cache-Control": {"max-age=60"}}
			v.Header(h)
			if got := h.Get("Retry-After") != ""; got != c.want {
				t.Errorf("%s: Retry-After %q, want one: %v", c.name, h.Get("Retry-After"), c.want)
			}
			if got, want := h.Get("Cache-Control") == "no-store", c.status != 0; got != want {
				t.Errorf("%s: Cache-Control %q, want no-store: %v", c.name, h.Get("Cache-Control"), want)
			}
		})
	}
}

func TestRetrySeconds(t *testing.T) {
	for _, c := range []struct {
		d      time.Duration
		random float64
		want   int64
	}{
		{1, 0, 1}, {1, 1, 1}, {time.Second, 0, 1}, {time.Second + 1, 0, 2}, {10 * time.Second, 0, 10}, {10 * time.Second, 1, 11},
		{100 * time.Second, 1, 105}, {time.Hour, 0, 3600}, {time.Hour, 0.5, 3603}, {time.Hour, 1, 3605}, {0, 0, 1},
		{MaxWindow, 1, 400*24*3600 + 5},
	} {
		t.Run(fmt.Sprintf("%v, random %v", c.d, c.random), func(t *testing.T) {
			if got := retrySeconds(c.d, c.random); got != c.want {
				t.Errorf("%v, random %v: got %d s, want %d s", c.d, c.random, got, c.want)
			}
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(MaxWindow)*2).Draw(t, "wait"))
		got := time.Duration(retrySeconds(d, rapid.Float64Range(0, 1).Draw(t, "random"))) * time.Second
		if got < d || got > d+min(d/10, 5*time.Second)+time.Second || got < time.Second {
			t.Fatalf("%v: got %v", d, got)
		}
	})
	// Clients that were denied together spread.
	seen := map[string]bool{}
	for range 1000 {
		v := verdictOf(GateOptions{}, decision(MustPolicy("p", PerHour(10))))
		v.Status, v.RetryAfter = 429, 30*time.Second
		h := http.Header{}
		v.Header(h)
		seen[h.Get("Retry-After")] = true
	}
	if len(seen) < 3 {
		t.Errorf("1,000 denials for 30 s got Retry-After %v: want about 3 s of spread", seen)
	}
}

// FuzzFields reads the written fields with an independent parser of structured fields.
func FuzzFields(f *testing.F) {
	f.Add("api", "second", int64(10), int64(1_000_000), int64(9), int64(1), true)
	f.Add("a.b_c-d", "", int64(1), int64(1000), int64(Unknown), int64(0), false)
	f.Add("X", "9", int64(MaxLogQuota), MaxWindow.Microseconds(), int64(math.MaxInt64), int64(math.MaxInt64), true)
	f.Fuzz(func(t *testing.T, policyName, limitName string, quota, window, left, reset int64, two bool) {
		limits := []Limit{{Name: limitName, Quota: quota, Window: time.Duration(window) * time.Microsecond}}
		if two {
			limits = append(limits, Limit{Quota: 7, Window: 401 * time.Millisecond})
		}
		p, err := NewPolicy(policyName, limits...)
		if err != nil || left < Unknown || reset < 0 {
			return
		}
		states := []LimitState{{Remaining: left, ResetAfter: time.Duration(reset)}, {Remaining: 3}}[:len(limits)]
		h := http.Header{}
		other := MustPolicy("other", PerDay(1))
		verdictOf(GateOptions{}, decision(other, LimitState{Remaining: 1})).Header(h) // a gate before
		verdictOf(GateOptions{}, decision(p, states...)).Header(h)

		policies, err := httpsfv.UnmarshalList(h["Ratelimit-Policy"])
		if err != nil || len(policies) != 1+len(limits) {
			t.Fatalf("RateLimit-Policy %q: %d items, %v", h["Ratelimit-Policy"], len(policies), err)
		}
		items, err := httpsfv.UnmarshalList(h["Ratelimit"])
		if err != nil {
			t.Fatalf("RateLimit %q: %v", h["Ratelimit"], err)
		}
		items = items[1:]
		for i, l := range p.Limits() {
			name := policyName
			if two {
				name += "-" + l.Name
			}
			want := map[string]int64{"q": l.Quota}
			if l.Window%time.Second == 0 {
				want["w"] = int64(l.Window / time.Second)
			}
			checkItem(t, policies[1+i], name, want)
			if states[i].Remaining == Unknown {
				continue
			}
			want = map[string]int64{"r": min(states[i].Remaining, 999_999_999_999_999)}
			if d := states[i].ResetAfter; d > 0 {
				want["t"] = int64((d-1)/time.Second) + 1
			}
			if len(items) == 0 {
				t.Fatalf("RateLimit %q: no item for %s", h["Ratelimit"], name)
			}
			checkItem(t, items[0], name, want)
			items = items[1:]
		}
		if len(items) != 0 {
			t.Errorf("RateLimit %q: %d items too many", h["Ratelimit"], len(items))
		}
	})
}

func checkItem(t *testing.T, member httpsfv.Member, name string, want map[string]int64) {
	t.Helper()
	item, ok := member.(httpsfv.Item)
	if !ok || item.Value != name {
		t.Fatalf("got %#v, want an item with the String %q", member, name)
	}
	got := map[string]int64{}
	for _, n := range item.Params.Names() {
		v, _ := item.Params.Get(n)
		got[n], ok = v.(int64)
		if !ok {
			t.Errorf("%q: parameter %s is %#v, want an Integer", name, n, v)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q: got parameters %v, want %v", name, got, want)
	}
}

func BenchmarkHeader(b *testing.B) {
	p := MustPolicy("api", PerSecond(10), PerHour(1000))
	v := verdictOf(GateOptions{}, decision(p, LimitState{Remaining: 9, ResetAfter: time.Second}, LimitState{Remaining: 99, ResetAfter: 1}))
	b.ReportAllocs()
	h := http.Header{}
	for b.Loop() {
		delete(h, "Ratelimit")
		delete(h, "Ratelimit-Policy")
		v.Header(h)
	}
}
