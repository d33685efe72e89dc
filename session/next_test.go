package session_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func wanting(next string) *http.Request {
	return httptest.NewRequest(http.MethodGet, "/login?"+url.Values{"next": {next}}.Encode(), nil)
}

func TestNext(t *testing.T) {
	for name, next := range map[string]string{
		"the front page":          "/",
		"a page":                  "/orders/7",
		"a folder":                "/orders/",
		"a query":                 "/search?q=a+b&page=2",
		"a query with an address": "/search?q=https://evil.example//x",
		"an at sign":              "/@alice",
		"a colon":                 "/a:b",
		"an encoded slash":        "/files/a%2Fb",
		"encoded text":            "/caf%C3%A9?q=%00",
		"a fragment":              "/page#part",
		"dots in names":           "/..a/b..",
		"long":                    "/" + strings.Repeat("a", 2047),
	} {
		t.Run(name, func(t *testing.T) {
			if got := session.Next(wanting(next), "/home"); got != next {
				t.Errorf("got %q, want %q", got, next)
			}
			form := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(url.Values{"next": {next}}.Encode()))
			form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if got := session.Next(form, "/home"); got != next {
				t.Errorf("of a form: got %q, want %q", got, next)
			}
		})
	}
}

// openRedirects lead to another site in some browser or behind some server.
var openRedirects = []string{
	"", "evil.example", "evil.example/x", "//evil.example", "///evil.example", "////evil.example/..", "/\\evil.example", "\\\\evil.example",
	"\\/evil.example", "/\\/evil.example", "https://evil.example", "https:evil.example", "https:/evil.example", "HTTPS://evil.example",
	"http:\\\\evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "/\t/evil.example", "/\n/evil.example",
	"/\r\n/evil.example", "\t//evil.example", " //evil.example", "/ /evil.example", "/\x00/evil.example", "/\x7f/evil.example",
	"/%2fevil.example", "/%2Fevil.example", "/%2f..", "/%2f%2fevil.example", "/%5cevil.example", "/%5C%5Cevil.example", "/x%5cy",
	"/%09/evil.example", "/%0a/evil.example", "/%0d%0aSet-Cookie:x=1", "/.//evil.example", "/..//evil.example", "/a/..//evil.example",
	"/%2e%2e//evil.example", "/%2e%2e/%2fevil.example", "/a/../b", "/./a", "/a/%2e%2e/b", "/a//b", "//user:password@evil.example",
	"//user@evil.example/", "https://site.example@evil.example", "@evil.example", "?next=//evil.example", "#//evil.example", "/%",
	"/%zz", "/\u2028/evil.example", "/\uff0fevil.example", "/caf\u00e9", "/\xff", "/" + strings.Repeat("a", 2048), "http://[::1",
	"//evil.example\\@site.example", "/\u00a0/evil.example", "//%65vil.example", "/;//evil.example",
}

func TestNextIsNoOpenRedirect(t *testing.T) {
	for _, next := range openRedirects {
		t.Run(next, func(t *testing.T) {
			if got := session.Next(wanting(next), "/home"); got != "/home" {
				t.Errorf("Next of %q: got %q, want the fallback", next, got)
			}
		})
	}
}

// FuzzNext compares the answer with how browsers read an address: they drop tabs and line
// ends, read \ as /, and take what follows two slashes for a host.
func FuzzNext(f *testing.F) {
	for _, next := range openRedirects {
		f.Add(next)
	}
	f.Add("/orders?x=1")
	base, err := url.Parse("https://site.example/login")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		got := session.Next(wanting(next), "")
		if got == "" {
			return
		}
		if got != next {
			t.Fatalf("%q became %q", next, got)
		}
		for _, read := range []func(string) string{
			func(s string) string { return s },
			strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace,
			func(s string) string { decoded, _ := url.PathUnescape(s); return strings.SplitN(decoded, "?", 2)[0] },
			func(s string) string { return strings.TrimSpace(s) },
		} {
			text := read(got)
			if len(text) < 1 || text[0] != '/' || len(text) > 1 && (text[1] == '/' || text[1] == '\\') {
				t.Fatalf("%q is read as %q, which leads away", got, text)
			}
		}
		u, err := base.Parse(got)
		if err != nil || u.Scheme != "https" || u.Host != "site.example" || u.User != nil {
			t.Fatalf("%q leads to %v, %v", got, u, err)
		}
		w := httptest.NewRecorder()
		http.Redirect(w, wanting(next), got, http.StatusSeeOther)
		if there := w.Header().Get("Location"); !strings.HasPrefix(there, "/") || strings.HasPrefix(there, "//") {
			t.Fatalf("%q redirects to %q", got, there)
		}
	})
}

