package ratelimit_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatekit/gatekit/ratelimit"
)

// policyJSON is a policy in the form that MarshalJSON writes, without the white space.
const policyJSON = `{"name":"api","limits":[` +
	`{"name":"second","quota":10,"window":"1s","algorithm":"SlidingWindow"},` +
	`{"name":"day","quota":100000,"window":"24h0m0s","algorithm":"SlidingBuckets"},` +
	`{"name":"1.5s","quota":7,"window":"1.5s","algorithm":"SlidingLog"},` +
	`{"name":"calendar-month","quota":8,"window":"0s","algorithm":"CalendarQuota","calendar":{"unit":"month","anchor":31,"zone":"UTC"}}` +
	`],"fail_mode":"FailClosed"}`

func TestPolicyAsJSON(t *testing.T) {
	want := ratelimit.MustPolicy("api", ratelimit.PerSecond(10),
		ratelimit.Limit{Name: "day", Quota: 100_000, Window: 24 * time.Hour, Algorithm: ratelimit.SlidingBuckets},
		ratelimit.Limit{Quota: 7, Window: 1500 * time.Millisecond, Algorithm: ratelimit.SlidingLog},
		ratelimit.Calendar{Unit: ratelimit.Month, Anchor: 31, Zone: time.UTC}.Per(8)).OnFailure(ratelimit.FailClosed)
	for name, v := range map[string]any{"pointer": want, "value": *want} {
		if text, err := json.Marshal(v); err != nil || string(text) != policyJSON {
			t.Errorf("%s: got %s, %v, want %s", name, text, err, policyJSON)
		}
	}
	got := new(ratelimit.Policy)
	if err := json.Unmarshal([]byte(policyJSON), got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	got = new(ratelimit.Policy)
	short := `{"limits": [{"window": "1m", "quota": 5}], "name": "p"}`
	want = ratelimit.MustPolicy("p", ratelimit.Per(5, time.Minute))
	if err := json.Unmarshal([]byte(short), got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("defaults: got %+v, %v, want %+v", got, err, want)
	}
}

// A wrong policy is refused with the place of the mistake and the range, and changes
// nothing.
func TestPolicyJSONMistakes(t *testing.T) {
	limit := func(fields string) string {
		return `{"name": "p", "limits": [{"quota": 1, "window": "1s"}, {` + fields + `}]}`
	}
	for _, c := range []struct{ name, text, want string }{
		{"no object", `["p"]`, "policy: want an object in braces"},
		{"null", `null`, "policy: want an object in braces"},
		{"cut off", `{"name": "p"`, "policy: the object does not end"},
		{"more behind it", policyJSON + `{}`, "policy: want one object and nothing behind it"},
		{"not JSON", `{"name": p}`, "policy: invalid"},
		{"unknown field", `{"name": "p", "limit": []}`, "policy: limit: no such field: want name, limits and fail_mode"},
		{"unknown field that is long", `{"` + strings.Repeat(`x\n`, 99) + `": 1}`, `policy: "x\nx\nx\nx`},
		{"upper case", `{"Name": "p"}`, "policy: Name: no such field"},
		{"twice", `{"name": "p", "name": "q"}`, "policy: name: it is there twice"},
		{"no name", `{"limits": [{"quota": 1, "window": "1s"}]}`, `policy: name "": want 1 to 32 of`},
		{"a name of another type", `{"name": 5}`, "policy: name: want a text in quotes"},
		{"a name that is null", `{"name": null}`, "policy: name: want a text in quotes"},
		{"no limits", `{"name": "p"}`, `policy: limits: policy "p": 0 limits: want 1 to 8`},
		{"limits of another type", `{"name": "p", "limits": {}}`, "policy: limits: want a list in brackets"},
		{"limits that are null", `{"name": "p", "limits": null}`, "policy: limits: want a list in brackets"},
		{"a limit that is null", `{"name": "p", "limits": [null]}`, "policy: limits[0]: want an object in braces"},
		{"fail mode", `{"name": "p", "fail_mode": "open"}`, `policy: fail_mode "open": want FailLocal, FailOpen or FailClosed`},
		{"unknown field of a limit", limit(`"quota": 1, "per": "1m"`), "policy: limits[1].per: no such field: want name, quota, window, algorithm and calendar"},
		{"field of a limit twice", limit(`"quota": 1, "quota": 2`), "policy: limits[1].quota: it is there twice"},
		{"no quota", limit(`"window": "1m"`), "policy: limits[1].quota 0: want 1 to 4096 with SlidingWindow"},
		{"quota too large", limit(`"quota": 5000, "window": "1m"`), "policy: limits[1].quota 5000: want 1 to 4096 with SlidingWindow; SlidingBuckets takes more"},
		{"quota with a fraction", limit(`"quota": 1.5, "window": "1m"`), "policy: limits[1].quota: want a whole number"},
		{"quota out of range", limit(`"quota": 1e30, "window": "1m"`), "policy: limits[1].quota: want a whole number"},
		{"quota as text", limit(`"quota": "5", "window": "1m"`), "policy: limits[1].quota: want a whole number"},
		{"quota that is null", limit(`"quota": null, "window": "1m"`), "policy: limits[1].quota: want a whole number"},
		{"no window", limit(`"quota": 1`), "policy: limits[1].window 0s: want 1ms to 9600h0m0s"},
		{"window too long", limit(`"quota": 1, "window": "9601h"`), "policy: limits[1].window 9601h0m0s: want 1ms to 9600h0m0s"},
		{"window as number", limit(`"quota": 1, "window": 60`), "policy: limits[1].window: want a text in quotes"},
		{"window without unit", limit(`"quota": 1, "window": "60"`), `policy: limits[1].window "60": want a duration like "1s", "1m30s" or "24h"`},
		{"window in days", limit(`"quota": 1, "window": "1d"`), `policy: limits[1].window "1d": want a duration`},
		{"window in nanoseconds", limit(`"quota": 1, "window": "1000001ns"`), "policy: limits[1].window 1.000001ms: want whole microseconds"},
		{"algorithm", limit(`"quota": 1, "window": "1m", "algorithm": "gcra"`), `policy: limits[1].algorithm "gcra": want SlidingWindow, `},
		{"calendar", limit(`"quota": 1, "algorithm": "CalendarQuota", "calendar": 1`), "policy: limits[1].calendar: want an object in braces"},
		{"no calendar", limit(`"quota": 1, "algorithm": "CalendarQuota"`), "policy: limits[1].calendar.Unit 0: want Day, Week or Month"},
		{"calendar of another algorithm", limit(`"quota": 1, "window": "1m", "calendar": {"unit": "day", "zone": "UTC"}`), "policy: limits[1].calendar with SlidingWindow: want CalendarQuota"},
		{"unit", limit(`"calendar": {"unit": "Day"}`), `policy: limits[1].calendar.unit "Day": want day, week or month`},
		{"anchor", limit(`"quota": 1, "algorithm": "CalendarQuota", "calendar": {"unit": "month", "zone": "UTC", "anchor": 9999999999}`), "policy: limits[1].calendar.Anchor 99 of a month: want 1 to 31"},
		{"zone", limit(`"calendar": {"zone": "Mars/Olympus"}`), `policy: limits[1].calendar.zone "Mars/Olympus": want a time zone that this system knows`},
		{"no zone", limit(`"calendar": {"zone": ""}`), `policy: limits[1].calendar.zone "": want a time zone`},
		{"local zone", limit(`"quota": 1, "algorithm": "CalendarQuota", "calendar": {"unit": "day", "zone": "Local"}`), "policy: limits[1].calendar.Zone is time.Local"},
		{"field of a calendar", limit(`"calendar": {"days": 3}`), "policy: limits[1].calendar.days: no such field: want unit, anchor and zone"},
		{"name of a limit", limit(`"quota": 1, "window": "1m", "name": "a b"`), `policy: limits[1].name "a b": want 1 to 32 of`},
		{"name of a limit twice", limit(`"quota": 1, "window": "1m", "name": "1s"`), `policy: limits[1].name "1s" twice`},
		{"window twice", limit(`"quota": 1, "window": "1000ms", "name": "x"`), "policy: limits[1].window 1s with SlidingWindow twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p ratelimit.Policy
			if err := p.UnmarshalJSON([]byte(c.text)); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: "+c.want) {
				t.Errorf("%s: got %v, want %s", c.text, err, c.want)
			} else if len(err.Error()) > 300 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if !reflect.DeepEqual(p, ratelimit.Policy{}) {
				t.Errorf("%s: made %+v", c.text, p)
			}
		})
	}
}

