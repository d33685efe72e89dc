package token

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseToken(t *testing.T) {
	good := New("alice").text
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"minted", good, true},
		{"empty", "", false},
		{"one short", good[:len(good)-1], false},
		{"one long", good + "A", false},
		{"another version", "2" + good[1:], false},
		{"padding", good[:len(good)-1] + "=", false},
		{"standard alphabet", good[:len(good)-1] + "+", false},
		{"blank", good[:len(good)-1] + " ", false},
		{"NUL", good[:len(good)-1] + "\x00", false},
		{"beyond ASCII", good[:len(good)-2] + "é", false},
		{"brace", good[:1] + "{}" + good[3:], false},
		{"other case is another token", strings.ToLower(good), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, ok := Parse(c.text)
			if ok != c.ok || ok && tok.text != c.text {
				t.Errorf("parse %q: got %v, want %v", c.text, ok, c.ok)
			}
		})
	}
	a, _ := Parse(good)
	b, _ := Parse(strings.ToLower(good))
	if a.Hash() == b.Hash() || a.Member() == b.Member() {
		t.Error("tokens that differ in case share a hash")
	}
}

func TestTokenParts(t *testing.T) {
	seen := map[string]bool{}
	for range 20_000 {
		tok := New("alice")
		for _, part := range []string{tok.text[3:25], tok.text[25:], tok.Hash().String(), tok.Member()} {
			if seen[part] {
				t.Fatalf("%q came twice", part)
			}
			seen[part] = true
		}
		if tok.Tag() != UserTag("alice") || len(tok.text) != Len || len(tok.Member()) != 32 || len(tok.Hash()) != 43 {
			t.Fatal("a token of the wrong shape")
		}
		if _, ok := Parse(tok.text); !ok {
			t.Fatal("a minted token does not parse")
		}
	}
	tags := map[string]int{}
	for i := range 40_960 {
		tags[UserTag(fmt.Sprint(i))]++
	}
	if len(tags) < 4000 || len(tags) > 4096 {
		t.Errorf("%d tags, want nearly all of 4096", len(tags))
	}
}

func TestSuccessorIsOneForAllHolders(t *testing.T) {
	tok := New("alice")
	next := tok.Successor(42)
	if again := (Token{tok.text}).Successor(42); again != next {
		t.Error("two holders derive different successors")
	}
	if _, ok := Parse(next.text); !ok || next.Member() != tok.Member() || next.Tag() != tok.Tag() || next.Hash() == tok.Hash() {
		t.Error("a successor is a token of the same series and another hash")
	}
	if other := New("alice").Successor(42); other.text[seriesEnd:] == next.text[seriesEnd:] {
		t.Error("the successor does not depend on the secret")
	}
	if one, two := tok.Fresh(), tok.Fresh(); tok.Successor(43) == next || one == two {
		t.Error("successors repeat")
	}
}

func FuzzToken(f *testing.F) {
	f.Add(New("").text)
	f.Add("1")
	f.Add(strings.Repeat("1", Len))
	f.Add(strings.Repeat("\xff", Len))
	f.Fuzz(func(t *testing.T, text string) {
		tok, ok := Parse(text)
		if !ok {
			return
		}
		if len(text) != Len || text[0] != version || strings.ContainsAny(text, "{}: \x00\r\n;=\"") {
			t.Fatalf("accepted %q", text)
		}
		if len(tok.Member()) != 32 || len(tok.Hash()) != 43 || !WellFormed(tok.Tag()) {
			t.Fatalf("%q has odd parts", text)
		}
		if next := tok.Successor(1); next.Member() != tok.Member() {
			t.Fatalf("%q: the successor has another series", text)
		}
	})
}
