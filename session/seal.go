package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/given"
)

// Encrypt returns a codec for [Options.Codec]. It encodes values by inner (nil is JSON)
// and encrypts the bytes with AES-256-GCM. HKDF derives a key for each session from the
// current key. The older keys still decrypt. A value moves to the current key when it is
// next written. Reading does not move it, because to write it back would undo another
// request's change. Keys are 32 bytes from a random generator.
//
// Introduce a new key in two steps, and roll each out to every process before the next.
// Then no process meets a value that it can't decrypt:
//
//  1. Encrypt(inner, old, new): all processes read both, and write under the old key.
//  2. Encrypt(inner, new, old): all processes read both, and write under the new key.
//
// If you do it in one step, old processes return errors for values that new processes
// wrote. Remove the old key when all sessions written with it have ended.
//
// NIST SP 800-38D allows 2^32 encryptions with random nonces under one key. Here each
// session has a key of its own, so that bound limits the writes of one session, not the
// use of the program's key.
//
// Each value is bound to its session and its name. If somebody with access to Redis
// copies a value elsewhere, it does not decrypt there. A value that was stored
// unencrypted does not decrypt either, so encryption can't be switched on for live
// sessions; use another Prefix. Names, owner, IP and user agent stay readable. Counters
// can't be encrypted, since Redis adds them up; their methods return an error. The codec
// works inside a [Manager] only.
func Encrypt(inner Codec, current []byte, older ...[]byte) (Codec, error) {
	if err := given.Option("session: Encrypt: inner", inner); err != nil {
		return nil, err
	}
	if inner == nil {
		inner = jsonCodec{}
	}
	if _, ok := inner.(*sealer); ok {
		return nil, errors.New("session: Encrypt of an encrypting codec")
	}
	s := &sealer{Codec: inner, ring: map[keyID][]byte{}}
	for i, key := range append([][]byte{current}, older...) {
		if len(key) != 32 {
			return nil, fmt.Errorf("session: Encrypt: key %d has %d bytes: want 32", i, len(key))
		}
		sum := sha256.Sum256(append([]byte("gatekit key id 1"), key...))
		id := keyID(sum[:4])
		if s.ring[id] != nil {
			return nil, fmt.Errorf("session: Encrypt: key %d twice", i)
		}
		secret, err := hkdf.Extract(sha256.New, key, nil)
		if err != nil {
			return nil, errtext.Errorf("session", "Encrypt: %w", err)
		}
		if i == 0 {
			s.current = id
		}
		s.ring[id] = secret
	}
	return s, nil
}

// A sealed value: version 1 byte, key id 4 bytes, nonce 12 bytes, ciphertext and tag 16
// bytes. Version 1 encrypted under the program's key itself. No release had it.
const (
	sealedVersion = 2
	sealedHead    = 1 + 4
	sealedExtra   = sealedHead + 12 + 16
)

type keyID [4]byte

// sealer is the codec that [Encrypt] returns. As a Codec alone it does not know the
// value's session and name, so it returns an error.
type sealer struct {
	Codec
	current keyID
	ring    map[keyID][]byte // the secrets from which the keys of sessions are derived
}

var (
	errNoPlace = errors.New("session: an encrypting codec works inside a Manager only")
	errSealed  = errors.New("not sealed with a known key for this session and name")
)

func (*sealer) Encode(any) ([]byte, error) { return nil, errNoPlace }
func (*sealer) Decode([]byte, any) error   { return errNoPlace }

// aead returns the cipher of a session, nil if the key is not known.
func (s *sealer) aead(id keyID, member string) cipher.AEAD {
	secret := s.ring[id]
	if secret == nil {
		return nil
	}
	key, err := hkdf.Expand(sha256.New, secret, "gatekit session key 2"+member, 32)
	if err != nil {
		panic(err) // only a length beyond 255 hashes is an error
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only another length is an error
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only a cipher other than AES is an error
	}
	return aead
}

// place returns the data that a sealed value is bound to. All members have the same
// length, so two places never have the same bytes.
func place(member, name string) []byte {
	b := append(make([]byte, 0, 16+len(member)+len(name)), "gatekit value 2"...)
	return append(append(b, member...), name...)
}

func (s *sealer) seal(member, name string, plain []byte) []byte {
	head := make([]byte, sealedHead, sealedExtra+len(plain))
	head[0] = sealedVersion
	copy(head[1:], s.current[:])
	return s.aead(s.current, member).Seal(head, nil, plain, place(member, name))
}

func (s *sealer) open(member, name string, data []byte) ([]byte, error) {
	if len(data) < sealedExtra || data[0] != sealedVersion {
		return nil, errSealed
	}
	aead := s.aead(keyID(data[1:sealedHead]), member)
	if aead == nil {
		return nil, errSealed
	}
	plain, err := aead.Open(nil, nil, data[sealedHead:], place(member, name))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}
