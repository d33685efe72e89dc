package store

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTagsTellPartsApart: pairs that a naive join would take for one.
func TestTagsTellPartsApart(t *testing.T) {
	lists := [][]string{
		{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"a:b"}, {"a", "b", ""}, {"a,b"}, {"a\x00b"}, {"a\x00", "b"}, {"\x01a"}, {"\x01", "a"},
		{"{a}"}, {"{a", "}"}, {"{", "a}"}, {"}{"}, {"é"}, {"e\u0301"}, {"\xff"}, {"\xef\xbf\xbd"}, {"A"}, {" a"}, {"a "},
		{strings.Repeat("x", 127)}, {strings.Repeat("x", 128)}, {strings.Repeat("x", 1<<16)}, {strings.Repeat("x", 1<<16+1)}, {strings.Repeat("x", 1<<15), strings.Repeat("x", 1<<15)},
	}
	seen := map[Tag]string{}
	for _, kind := range []string{"limit", "call"} {
		for _, parts := range lists {
			name := fmt.Sprintf("%s %.40q", kind, parts)
			tag := MakeTag(kind, parts...)
			if other, ok := seen[tag]; ok {
				t.Errorf("%s and %s share a tag", name, other)
			}
			if tag != MakeTag(kind, parts...) {
				t.Errorf("%s: two tags", name)
			}
			seen[tag] = name
		}
	}
}

// TestTagIsStable: a new version must find the keys that a deployed version wrote.
func TestTagIsStable(t *testing.T) {
	if got := tagText(MakeTag("limit", "api", "203.0.113.7")); got != "YNpzZcW_Psenboi2e64_sA" {
		t.Errorf("tag %s", got)
	}
}

func FuzzMakeTag(f *testing.F) {
	f.Add("limit", "api", "alice", "api", "bob")
	f.Add("limit", "a", "b:c", "a:b", "c")
	f.Add("limit", "a\x01b", "", "a", "b")
	f.Fuzz(func(t *testing.T, kind, a, b, c, d string) {
		for _, lists := range [][2][]string{
			{{a, b}, {c, d}}, {{a, b}, {a + b}}, {{a, b}, {a + b, ""}}, {{a, b}, {"", a + b}}, {{a, b}, {b, a}}, {{a}, {a, ""}}, {{a, b, c}, {a, b + c}}, {{a, b, c}, {a + b, c}},
			{{a + "\x00" + b}, {a, b}}, {{a + "\x01" + b}, {a, b}}, {{a + ":" + b}, {a, b}}, {{a}, {strings.ToValidUTF8(a, "\ufffd")}},
		} {
			if same := MakeTag(kind, lists[0]...) == MakeTag(kind, lists[1]...); same != slices.Equal(lists[0], lists[1]) {
				t.Errorf("%q and %q: same tag %v", lists[0], lists[1], same)
			}
		}
		if !tagForm.MatchString(tagText(MakeTag(kind, a, b))) {
			t.Errorf("%q %q: tag %s", a, b, MakeTag(kind, a, b))
		}
	})
}

var tagForm = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

func tagText(tag Tag) string { return string(tag[:]) }

// FuzzKeys: whatever the prefix and the parts, a key has one hash tag, and it is ours.
func FuzzKeys(f *testing.F) {
	f.Add("gk", "alice")
	f.Add("app:prod.v1_x-y", "{}")
	f.Add("{a}", "\x00")
	f.Add(strings.Repeat("p", 32), "\xff")
	f.Add(strings.Repeat("p", 33), "")
	f.Add("é", "x")
	f.Add("a\n", "x")
	f.Fuzz(func(t *testing.T, prefix, part string) {
		err := checkPrefix(prefix)
		letters := strings.Trim(prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:._-") == ""
		good := letters && prefix != "" && len(prefix) <= 32 && !strings.ContainsAny(prefix[:1], ":._-") && !strings.HasSuffix(prefix, ":")
		if (err == nil) != good {
			t.Fatalf("prefix %q: %v", prefix, err)
		}
		if !good {
			return
		}
		s := &Store{prefix: prefix}
		tag := MakeTag("limit", part)
		key := string(s.appendKey([]byte("before"), 'l', tag, "hour:w3600000000"))
		if want := "before" + prefix + ":l:{" + string(tag[:]) + "}:hour:w3600000000"; key != want {
			t.Errorf("key %q, want %q", key, want)
		}
		if strings.Count(key, "{") != 1 || strings.Count(key, "}") != 1 || strings.ContainsAny(key, " \r\n\x00") {
			t.Errorf("key %q", key)
		}
	})
}

// TestKeysDiffer: limits that share a count have one key, and all others have keys of
// their own.
func TestKeysDiffer(t *testing.T) {
	s := &Store{prefix: "gk"}
	key := func(kind byte, tag Tag, l LimitSpec) string {
		return string(s.appendKey(nil, kind, tag, NewLimitSet(l).suffixes[0]))
	}
	tag := MakeTag("limit", "api", "alice")
	base := LimitSpec{Name: "hour", Algorithm: 'w', Quota: 10, Window: 3600e9}
	first := key('l', tag, base)
	for what, other := range map[string]string{
		"tag":       key('l', MakeTag("limit", "api", "bob"), base),
		"kind":      key('r', tag, base),
		"name":      key('l', tag, LimitSpec{Name: "day", Algorithm: 'w', Quota: 10, Window: 3600e9}),
		"algorithm": key('l', tag, LimitSpec{Name: "hour", Algorithm: 'b', Quota: 10, Window: 3600e9}),
		"window":    key('l', tag, LimitSpec{Name: "hour", Algorithm: 'w', Quota: 10, Window: 3601e9}),
	} {
		t.Run(what, func(t *testing.T) {
			if other == first {
				t.Errorf("another %s, the same key %s", what, first)
			}
		})
	}
	if other := key('l', tag, LimitSpec{Name: "hour", Algorithm: 'w', Quota: 20, Window: 3600e9}); other != first {
		t.Errorf("another quota, another key: %s, %s", first, other)
	}
}
