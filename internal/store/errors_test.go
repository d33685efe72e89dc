package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/store"
)

// TestErrorsHaveOnePrefix: a text with "gatekit: " in its middle reads as several errors.
func TestErrorsHaveOnePrefix(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	s, err := store.New(client, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.SessionTouch(t.Context(), store.SessionTouch{Keys: store.SessionKeys{Tag: "aa"}})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	_, cut := s.SessionGuest(t.Context(), store.SessionNew{})
	for _, err := range []error{err, cut, store.Doing("touch", err), store.Doing("log in", store.Doing("touch", err)), store.Doing("stop", context.Canceled)} {
		if text := err.Error(); strings.LastIndex(text, "gatekit: ") != 0 {
			t.Errorf("%q, want the prefix in front and nowhere else", text)
		}
	}
	if err := store.Doing("touch", err); !errors.Is(err, store.ErrUnavailable) || !strings.HasPrefix(err.Error(), "gatekit: touch: session_touch: ") {
		t.Errorf("got %v", err)
	}
}
