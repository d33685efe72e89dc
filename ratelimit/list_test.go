package ratelimit_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// listOptions finds clients by their API key and by the address of the connection.
func listOptions(t testing.TB) ratelimit.ListOptions {
	t.Helper()
	address, err := ratelimit.NewClientIP(ratelimit.IPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ratelimit.ListOptions{Key: byKey, Address: address}
}

func prefixes(texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		ps = append(ps, netip.MustParsePrefix(text))
	}
	return ps
}

func newList(t testing.TB, entries ratelimit.ListEntries) *ratelimit.List {
	t.Helper()
	list, err := ratelimit.NewList(listOptions(t), entries)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// from is apiRequest from another address, or with another key.
func from(address, key string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = address
	r.Header.Set("X-Api-Key", key)
	return r
}

func TestListMistakes(t *testing.T) {
	both := listOptions(t)
	for _, c := range []struct {
		name    string
		opts    ratelimit.ListOptions
		entries ratelimit.ListEntries
		want    string
	}{
		{"nothing to find clients by", ratelimit.ListOptions{}, ratelimit.ListEntries{}, "neither Key nor Address: want one of them"},
		{"keys without Key", ratelimit.ListOptions{Address: both.Address}, ratelimit.ListEntries{Keys: []string{"k"}}, "Keys without ListOptions.Key"},
		{"networks without Address", ratelimit.ListOptions{Key: byKey}, ratelimit.ListEntries{Networks: prefixes("10.0.0.0/8")}, "Networks without ListOptions.Address"},
		{"an empty key", both, ratelimit.ListEntries{Keys: []string{"k", ""}}, "Keys[1] is empty"},
		{"no network", both, ratelimit.ListEntries{Networks: []netip.Prefix{{}}}, "Networks[0] invalid Prefix: want a network such as 192.0.2.0/24"},
		{"bits behind the length", both, ratelimit.ListEntries{Networks: prefixes("10.0.0.0/8", "192.0.2.7/24")},
			"Networks[1] 192.0.2.7/24: it has bits set behind the first 24: want 192.0.2.0/24, or 192.0.2.7/32 for the one address"},
		{"bits of IPv6", both, ratelimit.ListEntries{Networks: prefixes("2001:db8::1/64")}, "want 2001:db8::/64, or 2001:db8::1/128"},
		{"bits of mapped IPv4", both, ratelimit.ListEntries{Networks: prefixes("::ffff:192.0.2.7/120")}, "want 192.0.2.0/24, or 192.0.2.7/32"},
		{"more than mapped IPv4", both, ratelimit.ListEntries{Networks: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:0.0.0.0"), 90)}}, "write 0.0.0.0/n"},
		{"all of IPv4", both, ratelimit.ListEntries{Networks: prefixes("0.0.0.0/0")}, "they hold every address of 0.0.0.0/0"},
		{"all of mapped IPv4", both, ratelimit.ListEntries{Networks: prefixes("::ffff:0.0.0.0/96")}, "they hold every address of 0.0.0.0/0"},
		{"all of IPv6", both, ratelimit.ListEntries{Networks: prefixes("10.0.0.0/8", "::/0")}, "they hold every address of ::/0"},
		{"all of IPv4 in parts", both, ratelimit.ListEntries{Networks: prefixes("128.0.0.0/2", "0.0.0.0/1", "192.0.0.0/2", "10.0.0.0/8")}, "they hold every address of 0.0.0.0/0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if list, err := ratelimit.NewList(c.opts, c.entries); list != nil || err == nil ||
				!strings.HasPrefix(err.Error(), "ratelimit: list: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	rule := ratelimit.Rule{Policy: apiPerHour(1), Key: byIP}
	exempt := rule
	exempt.Allow = new(ratelimit.List)
	for name, err := range map[string]error{
		"gate: Deny: the zero List":          second(ratelimit.NewGate(limiter, ratelimit.GateOptions{Deny: new(ratelimit.List)}, rule)),
		"gate: Allow: the zero List":         second(ratelimit.NewGate(limiter, ratelimit.GateOptions{Allow: new(ratelimit.List)}, rule)),
		"gate: rule 0: Allow: the zero List": second(ratelimit.NewGate(limiter, ratelimit.GateOptions{}, exempt)),
	} {
		if err == nil || err.Error() != "ratelimit: "+name+": make it by NewList" {
			t.Errorf("got %v, want %s", err, name)
		}
	}
}

// After a wrong replacement the old entries stay in force.
func TestListIsReplacedAsAWhole(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	keys := []string{ratelimit.Join("header", "X-Api-Key", "bad")}
	list := newList(t, ratelimit.ListEntries{Keys: keys, Networks: prefixes("203.0.113.0/24")})
	gate := newGate(t, limiter, ratelimit.GateOptions{Deny: list}, ratelimit.Rule{Policy: apiPerHour(4000), Key: byIP})
	denied := func(want bool) {
		t.Helper()
		for _, r := range []*http.Request{from("203.0.113.9:1", "good"), from("192.0.2.1:1", "bad")} {
			if v := gate.Check(r, ""); (v.Status == 403) != want {
				t.Errorf("%s with key %q: got status %d, denied should be %v", r.RemoteAddr, r.Header.Get("X-Api-Key"), v.Status, want)
			}
		}
	}
	denied(true)
	if err := list.Replace(ratelimit.ListEntries{Keys: []string{"other", ""}}); err == nil {
		t.Error("an empty key came into force")
	}
	if err := list.Replace(ratelimit.ListEntries{Networks: prefixes("10.0.0.0/8", "10.0.0.1/8")}); err == nil {
		t.Error("a network with bits behind its length came into force")
	}
	keys[0] = "changed by the caller"
	denied(true)
	if err := list.Replace(ratelimit.ListEntries{}); err != nil {
		t.Fatal(err)
	}
	denied(false)
}

// A list looks at addresses as NewClientIP returns them and as another function may.
func TestListFindsAddresses(t *testing.T) {
	networks := prefixes("192.0.2.0/24", "192.0.3.0/24", "198.51.100.7/32", "::ffff:203.0.113.0/120", "2001:db8:1::/64", "2001:db8:2::1/128", "fe80::7/128")
	for _, c := range []struct {
		address string
		want    bool
	}{
		{"192.0.2.0", true}, {"192.0.3.255", true}, {"192.0.1.255", false}, {"192.0.4.0", false},
		{"198.51.100.7", true}, {"198.51.100.6", false}, {"198.51.100.8", false}, {"0.0.0.0", false}, {"255.255.255.255", false},
		{"203.0.113.9", true}, {"::ffff:203.0.113.9", true}, {"::ffff:192.0.2.9", true}, {"::ffff:192.0.4.9", false},
		{"2001:db8:1::", true}, {"2001:db8:1:0:ffff:ffff:ffff:ffff", true}, {"2001:db8:1:1::", false},
		{"2001:db8:2::1", true}, {"2001:db8:2::2", false}, {"fe80::7", true}, {"fe80::7%eth0", true}, {"fe80::8%eth0", false}, {"::", false}, {"", false},
	} {
		address, _ := netip.ParseAddr(c.address) // "" is a Unix socket's
		matched := 0
		list, err := ratelimit.NewList(ratelimit.ListOptions{
			Address: func(*http.Request) netip.Addr { return address },
			Matched: func(*http.Request) { matched++ },
		}, ratelimit.ListEntries{Networks: networks})
		if err != nil {
			t.Fatal(err)
		}
		gate := newGate(t, gateLimiter(t, redistest.Embedded(t), ratelimit.Options{}), ratelimit.GateOptions{Deny: list},
			ratelimit.Rule{Policy: apiPerHour(4000), Key: byIP})
		v := gate.Check(apiRequest(), "")
		if got := v.Status == 403; got != c.want || matched != map[bool]int{true: 1}[c.want] {
			t.Errorf("%q: got status %d, Matched called %d times; denied should be %v", c.address, v.Status, matched, c.want)
		}
	}
}

// A binary search in ranges finds what a walk through the prefixes finds.
func TestListFindsWhatPrefixesContain(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix { // few bits, so that prefixes touch and overlap
		b := rapid.SliceOfN(rapid.ByteRange(0, 3), 4, 4).Draw(t, "bytes")
		p, _ := netip.AddrFrom4([4]byte(b)).Prefix(rapid.IntRange(6, 32).Draw(t, "bits"))
		if rapid.Bool().Draw(t, "IPv6") {
			p, _ = netip.AddrFrom16([16]byte{15: b[3], 14: b[2], 1: b[1], 0: b[0]}).Prefix(rapid.SampledFrom([]int{6, 8, 16, 112, 121, 127, 128}).Draw(t, "bits of IPv6"))
		}
		return p
	})
	var address netip.Addr
	rapid.Check(t, func(t *rapid.T) {
		networks := rapid.SliceOfN(prefix, 1, 12).Draw(t, "networks")
		list, err := ratelimit.NewList(ratelimit.ListOptions{Address: func(*http.Request) netip.Addr { return address }},
			ratelimit.ListEntries{Networks: networks})
		if err != nil {
			t.Fatal(err)
		}
		gate, err := ratelimit.NewGate(limiter, ratelimit.GateOptions{Deny: list}, ratelimit.Rule{Policy: apiPerHour(1), Key: func(*http.Request) (string, error) { return "", nil }})
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range append(rapid.SliceOfN(prefix, 1, 5).Draw(t, "addresses"), networks...) {
			for _, address = range []netip.Addr{at.Addr(), at.Addr().Prev(), at.Addr().Next()} {
				want := false
				for _, p := range networks {
					want = want || p.Contains(address)
				}
				if got := gate.Check(apiRequest(), "").Status == 403; got != want {
					t.Fatalf("%v in %v: got %v, want %v", address, networks, got, want)
				}
			}
		}
	})
}

// Who is denied costs no call to Redis, and no rule and no Skip is asked.
func TestDeniedBeforeAnythingIsAsked(t *testing.T) {
	limiter := awayLimiter(t) // a decision of it is a degraded one
	var decisions decided
	limiter2 := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{Observer: &decisions})
	asked := 0
	rule := ratelimit.Rule{
		Policy: ratelimit.MustPolicy("p", ratelimit.PerHour(1)).OnFailure(ratelimit.FailClosed),
		Key:    func(*http.Request) (string, error) { asked++; return "k", nil },
	}
	opts := ratelimit.GateOptions{Deny: newList(t, ratelimit.ListEntries{Networks: prefixes("192.0.2.0/24")}), Skip: func(*http.Request) bool { asked++; return true }}
	opts.Allow = opts.Deny
	for _, l := range []*ratelimit.Limiter{limiter, limiter2} {
		v := newGate(t, l, opts, rule).Check(apiRequest(), "")
		if v.Status != 403 || !errors.Is(v.Err, ratelimit.ErrDenied) || len(v.Decisions) != 0 || len(headers(v)) != 1 {
			t.Errorf("got %+v with %v, want 403 and no field but Cache-Control", v, headers(v))
		}
		want := `{"type":"about:blank","title":"Forbidden","status":403,"detail":"Requests of this client are refused."}` + "\n"
		if got := string(v.Body()); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if text := v.Refusal().Error(); strings.Contains(text, "192.0.2") || strings.Contains(text, "k1") {
			t.Errorf("the error shows the client: %s", text)
		}
	}
	if asked != 0 {
		t.Errorf("a rule or Skip was asked %d times", asked)
	}
}

func TestAllowedClients(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		var log bytes.Buffer
		limiter := loggingLimiter(t, s, ratelimit.Options{}, &log)
		first, other := ratelimit.MustPolicy("first", ratelimit.PerHour(1)), ratelimit.MustPolicy("other", ratelimit.PerHour(5))
		list := newList(t, ratelimit.ListEntries{Keys: []string{apiKey}})
		rules := []ratelimit.Rule{{Policy: first, Key: byIP, Allow: list}, {Policy: other, Key: byIP}}
		gate := newGate(t, limiter, ratelimit.GateOptions{}, rules...)
		for i := range 5 {
			v := gate.Check(apiRequest(), "")
			if v.Status != 0 || len(v.Decisions) != 1 || v.Decisions[0].Policy() != other {
				t.Fatalf("request %d: got %+v, want a decision of the other rule alone", i, v)
			}
		}
		wantStatus(t, gate.Check(apiRequest(), ""), 429) // the other rule holds for it all the same
		wantLeft(t, limiter, first, ipKey, 1)

		gate = newGate(t, limiter, ratelimit.GateOptions{Allow: list}, ratelimit.Rule{Policy: other, Key: byIP})
		for range 1000 {
			if v := gate.Check(apiRequest(), ""); v.Status != 0 || len(v.Decisions) != 0 || len(headers(v)) != 0 {
				t.Fatalf("got %+v with %v, want nothing", v, headers(v))
			}
		}
		wantStatus(t, gate.Check(from("192.0.2.1:1", "another"), ""), 429)
		// A list that has every client switches the limit off, so the log says it.
		if text := log.String(); strings.Count(text, "no rule of a gate applied") != 1 || !strings.Contains(text, "Allow") {
			t.Errorf("logged %s, want one warning", text)
		}
	})
}

func TestListsInADryRun(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	opts, matched := listOptions(t), 0
	opts.Matched = func(*http.Request) { matched++ }
	list, err := ratelimit.NewList(opts, ratelimit.ListEntries{Keys: []string{apiKey}})
	if err != nil {
		t.Fatal(err)
	}
	gate := newGate(t, limiter, ratelimit.GateOptions{Deny: list, DryRun: true}, ratelimit.Rule{Policy: apiPerHour(1), Key: byIP})
	if v := gate.Check(apiRequest(), ""); v.Status != 0 || len(v.Decisions) != 1 || matched != 1 {
		t.Errorf("got %+v, Matched called %d times; want a decision that does not block, and one call", v, matched)
	}
}

// A client that cannot be identified is answered as by a rule's Key.
func TestListWhoseKeyFails(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	broken := errors.New("no certificate")
	list, err := ratelimit.NewList(ratelimit.ListOptions{Key: func(*http.Request) (string, error) { return "", broken }},
		ratelimit.ListEntries{Keys: []string{"k"}})
	if err != nil {
		t.Fatal(err)
	}
	rule := ratelimit.Rule{Policy: apiPerHour(9), Key: byIP}
	exempt := rule
	exempt.Allow = list
	for name, gate := range map[string]*ratelimit.Gate{
		"Deny": newGate(t, limiter, ratelimit.GateOptions{Deny: list}, rule), "Allow": newGate(t, limiter, ratelimit.GateOptions{Allow: list}, rule),
		"Rule.Allow": newGate(t, limiter, ratelimit.GateOptions{}, exempt),
	} {
		if v := gate.Check(apiRequest(), ""); v.Status != 400 || !errors.Is(v.Err, broken) {
			t.Errorf("%s: got status %d, %v, want 400", name, v.Status, v.Err)
		}
	}
	wantLeft(t, limiter, apiPerHour(9), ipKey, 9)
	dry := newGate(t, limiter, ratelimit.GateOptions{Deny: list, Allow: list, DryRun: true}, rule)
	wantStatus(t, dry.Check(apiRequest(), ""), 0)
}

// Entries are replaced while requests look at them: each request sees one set.
func TestListIsReplacedWhileItIsUsed(t *testing.T) {
	limiter := gateLimiter(t, redistest.Embedded(t), ratelimit.Options{})
	sets := []ratelimit.ListEntries{{Keys: []string{apiKey}}, {Networks: prefixes("192.0.2.0/24", "198.51.100.0/24")}}
	list := newList(t, sets[0])
	gate := newGate(t, limiter, ratelimit.GateOptions{Deny: list}, ratelimit.Rule{Policy: apiPerHour(1), Key: byIP})
	var over atomic.Bool
	var swapper, group sync.WaitGroup
	swapper.Go(func() {
		for i := 0; !over.Load(); i++ {
			if err := list.Replace(sets[i%2]); err != nil {
				t.Error(err)
			}
		}
	})
	for range 16 {
		group.Go(func() {
			for range 200 {
				if v := gate.Check(apiRequest(), ""); v.Status != 403 {
					t.Errorf("got status %d: both sets have the client", v.Status)
				}
			}
		})
	}
	group.Wait()
	over.Store(true)
	swapper.Wait()
}

// BenchmarkList is a look-up among many networks, by a gate that denies the request.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1, 100, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			entries := ratelimit.ListEntries{Networks: prefixes("192.0.2.0/24")}
			for i := range n - 1 { // every second /24 of 10.0.0.0 and what follows, so that none touch
				entries.Networks = append(entries.Networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(i>>15), byte(i >> 7), byte(i << 1), 0}), 24))
			}
			limiter := gateLimiter(b, redistest.Embedded(b), ratelimit.Options{})
			gate, r := newGate(b, limiter, ratelimit.GateOptions{Deny: newList(b, entries)}, ratelimit.Rule{Policy: apiPerHour(1), Key: byIP}), apiRequest()
			b.ReportAllocs()
			for b.Loop() {
				if gate.Check(r, "").Status != 403 {
					b.Fatal("not denied")
				}
			}
		})
	}
}
