package errtext

import (
	"errors"
	"testing"
)

func TestErrorf(t *testing.T) {
	inner := errors.New("gatekit: limit_take: store unavailable")
	for _, c := range []struct {
		name string
		err  error
		text string
	}{
		{"a prefix goes", Errorf("ratelimit", "refund %d: %w", 1, inner), "ratelimit: refund 1: limit_take: store unavailable"},
		{"twice", Errorf("session", "save: %w", Errorf("session", "x: %w", inner)), "session: save: x: limit_take: store unavailable"},
		{"of each line", Errorf("ratelimit", "%w", errors.Join(inner, errors.New("other: x"))),
			"ratelimit: limit_take: store unavailable\nother: x"},
		{"another's stays", Errorf("session", "codec: %w", errors.New("json: bad")), "session: codec: json: bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.err.Error(); got != c.text {
				t.Errorf("got %q, want %q", got, c.text)
			}
		})
	}
	if err := Errorf("session", "save: %w", Errorf("blob", "%w", inner)); !errors.Is(err, inner) {
		t.Error("the error is not found")
	}
}
