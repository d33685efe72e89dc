package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
)

// DefaultPrefix begins the keys of a [Store] whose options name no other.
const DefaultPrefix = "gk"

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9:._-]{0,30}[A-Za-z0-9._-])?$`)

func checkPrefix(prefix string) error {
	if !prefixForm.MatchString(prefix) {
		return fmt.Errorf("gatekit: Prefix %q: want 1 to 32 of A-Z a-z 0-9 : . _ -, the first a letter or digit, no : at the end", prefix)
	}
	return nil
}

// A Tag is the hash tag of everything that one decision touches: 128 bits of SHA-256,
// base64url.
type Tag [22]byte

// MakeTag hashes the parts, each with its length before it, so that no two lists of parts
// share a tag and nothing that a user controls (braces, NUL, an e-mail, an address)
// appears in a key. kind keeps the uses of tags apart.
func MakeTag(kind string, parts ...string) (tag Tag) {
	var fixed [256]byte
	b := append(fixed[:0], "gatekit "...)
	b = append(b, kind...)
	b = append(b, " 1"...)
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	base64.RawURLEncoding.Encode(tag[:], sum[:16])
	return tag
}

// appendKey appends <prefix>:<kind>:{<tag>}:<suffix>, the form of every key.
func (s *Store) appendKey(b []byte, kind byte, tag Tag, suffix string) []byte {
	b = append(b, s.prefix...)
	b = append(b, ':', kind, ':', '{')
	b = append(b, tag[:]...)
	b = append(b, '}', ':')
	return append(b, suffix...)
}

// memberLength is that of a session in its user's index, the last part of its record's
// key.
const memberLength = 32

// appendSessionKey appends <prefix>:<kind>:{<tag>}:<suffix>, where the tag is that of a
// session's token: 2 characters that put a user's sessions, their index and epoch into
// one slot.
func (s *Store) appendSessionKey(b []byte, kind byte, tag, suffix string) []byte {
	b = append(b, s.prefix...)
	b = append(b, ':', kind, ':', '{')
	b = append(b, tag...)
	b = append(b, '}', ':')
	return append(b, suffix...)
}

// recordKey holds a session.
func (s *Store) recordKey(keys SessionKeys) string {
	return string(s.appendSessionKey(nil, 's', keys.Tag, keys.Member))
}

// indexKey lists the sessions of a user.
func (s *Store) indexKey(keys SessionKeys) string {
	return string(s.appendSessionKey(nil, 'u', keys.Tag, UserHash(keys.User)))
}

// epochKey holds the epoch of a user.
func (s *Store) epochKey(keys SessionKeys) string {
	return string(s.appendSessionKey(nil, 'e', keys.Tag, UserHash(keys.User)))
}

// recordPrefix is what the keys of a slot's session records begin with. Scripts that go
// through an index get it among their KEYS and append the members: the one exception to
// the rule that no script builds a key. The tag is part of the prefix, so what they build
// lies in the slot of the call.
func (s *Store) recordPrefix(tag string) string { return string(s.appendSessionKey(nil, 's', tag, "")) }

// carriedKey says that another kit's session, of this id, was carried over.
func (s *Store) carriedKey(tag, old string) string {
	hash := MakeTag("old session", old)
	return string(s.appendSessionKey(nil, 'o', tag, string(hash[:])))
}

// loginsKey lists the logins from an older session that were not settled yet, in the slot
// of the user.
func (s *Store) loginsKey(tag, from string) string {
	return string(s.appendSessionKey(nil, 'n', tag, from))
}

// globalKey holds the epoch of all sessions.
func (s *Store) globalKey() string { return s.prefix + ":g" }

// channel is where session events are published.
func (s *Store) channel() string { return s.prefix + ":ev" }
