package store

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
)

// DefaultPrefix is the prefix of the keys of a [Store] whose options set no other.
const DefaultPrefix = "gk"

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9:._-]{0,30}[A-Za-z0-9._-])?$`)

func checkPrefix(prefix string) error {
	if !prefixForm.MatchString(prefix) {
		return fmt.Errorf("gatekit: Prefix %q: want 1 to 32 of A-Z a-z 0-9 : . _ -, the first a letter or digit, no : at the end", prefix)
	}
	return nil
}

// A Tag is the hash tag of all keys that one decision touches: 128 bits of SHA-256,
// base64url.
type Tag [22]byte

// MakeTag hashes the parts, each with its length before it, so that no two lists of parts
// share a tag. The hash also keeps all that a user controls (braces, NUL, an e-mail, an
// address) out of the key. kind keeps the uses of tags apart.
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

// The kinds of the keys of a policy's limits, all with the tag of policy and key:
//
//	l  what a rate limit counts; the suffix is its name, algorithm and window in µs
//	r  the calls that were refunded, beside a SlidingLog
//	h  the holders of a slots limit, sorted set; the suffix is its name and length in µs
//	m  what belongs to the holders, hash; the suffix as of h
//	q  the line of processes that wait for a slot, sorted set; the suffix as of h
const (
	kindHolders = 'h'
	kindMeta    = 'm'
	kindLine    = 'q'
)

// memberLength is the length of a session's member in its user's index. The member is
// also the last part of the record's key.
const memberLength = 32

// appendSessionKey appends <prefix>:<kind>:{<tag>}:<suffix>, where the tag is 2
// characters of the session's token. They put a user's sessions, their index and their
// epoch into one slot.
func (s *Store) appendSessionKey(b []byte, kind byte, tag, suffix string) []byte {
	b = append(b, s.prefix...)
	b = append(b, ':', kind, ':', '{')
	b = append(b, tag...)
	b = append(b, '}', ':')
	return append(b, suffix...)
}

// recordKey returns the key that holds a session.
func (s *Store) recordKey(keys SessionKeys) string {
	return string(s.appendSessionKey(nil, 's', keys.Tag, keys.Member))
}

// indexKey returns the key that lists the sessions of a user.
func (s *Store) indexKey(keys SessionKeys) string {
	return string(s.appendSessionKey(nil, 'u', keys.Tag, UserHash(keys.User)))
}

// epochKey returns the key that holds the epoch of a user.
func (s *Store) epochKey(keys SessionKeys) string {
	return string(s.appendSessionKey(nil, 'e', keys.Tag, UserHash(keys.User)))
}

// recordPrefix returns the common beginning of the keys of a slot's session records.
// Scripts that go through an index get it among their KEYS and append the members. This
// is the only exception to the rule that no script builds a key. The tag is part of the
// prefix, so the keys that they build are in the slot of the call.
func (s *Store) recordPrefix(tag string) string { return string(s.appendSessionKey(nil, 's', tag, "")) }

// carriedKey returns the key that exists if another kit's session with the id old was
// carried over.
func (s *Store) carriedKey(tag, old string) string {
	hash := MakeTag("old session", old)
	return string(s.appendSessionKey(nil, 'o', tag, string(hash[:])))
}

// loginsKey returns the key, in the slot of the user, that lists the logins from an older
// session that are not settled yet, see [Store.SessionSettle].
func (s *Store) loginsKey(tag, from string) string {
	return string(s.appendSessionKey(nil, 'n', tag, from))
}

// globalKey returns the key that holds the epoch of all sessions.
func (s *Store) globalKey() string { return s.prefix + ":g" }

// channel returns the channel on which the scripts publish session events.
func (s *Store) channel() string { return s.prefix + ":ev" }

// slotChannel returns the beginning of the channels on which a process that waits for a
// slot is told that there may be one. The name of the process follows.
func (s *Store) slotChannel() string { return s.prefix + ":wake:" }
