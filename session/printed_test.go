package session

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

func TestTokensAreNeverPrinted(t *testing.T) {
	tok := token.New("alice")
	secret := tok.Reveal()
	s := &Session{m: &Manager{}, view: view{token: tok, minted: tok, meta: meta{SessionMeta: store.SessionMeta{PublicID: "public"}}}, out: outgoing{token: tok}}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "token", tok, "session", s)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "token", tok, "session", s)
	out := []string{logged.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%t", "%10.3v"} {
		out = append(out, fmt.Sprintf(verb, tok), fmt.Sprintf(verb, s), fmt.Sprintf(verb, &tok), fmt.Sprintf(verb, []token.Token{tok}))
	}
	for _, v := range []any{tok, s, map[string]any{"t": tok, "s": s}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	for _, text := range out {
		for _, part := range []string{secret[3:25], secret[25:], fmt.Sprintf("%x", secret), fmt.Sprintf("%x", secret[25:])} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(part)) {
				t.Errorf("a secret shows in %q", text)
			}
		}
	}
	if !strings.Contains(fmt.Sprint(s), "public") {
		t.Error("a session does not print its public id")
	}
}