// TestGuardsPassOnTheWayBack: in the URL, and only that of a page of this site.
func TestGuardsPassOnTheWayBack(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	for _, c := range []struct{ name, method, target, there, want string }{
		{"a page", "GET", "/orders/7?x=1&y=%20", "/login", "/login?next=%2Forders%2F7%3Fx%3D1%26y%3D%2520"},
		{"HEAD", "HEAD", "/orders", "/login", "/login?next=%2Forders"},
		{"a form", "POST", "/orders", "/login", "/login"},
		{"a query already", "GET", "/orders", "/login?lang=de", "/login?lang=de&next=%2Forders"},
		{"a fragment", "GET", "/orders", "/login#form", "/login?next=%2Forders#form"},
		{"a next of the program's", "GET", "/orders", "/login?next=/home", "/login?next=/home"},
		{"the page itself", "GET", "/login?x=1", "/login", "/login"},
		{"another site's login", "GET", "/orders", "https://id.example/login", "https://id.example/login?next=%2Forders"},
		{"another host in the path", "GET", "//evil.example/x", "/login", "/login"},
		{"a full URL", "GET", "http://evil.example/orders", "/login", "/login?next=%2Forders"},
		{"long", "GET", "/" + strings.Repeat("a", 5000), "/login", "/login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			r := httptest.NewRequest(c.method, "/", nil)
			r.RequestURI = c.target
			if u, err := url.ParseRequestURI(c.target); err == nil {
				r.URL = u
			}
			r.Header.Set("Accept", "text/html")
			_ = st.m.Serve(httptest.NewRecorder(), r, func(w http.ResponseWriter, r *http.Request) error {
				if f, ok := st.m.Refusal(r, st.m.RequireLogin(r, c.there)); ok {
					got = f.Location
				}
				return nil
			})
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			there, err := url.Parse(got)
			if next := session.Next(httptest.NewRequest("GET", "/login?"+there.RawQuery, nil), ""); err != nil || strings.Contains(next, "evil") {
				t.Errorf("the way back is %q, %v", next, err)
			}
		})
	}
}

func TestRequireLevel(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	var refusal gatekit.Refusal
	st.on("/level", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		refusal, _ = st.m.Refusal(r, st.m.RequireLevel(r, 2, "/confirm"))
	})
	st.on("/elevate", func(w http.ResponseWriter, r *http.Request, s *session.Session) { st.check(s.Elevate(r.Context(), 2)) })
	guest, b := st.browser(), st.login("alice")
	if guest.Do("GET", "/level"); refusal.Status != http.StatusUnauthorized {
		t.Errorf("a guest: got %v, want 401", &refusal)
	}
	if b.Do("GET", "/level"); refusal.Status != http.StatusForbidden {
		t.Errorf("level 1: got %v, want 403", &refusal)
	}
	page := b.Request("GET", "/level?x", nil)
	page.Header.Set("Accept", "text/html")
	if b.Send(page); refusal.Status != http.StatusSeeOther || refusal.Location != "/confirm?next=%2Flevel%3Fx" {
		t.Errorf("level 1, a page: got %v to %q, want 303 and the way back", &refusal, refusal.Location)
	}
	b.Do("POST", "/elevate")
	if b.Do("GET", "/level"); refusal.Status != 0 {
		t.Errorf("level 2: got %v", &refusal)
	}
}
