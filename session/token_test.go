package session

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/store"
)

func TestParseToken(t *testing.T) {
	good := newToken("alice").text
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
			tok, ok := parseToken(c.text)
			if ok != c.ok || ok && tok.text != c.text {
				t.Errorf("parse %q: got %v, want %v", c.text, ok, c.ok)
			}
		})
	}
	a, _ := parseToken(good)
	b, _ := parseToken(strings.ToLower(good))
	if a.hash() == b.hash() || a.member() == b.member() {
		t.Error("tokens that differ in case share a hash")
	}
}

func TestTokenParts(t *testing.T) {
	seen := map[string]bool{}
	for range 20_000 {
		tok := newToken("alice")
		for _, part := range []string{tok.text[3:25], tok.text[25:], tok.hash(), tok.member()} {
			if seen[part] {
				t.Fatalf("%q came twice", part)
			}
			seen[part] = true
		}
		if tok.tag() != userTag("alice") || len(tok.text) != tokenLen || len(tok.member()) != 32 || len(tok.hash()) != 43 {
			t.Fatal("a token of the wrong shape")
		}
		if _, ok := parseToken(tok.text); !ok {
			t.Fatal("a minted token does not parse")
		}
	}
	tags := map[string]int{}
	for i := range 40_960 {
		tags[userTag(fmt.Sprint(i))]++
	}
	if len(tags) < 4000 || len(tags) > 4096 {
		t.Errorf("%d tags, want nearly all of 4096", len(tags))
	}
}

func TestSuccessorIsOneForAllHolders(t *testing.T) {
	tok := newToken("alice")
	next := tok.successor(42)
	if again := (token{tok.text}).successor(42); again != next {
		t.Error("two holders derive different successors")
	}
	if _, ok := parseToken(next.text); !ok || next.member() != tok.member() || next.tag() != tok.tag() || next.hash() == tok.hash() {
		t.Error("a successor is a token of the same series and another hash")
	}
	if other := newToken("alice").successor(42); other.text[seriesEnd:] == next.text[seriesEnd:] {
		t.Error("the successor does not depend on the secret")
	}
	if one, two := tok.fresh(), tok.fresh(); tok.successor(43) == next || one == two {
		t.Error("successors repeat")
	}
}

func TestTokensAreNeverPrinted(t *testing.T) {
	tok := newToken("alice")
	s := &Session{m: &Manager{}, view: view{token: tok, minted: tok, meta: meta{SessionMeta: store.SessionMeta{PublicID: "public"}}}, out: outgoing{token: tok}}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "token", tok, "session", s)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "token", tok, "session", s)
	out := []string{logged.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%10.3v"} {
		out = append(out, fmt.Sprintf(verb, tok), fmt.Sprintf(verb, s), fmt.Sprintf(verb, &tok), fmt.Sprintf(verb, []token{tok}))
	}
	for _, v := range []any{tok, s, map[string]any{"t": tok, "s": s}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	for _, text := range out {
		for _, secret := range []string{tok.text[3:25], tok.text[25:], fmt.Sprintf("%x", tok.text), fmt.Sprintf("%x", tok.text[25:])} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
				t.Errorf("a secret shows in %q", text)
			}
		}
	}
	if !strings.Contains(fmt.Sprint(s), "public") {
		t.Error("a session does not print its public id")
	}
}

func FuzzToken(f *testing.F) {
	f.Add(newToken("").text)
	f.Add("1")
	f.Add(strings.Repeat("1", tokenLen))
	f.Add(strings.Repeat("\xff", tokenLen))
	f.Fuzz(func(t *testing.T, text string) {
		tok, ok := parseToken(text)
		if !ok {
			return
		}
		if len(text) != tokenLen || text[0] != version || strings.ContainsAny(text, "{}: \x00\r\n;=\"") {
			t.Fatalf("accepted %q", text)
		}
		if len(tok.member()) != 32 || len(tok.hash()) != 43 || !wellFormed(tok.tag()) {
			t.Fatalf("%q has odd parts", text)
		}
		if next := tok.successor(1); next.member() != tok.member() {
			t.Fatalf("%q: the successor has another series", text)
		}
	})
}
