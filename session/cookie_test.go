package session

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/session/internal/token"
)

func TestCookieAttributes(t *testing.T) {
	tok := token.New("alice")
	for _, c := range []struct {
		name     string
		cookie   Cookie
		insecure bool
		life     time.Duration
		want     string
	}{
		{"default", Cookie{}, false, 0, "__Host-id=T; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"persistent", Cookie{}, false, 24 * time.Hour, "__Host-id=T; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		{"life beyond 400 days", Cookie{}, false, 1000 * 24 * time.Hour, "__Host-id=T; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Lax"},
		{"life below a second", Cookie{}, false, time.Millisecond, "__Host-id=T; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=Lax"},
		{"domain", Cookie{Domain: "example.com"}, false, 0, "__Secure-id=T; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax"},
		{"path", Cookie{Path: "/app"}, false, 0, "__Secure-id=T; Path=/app; HttpOnly; Secure; SameSite=Lax"},
		{"strict", Cookie{SameSite: http.SameSiteStrictMode}, false, 0, "__Host-id=T; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{"none and partitioned", Cookie{SameSite: http.SameSiteNoneMode, Partitioned: true}, false, 0, "__Host-id=T; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"},
		{"scripts", Cookie{Name: "sid", ReadableByScripts: true}, false, 0, "sid=T; Path=/; Secure; SameSite=Lax"},
		{"new prefix", Cookie{Name: "__Host-Http-id"}, false, 0, "__Host-Http-id=T; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{"new prefix with path", Cookie{Name: "__Http-id", Path: "/a"}, false, 0, "__Http-id=T; Path=/a; HttpOnly; Secure; SameSite=Lax"},
		{"insecure", Cookie{}, true, 0, "id=T; Path=/; HttpOnly; SameSite=Lax"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cookie, err := c.cookie.complete(c.insecure)
			if err != nil {
				t.Error(err)
				return
			}
			if got := strings.Replace(cookie.set(tok, c.life, c.insecure), tok.Reveal(), "T", 1); got != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
			}
			if got := cookie.clear(c.insecure); !strings.Contains(got, "Max-Age=0") || !strings.HasPrefix(got, cookie.Name+"=;") {
				t.Errorf("cleared by %q", got)
			}
		})
	}
}

func TestCookieContradictions(t *testing.T) {
	for _, c := range []struct {
		name     string
		cookie   Cookie
		insecure bool
		field    string
	}{
		{"host prefix and domain", Cookie{Name: "__Host-id", Domain: "example.com"}, false, "Cookie.Domain"},
		{"host prefix and path", Cookie{Name: "__Host-id", Path: "/a"}, false, "Cookie.Path"},
		{"look-alike prefix", Cookie{Name: "__host-id"}, false, "Cookie.Name"},
		{"look-alike secure prefix", Cookie{Name: "__SECURE-id"}, false, "Cookie.Name"},
		{"http prefix and scripts", Cookie{Name: "__Http-id", ReadableByScripts: true}, false, "Cookie.ReadableByScripts"},
		{"host http prefix and path", Cookie{Name: "__Host-Http-id", Path: "/a"}, false, "Cookie.Path"},
		{"insecure with prefix", Cookie{Name: "__Host-id"}, true, "Cookie.Name"},
		{"insecure with none", Cookie{SameSite: http.SameSiteNoneMode}, true, "Cookie.SameSite"},
		{"partitioned and lax", Cookie{Partitioned: true}, false, "Cookie.Partitioned"},
		{"partitioned and strict", Cookie{Partitioned: true, SameSite: http.SameSiteStrictMode}, false, "Cookie.Partitioned"},
		{"a domain of one label", Cookie{Domain: "com"}, false, "Cookie.Domain"},
		{"a domain of one label after a dot", Cookie{Domain: ".com"}, false, "Cookie.Domain"},
		{"insecure and partitioned", Cookie{Partitioned: true}, true, "InsecureCookie"},
		{"same site default", Cookie{SameSite: http.SameSiteDefaultMode}, false, "Cookie.SameSite"},
		{"path without slash", Cookie{Path: "a"}, false, "Cookie.Path"},
		{"name with blank", Cookie{Name: "a b"}, false, "Cookie"},
		{"name with separator", Cookie{Name: "a=b"}, false, "Cookie"},
		{"name too long", Cookie{Name: strings.Repeat("a", 65)}, false, "Cookie.Name"},
		{"path with semicolon", Cookie{Path: "/;x"}, false, "Cookie"},
		{"bad domain", Cookie{Domain: "exa mple"}, false, "Cookie"},
		{"long path", Cookie{Path: "/" + strings.Repeat("a", 1024)}, false, "Path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.cookie.complete(c.insecure); err == nil || !strings.Contains(err.Error(), c.field) {
				t.Errorf("got error %v, want one that names %s", err, c.field)
			}
		})
	}
}