// Calls may be using a policy, so JSON does not change one that is made.
func TestPolicyIsNotUnmarshalledTwice(t *testing.T) {
	p := ratelimit.MustPolicy("p", ratelimit.PerHour(1))
	if err := json.Unmarshal([]byte(policyJSON), p); err == nil || !strings.Contains(err.Error(), `policy "p" is made already`) {
		t.Errorf("got %v, want an error", err)
	}
	if p.Name() != "p" || p.Limits()[0].Quota != 1 {
		t.Errorf("the policy changed to %+v", p)
	}
	if text, err := json.Marshal(ratelimit.Policy{}); err == nil || !strings.Contains(err.Error(), "zero Policy") {
		t.Errorf("the zero Policy as JSON: got %s, %v, want an error", text, err)
	}
}

// Whoever adds a field to Limit or Policy adds it to the JSON form too. Without this test
// a policy that is written and read again would lose it in silence.
func TestPolicyJSONHasEveryField(t *testing.T) {
	derived := []string{"items", "set", "slots", "minimum", "maxCost"} // NewPolicy computes them
	want := func(of reflect.Type) (names []string) {
		for i := range of.NumField() {
			if name := of.Field(i).Name; !slices.Contains(derived, name) {
				names = append(names, strings.ToLower(name))
			}
		}
		return names
	}
	var form struct {
		Name, FailMode any
		Limits         []map[string]any
	}
	if err := json.Unmarshal([]byte(policyJSON), &form); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{} // by any limit: only one has a calendar
	for _, limit := range form.Limits {
		for name := range limit {
			named[name] = true
		}
	}
	fields := slices.Sorted(maps.Keys(named))
	limit := want(reflect.TypeFor[ratelimit.Limit]())
	slices.Sort(limit)
	if !slices.Equal(limit, fields) {
		t.Errorf("a Limit has the fields %q and its JSON %q", limit, fields)
	}
	if got := want(reflect.TypeFor[ratelimit.Policy]()); !slices.Equal(got, []string{"name", "limits", "fail"}) {
		t.Errorf("a Policy has the fields %q: each is in its JSON or is derived from others", got)
	}
}

