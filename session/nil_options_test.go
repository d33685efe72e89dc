package session_test

import (
	"strings"
	"testing"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

type ownCodec struct{ session.Codec }

// A typed nil as the codec does not equal nil, and would panic with the first value.
func TestNilCodecs(t *testing.T) {
	const text = "the *session_test.ownCodec is nil: make it first"
	kv := kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: redistest.Prefix(t)})
	_, err := session.New(kv, session.Options{Codec: (*ownCodec)(nil)})
	if err == nil || !strings.Contains(err.Error(), "session: Options.Codec: "+text) {
		t.Errorf("Options.Codec: got %v, want an error that names it", err)
	}
	_, err = session.Encrypt((*ownCodec)(nil), make([]byte, 32))
	if err == nil || !strings.Contains(err.Error(), "session: Encrypt: inner: "+text) {
		t.Errorf("Encrypt: got %v, want an error that names it", err)
	}
}