func TestFindCookie(t *testing.T) {
	a, b := token.New("").Reveal(), token.New("").Reveal()
	cookie, _ := Cookie{}.complete(false)
	const n = "__Host-id="
	var many []string // one more than is looked up
	for range maxCandidates + 1 {
		many = append(many, n+token.New("").Reveal())
	}
	for _, c := range []struct {
		name  string
		lines []string
		want  string // the tokens, in order
	}{
		{"none", nil, ""},
		{"alone", []string{n + a}, a},
		{"among others", []string{"x=1; " + n + a + "; y=2"}, a},
		{"no blank", []string{"x=1;" + n + a}, a},
		{"in the second line", []string{"x=1", n + a}, a},
		{"malformed first", []string{n + "junk; " + n + a}, a},
		{"malformed last", []string{n + a + "; " + n + a + "x"}, a},
		{"two valid", []string{n + a + "; " + n + b}, a + b},
		{"two valid in two lines", []string{n + b, n + a}, b + a},
		{"twice the same", []string{n + a + "; " + n + a}, a},
		{"two valid and twice the same", []string{n + a + "; " + n + b + "; " + n + b + "; " + n + a}, a + b},
		{"many malformed", []string{strings.Repeat(n+"x; ", 40) + n + a}, a},
		{"as many as are looked up", []string{strings.Join(many[:maxCandidates], "; ")}, strings.ReplaceAll(strings.Join(many[:maxCandidates], ""), n, "")},
		{"too many", []string{strings.Join(many, "; ")}, ""},
		{"nameless", []string{"=" + n + a}, ""},
		{"other case", []string{"__host-id=" + a}, ""},
		{"quoted", []string{n + `"` + a + `"`}, ""},
		{"name with blank", []string{"__Host-id =" + a}, ""},
		{"without value", []string{"__Host-id"}, ""},
		{"inside another value", []string{"x=" + n + a}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, others, ok := cookie.find(http.Header{"Cookie": c.lines})
			got := first.Reveal()
			for _, other := range others {
				got += other.Reveal()
			}
			if ok != (c.want != "") || ok && got != c.want {
				t.Errorf("found %q, %v, want %q", got, ok, c.want)
			}
		})
	}
}

func TestOldCookies(t *testing.T) {
	domain := Cookie{Domain: "example.com"}
	for _, c := range []struct {
		name   string
		cookie Cookie
		old    []Cookie
		field  string // that the error names; "" for none
	}{
		{"none", Cookie{}, nil, ""},
		{"partitioned since", Cookie{Partitioned: true, SameSite: http.SameSiteNoneMode}, []Cookie{{}}, ""},
		{"other domain and path", domain, []Cookie{{Name: "__Secure-id", Path: "/app"}, {Domain: "www.example.com"}}, ""},
		{"its own", domain, []Cookie{{Domain: "example.com", SameSite: http.SameSiteStrictMode}}, "OldCookies[0]"},
		{"impossible", Cookie{}, []Cookie{{Name: "__Host-id", Path: "/app"}}, "OldCookies[0]: Cookie.Path"},
		{"too many", Cookie{}, make([]Cookie, 9), "OldCookies: 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Options{Cookie: c.cookie, OldCookies: c.old}.complete()
			if (err == nil) != (c.field == "") || err != nil && !strings.Contains(err.Error(), c.field) {
				t.Errorf("got error %v, want one that names %q", err, c.field)
			}
		})
	}
}

func TestFindBearer(t *testing.T) {
	a := token.New("").Reveal()
	for _, c := range []struct {
		name  string
		lines []string
		ok    bool
	}{
		{"none", nil, false},
		{"bearer", []string{"Bearer " + a}, true},
		{"any case", []string{"bearer  " + a}, true},
		{"basic", []string{"Basic " + a}, false},
		{"malformed", []string{"Bearer x"}, false},
		{"two", []string{"Bearer " + a, "Bearer " + a}, false},
		{"empty", []string{"Bearer"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, ok := findBearer(http.Header{"Authorization": c.lines})
			if ok != c.ok || ok && tok.Reveal() != a {
				t.Errorf("got %v, want %v", ok, c.ok)
			}
		})
	}
}

func TestManyCookiesCostLittle(t *testing.T) {
	cookie, _ := Cookie{}.complete(false)
	h := http.Header{"Cookie": []string{strings.Repeat("__Host-id=x; a=b; ", 10_000)}}
	if n := testing.AllocsPerRun(10, func() { cookie.find(h) }); n > 0 {
		t.Errorf("%v allocations for 20,000 cookies, want 0", n)
	}
}

func FuzzCookieHeader(f *testing.F) {
	cookie, _ := Cookie{}.complete(false)
	good := token.New("").Reveal()
	for _, seed := range []string{"", "__Host-id=" + good, "a=b; __Host-id=" + good + "; c", ";;=;==", "__Host-id=" + good + ";__Host-id=" + good[1:]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		tok, others, ok := cookie.find(http.Header{"Cookie": {line}})
		if !ok {
			return
		}
		if len(others) >= maxCandidates {
			t.Fatalf("%d tokens", 1+len(others))
		}
		if _, valid := token.Parse(tok.Reveal()); !valid || !strings.Contains(line, "__Host-id="+tok.Reveal()) {
			t.Fatalf("found %q in %q", tok.Reveal(), line)
		}
		// net/http must agree that there is such a cookie.
		r := http.Request{Header: http.Header{"Cookie": {line}}}
		for _, c := range r.CookiesNamed("__Host-id") {
			if c.Value == tok.Reveal() {
				return
			}
		}
		t.Fatalf("net/http does not find %q in %q", tok.Reveal(), line)
	})
}
