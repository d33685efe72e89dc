package session

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
)

// A Codec turns values into bytes and back. It is called by many goroutines at once. [Config.Codec] nil is JSON.
//
// Bytes that other versions of a program wrote are read by this one's codec, so change a format in two steps: first read
// both, then write the new one.
type Codec interface {
	// Encode returns the bytes of v. The caller owns them.
	Encode(v any) ([]byte, error)

	// Decode reads data into v, a pointer. It must not keep data. What it can't read is an error, never a zero value.
	Decode(data []byte, v any) error
}

type jsonCodec struct{}

func (jsonCodec) Encode(v any) ([]byte, error) { return json.Marshal(v) }

// Decode reads the types that most values have without the machinery of encoding/json.
func (jsonCodec) Decode(data []byte, v any) error {
	if s, ok := v.(*string); ok && plainString(data) {
		*s = string(data[1 : len(data)-1])
		return nil
	}
	return json.Unmarshal(data, v)
}

// plainString reports whether data is a JSON string that stands for itself: printable ASCII without escapes.
func plainString(data []byte) bool {
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return false
	}
	for _, c := range data[1 : len(data)-1] {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Encrypt returns a codec for [Config.Codec] that encrypts what inner (nil is JSON) encodes, with AES-256-GCM under the
// current key. The older keys still decrypt; a value moves to the current key when it is next written, never by being
// read, because writing back what was read would undo another request's change. Drop an older key when all sessions
// written with it have ended. Keys have 32 bytes, from a random generator.
//
// Each value is bound to its session and its name: a value that somebody with access to Redis copies elsewhere does not
// decrypt there. Neither does one that was stored in the clear, so encryption can't be switched on under live sessions;
// use another Prefix. Names, owner, IP and user agent stay readable. Counters can't be encrypted, since Redis adds
// them up: they return an error. The codec works inside a [Manager] only.
func Encrypt(inner Codec, current []byte, older ...[]byte) (Codec, error) {
	if inner == nil {
		inner = jsonCodec{}
	}
	if _, ok := inner.(*sealer); ok {
		return nil, errors.New("session: Encrypt of an encrypting codec")
	}
	s := &sealer{Codec: inner, ring: map[keyID]cipher.AEAD{}}
	for i, key := range append([][]byte{current}, older...) {
		if len(key) != 32 {
			return nil, fmt.Errorf("session: Encrypt: key %d has %d bytes: want 32", i, len(key))
		}
		sum := sha256.Sum256(append([]byte("gatekit key id 1"), key...))
		id := keyID(sum[:4])
		if s.ring[id] != nil {
			return nil, fmt.Errorf("session: Encrypt: key %d twice", i)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("session: Encrypt: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("session: Encrypt: %w", err)
		}
		if i == 0 {
			s.current = id
		}
		s.ring[id] = aead
	}
	return s, nil
}

// A sealed value: version 1 byte, key id 4 bytes, nonce 12 bytes, ciphertext and tag 16 bytes.
const (
	sealedVersion = 1
	sealedHead    = 1 + 4 + 12
	sealedExtra   = sealedHead + 16
)

type keyID [4]byte

// sealer is the codec that [Encrypt] returns. As a Codec alone it does not know where a value lies, and refuses.
type sealer struct {
	Codec
	current keyID
	ring    map[keyID]cipher.AEAD
}

var (
	errNoPlace = errors.New("session: an encrypting codec works inside a Manager only")
	errSealed  = errors.New("not sealed with a known key for this session and name")
)

func (*sealer) Encode(any) ([]byte, error) { return nil, errNoPlace }
func (*sealer) Decode([]byte, any) error   { return errNoPlace }

// place is the data that a sealed value is bound to. Members have one length, so there is one reading.
func place(member, name string) []byte {
	b := append(make([]byte, 0, 16+len(member)+len(name)), "gatekit value 1"...)
	return append(append(b, member...), name...)
}

func (s *sealer) seal(member, name string, plain []byte) []byte {
	head := make([]byte, sealedHead, sealedExtra+len(plain))
	head[0] = sealedVersion
	copy(head[1:5], s.current[:])
	_, _ = rand.Read(head[5:])
	return s.ring[s.current].Seal(head, head[5:], plain, place(member, name))
}

func (s *sealer) open(member, name string, data []byte) ([]byte, error) {
	if len(data) < sealedExtra || data[0] != sealedVersion {
		return nil, errSealed
	}
	aead := s.ring[keyID(data[1:5])]
	if aead == nil {
		return nil, errSealed
	}
	plain, err := aead.Open(nil, data[5:sealedHead], data[sealedHead:], place(member, name))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// values is how a manager stores values: a codec and, under [Encrypt], a seal.
type values struct {
	codec  Codec
	sealer *sealer
}

func newValues(c Codec) values {
	switch c := c.(type) {
	case nil:
		return values{codec: jsonCodec{}}
	case *sealer:
		return values{codec: c.Codec, sealer: c}
	}
	return values{codec: c}
}

func (vs values) encode(member, name string, v any) ([]byte, error) {
	data, err := vs.codec.Encode(v)
	if err != nil {
		return nil, fmt.Errorf("session: encode %q: %w", name, err)
	}
	if vs.sealer != nil {
		return vs.sealer.seal(member, name, data), nil
	}
	return data, nil
}

func (vs values) decode(member, name string, data []byte, v any) error {
	if vs.sealer != nil {
		plain, err := vs.sealer.open(member, name, data)
		if err != nil {
			return fmt.Errorf("session: decode %q: %w", name, err)
		}
		data = plain
	}
	if err := vs.codec.Decode(data, v); err != nil {
		return fmt.Errorf("session: decode %q: %w", name, err)
	}
	return nil
}

// move returns the bytes of a value for another session.
func (vs values) move(from, to, name string, data []byte) ([]byte, error) {
	if vs.sealer == nil || from == to {
		return bytes.Clone(data), nil
	}
	plain, err := vs.sealer.open(from, name, data)
	if err != nil {
		return nil, fmt.Errorf("session: move %q: %w", name, err)
	}
	return vs.sealer.seal(to, name, plain), nil
}
