package session_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session"
)

// TestStoreErrorsHaveOnePrefix: an error of the store has one prefix, and the name of the
// operation once.
func TestStoreErrorsHaveOnePrefix(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := session.New(kv, session.Options{InsecureCookie: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.RevokeUser(t.Context(), "alice")
	if !errors.Is(err, gatekit.ErrUnavailable) {
		t.Fatal(err)
	}
	if text := err.Error(); !strings.HasPrefix(text, "gatekit: revoke: ") || strings.Count(text, "gatekit: ") != 1 {
		t.Errorf("%q, want one prefix and what was being done", text)
	}
}
