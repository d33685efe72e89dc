package ratelimit_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/ratelimit"
	"pgregory.net/rapid"
)

// keyOf returns the key of a request, "" if there is none. The function must return no
// error.
func keyOf(t interface {
	Helper()
	Fatalf(string, ...any)
}, key ratelimit.KeyFunc, r *http.Request) string {
	t.Helper()
	k, err := key(r)
	if err != nil {
		t.Fatalf("key of %v: %v", r.Header, err)
	}
	return k
}

func TestJoinIsInjective(t *testing.T) {
	keys := map[string][]string{}
	for _, parts := range [][]string{
		{}, {""}, {"", ""}, {"a:b", "c"}, {"a", "b:c"}, {"ab", "c"}, {"a", "bc"}, {"abc"}, {"a", "b", "c"},
		{"\x01a"}, {"a", ""}, {"", "a"}, {"\x00"}, {strings.Repeat("x", 127)}, {strings.Repeat("x", 128)},
		{ratelimit.Join("a", "b")}, {"\xff\xfe"}, {"{a}"}, {"a\r\nb"},
	} {
		key := ratelimit.Join(parts...)
		if other, taken := keys[key]; taken {
			t.Errorf("Join(%q) = Join(%q) = %q", parts, other, key)
		}
		keys[key] = parts
	}
	// Few letters, among them what could be taken for a length, so that collisions would
	// be found.
	part := rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 2, 'a', ':'}), 0, 3, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOfN(part, 0, 4).Draw(t, "a"), rapid.SliceOfN(part, 0, 4).Draw(t, "b")
		if same := ratelimit.Join(a...) == ratelimit.Join(b...); same != slices.Equal(a, b) {
			t.Fatalf("Join(%q) == Join(%q): got %v", a, b, same)
		}
	})
}

func TestByHeader(t *testing.T) {
	key := ratelimit.ByHeader("x-api-KEY")
	for _, c := range []struct {
		name   string
		header http.Header
		want   string
	}{
		{"present", http.Header{"X-Api-Key": {"k1"}}, ratelimit.Join("header", "X-Api-Key", "k1")},
		{"absent", http.Header{}, ""},
		{"empty", http.Header{"X-Api-Key": {""}}, ""},
		{"first of two", http.Header{"X-Api-Key": {"k1", "k2"}}, ratelimit.Join("header", "X-Api-Key", "k1")},
		{"first of two is empty", http.Header{"X-Api-Key": {"", "k2"}}, ""},
		{"case of the value counts", http.Header{"X-Api-Key": {"K1"}}, ratelimit.Join("header", "X-Api-Key", "K1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := keyOf(t, key, &http.Request{Header: c.header}); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A client that chooses its own key must not be able to choose another's: the same text
// gives a different key in each function.
func TestKindsOfKeysAreApart(t *testing.T) {
	const text = "192.0.2.1"
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = text + ":1"
	r.Header.Set("A", text)
	r.Header.Set("B", text)
	user := func(*http.Request) string { return text }
	keys := []string{
		text, // from a KeyFunc that puts no kind first
		keyOf(t, ratelimit.MustByIP(ratelimit.IPOptions{}), r),
		keyOf(t, ratelimit.ByHeader("A"), r),
		keyOf(t, ratelimit.ByHeader("B"), r),
		keyOf(t, ratelimit.ByUser(user), r),
		keyOf(t, ratelimit.Everyone(), r),
		keyOf(t, ratelimit.All(ratelimit.ByUser(user)), r),
		keyOf(t, ratelimit.All(ratelimit.ByHeader("A"), ratelimit.ByUser(user)), r),
		keyOf(t, ratelimit.All(ratelimit.ByUser(user), ratelimit.ByHeader("A")), r),
	}
	for i, a := range keys {
		if slices.Contains(keys[:i], a) || a == "" {
			t.Errorf("key %d is %q: empty or the same as an earlier one of %q", i, a, keys)
		}
	}
}

func TestByUser(t *testing.T) {
	key := ratelimit.ByUser(func(r *http.Request) string { return r.Header.Get("User") })
	for user, want := range map[string]string{"alice": ratelimit.Join("user", "alice"), "": ""} {
		if got := keyOf(t, key, &http.Request{Header: http.Header{"User": {user}}}); got != want {
			t.Errorf("user %q: got key %q, want %q", user, got, want)
		}
	}
}

func TestAll(t *testing.T) {
	header := ratelimit.ByHeader("A")
	wrong := errors.New("wrong")
	for _, c := range []struct {
		name string
		keys []ratelimit.KeyFunc
		want string
		err  error
	}{
		{"both", []ratelimit.KeyFunc{ratelimit.Everyone(), header},
			ratelimit.Join("all", ratelimit.Join("everyone"), ratelimit.Join("header", "A", "x")), nil},
		{"one is missing", []ratelimit.KeyFunc{header, ratelimit.ByHeader("B")}, "", nil},
		{"one fails", []ratelimit.KeyFunc{header, func(*http.Request) (string, error) { return "key", wrong }}, "", wrong},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ratelimit.All(c.keys...)(&http.Request{Header: http.Header{"A": {"x"}}})
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}
