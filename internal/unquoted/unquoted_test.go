package unquoted_test

import (
	"errors"
	"testing"

	"github.com/gatekit/gatekit/internal/unquoted"
)

func TestError(t *testing.T) {
	secret := errors.New("can't read hunter2")
	err := unquoted.Error("decode", secret)
	if got := err.Error(); got != "decode: *errors.errorString" || !errors.Is(err, secret) {
		t.Errorf("got %q, want the type of the cause, and the cause within", got)
	}
	if got := unquoted.Error("decode", errors.New("gob: name not registered")).Error(); got != "decode: gob: name not registered" {
		t.Errorf("got %q, want gob's words", got)
	}
}