// drawLimit draws a limit that NewPolicy may refuse.
func drawLimit(t *rapid.T) ratelimit.Limit {
	return ratelimit.Limit{
		Name:      rapid.SampledFrom([]string{"", "a", "b", "c.d", "-", "a b"}).Draw(t, "name"),
		Quota:     rapid.OneOf(rapid.Int64Range(1, 4096), rapid.Int64Range(-1, 1e9+1), rapid.Int64()).Draw(t, "quota"),
		Window:    time.Duration(rapid.OneOf(rapid.Int64Range(1e3, 400*24*3600*1e6), rapid.Int64Range(1, 1e6)).Draw(t, "window")) * time.Microsecond,
		Algorithm: ratelimit.Algorithm(rapid.IntRange(0, 2).Draw(t, "algorithm")),
	}
}

// JSON makes the policy that NewPolicy makes of the same values, and refuses what
// NewPolicy refuses.
func TestPolicyJSONIsNewPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type form struct {
			Name      string `json:"name,omitempty"`
			Quota     int64  `json:"quota"`
			Window    string `json:"window"`
			Algorithm string `json:"algorithm"`
		}
		name := rapid.SampledFrom([]string{"api", "p", "", "a b"}).Draw(t, "policy")
		mode := ratelimit.FailMode(rapid.IntRange(0, 2).Draw(t, "mode"))
		limits := rapid.SliceOfN(rapid.Custom(drawLimit), 0, 9).Draw(t, "limits")
		forms := []form{}
		for _, l := range limits {
			forms = append(forms, form{l.Name, l.Quota, l.Window.String(), l.Algorithm.String()})
		}
		text, err := json.Marshal(map[string]any{"name": name, "limits": forms, "fail_mode": mode.String()})
		if err != nil {
			t.Fatal(err)
		}
		want, refused := ratelimit.NewPolicy(name, limits...)
		got := new(ratelimit.Policy)
		if err := json.Unmarshal(text, got); (err != nil) != (refused != nil) {
			t.Fatalf("%s: NewPolicy says %v and JSON %v", text, refused, err)
		}
		if refused != nil {
			return
		}
		if want = want.OnFailure(mode); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %+v, want %+v", text, got, want)
		}
	})
}

// What is read as a policy and written is the same policy when it is read again.
func FuzzPolicyJSON(f *testing.F) {
	f.Add([]byte(policyJSON))
	f.Add([]byte(`{"name":"p","limits":[{"quota":1,"algorithm":"CalendarQuota","calendar":{"unit":"week","anchor":1,"zone":"Asia/Tokyo"}}]}`))
	f.Add([]byte(`{"name":"p","limits":[{"quota":1,"window":"1ms"}]}`))
	f.Add([]byte(`{"name":"p","limits":[{"quota":1e3,"window":"0.5h0.001s"}],"fail_mode":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, again := new(ratelimit.Policy), new(ratelimit.Policy)
		if err := p.UnmarshalJSON(text); err != nil {
			if !strings.HasPrefix(err.Error(), "ratelimit: policy: ") || !reflect.DeepEqual(*p, ratelimit.Policy{}) {
				t.Errorf("%q: got %+v, %v", text, p, err)
			}
			return
		}
		made, err := ratelimit.NewPolicy(p.Name(), p.Limits()...)
		if err != nil || !reflect.DeepEqual(made.OnFailure(p.FailMode()), p) {
			t.Fatalf("%q: NewPolicy of its parts gives %+v, %v, want %+v", text, made, err, p)
		}
		written, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, again); err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%s: got %+v, %v, want %+v", written, again, err, p)
		}
	})
}
