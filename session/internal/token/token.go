// Package token makes and reads the tokens that browsers hold. A [Token] is opaque: other
// packages get its hashes and its tag, which is no secret. Only [Token.Reveal] returns
// the text.
package token

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
)

// The parts of a token, in characters.
const (
	versionLen = 1
	tagLen     = 2
	seriesLen  = 22 // 16 bytes
	secretLen  = 43 // 32 bytes

	// Len is the length of a token.
	Len = versionLen + tagLen + seriesLen + secretLen

	seriesEnd = versionLen + tagLen + seriesLen
	version   = '1'
)

// A Token names a session and proves that the browser may use it. It consists of a
// version, a tag, a series and a secret. The tag names the slot of a cluster, so the
// token alone is enough to find its record. The series is secret and stays the same for
// the session's life. The secret changes with each rotation. Redis only sees hashes of
// the token, and a printed Token is a placeholder.
//
// If the series is known and the secret is not, the request brought an older token of
// that session, because only tokens of the session contain its series.
type Token struct{ text string }

// Parse accepts a text of the right length, version and alphabet. It decodes and
// normalises nothing. The text itself is hashed, so a non-canonical encoding is another
// token, which no session has.
func Parse(text string) (Token, bool) {
	if len(text) != Len || text[0] != version || !WellFormed(text) {
		return Token{}, false
	}
	return Token{text}, true
}

// WellFormed reports whether text consists of the characters of base64url.
func WellFormed(text string) bool {
	for i := range len(text) {
		c := text[i]
		if c-'0' > 9 && c|0x20-'a' > 25 && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// New returns a random token for a new session of the user; "" is a guest.
func New(user string) Token {
	var random [2 + 16 + 32]byte
	_, _ = rand.Read(random[:]) // does not fail: crypto/rand ends the program first
	return assemble(random, user)
}

// Derive returns the token of the session that carries over another kit's session with
// this id. The token depends on the id and the user only, so each call returns the same
// one.
func Derive(id, user string) Token {
	const size = 2 + 16 + 32
	key, err := hkdf.Key(sha256.New, []byte(id), nil, "gatekit legacy 1", size)
	if err != nil {
		// HKDF-SHA-256 gives up to 8,160 bytes, and ids are longer than FIPS 140 asks
		// for.
		panic("session: " + err.Error())
	}
	return assemble([size]byte(key), user)
}

func assemble(random [2 + 16 + 32]byte, user string) Token {
	tag := randomTag(random[0], random[1])
	if user != "" {
		tag = UserTag(user)
	}
	text := append(make([]byte, 0, Len), version)
	text = append(text, tag...)
	text = base64.RawURLEncoding.AppendEncode(text, random[2:18])
	text = base64.RawURLEncoding.AppendEncode(text, random[18:])
	return Token{string(text)}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func randomTag(a, b byte) string { return string([]byte{alphabet[a&63], alphabet[b&63]}) }

// UserTag returns the tag of all sessions of a user, so that they lie in one slot: 12
// bits of an unkeyed hash. It is so short that with a dead cookie from a log a wrong
// guess of the user still fits 1 time in 4,096. It is unkeyed because of the calls that
// revoke a user: if a key were changed by mistake, they would look in another slot, find
// nothing and report success.
func UserTag(user string) string {
	sum := lengthPrefixed("gatekit tag 1", user)
	return string([]byte{alphabet[sum[0]>>2], alphabet[sum[0]&3<<4|sum[1]>>4]})
}

func lengthPrefixed(domain, s string) [sha256.Size]byte {
	b := binary.AppendUvarint(append(make([]byte, 0, 128), domain...), uint64(len(s)))
	return sha256.Sum256(append(b, s...))
}

// Tag returns the 2 characters that name the record's slot in a cluster.
func (t Token) Tag() string { return t.text[versionLen : versionLen+tagLen] }

// Member returns the name of the record: a hash of the series, 192 bits in 32 characters.
func (t Token) Member() string {
	var b [64]byte
	sum := sha256.Sum256(append(append(b[:0], "gatekit series 1"...), t.text[:seriesEnd]...))
	base64.RawURLEncoding.Encode(b[:32], sum[:24])
	return string(b[:32])
}

// A Hash is the hash of a token as the record stores it: 43 characters of base64url.
type Hash [43]byte

// String returns the characters.
func (h Hash) String() string { return string(h[:]) }

// Hash returns the hash of the token.
func (t Token) Hash() (h Hash) {
	var b [96]byte
	sum := sha256.Sum256(append(append(b[:0], "gatekit token 1"...), t.text...))
	base64.RawURLEncoding.Encode(h[:], sum[:])
	return h
}

// Is reports whether hash, from the record, is the token's hash. It compares in constant
// time.
func (t Token) Is(hash []byte) bool {
	presented := t.Hash()
	return subtle.ConstantTimeCompare(presented[:], hash) == 1
}

// Successor derives the token that replaces this one, from this one's secret and a nonce
// of the record. Parallel requests with this token derive the same successor. The token
// alone or Redis alone is not enough to derive it.
func (t Token) Successor(nonce int64) Token {
	mac := hmac.New(sha256.New, []byte(t.text[seriesEnd:]))
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(nonce))
	mac.Write([]byte("gatekit next 1"))
	mac.Write(b[:])
	return t.withSecret(mac.Sum(nil))
}

// Fresh returns a token of the same series with a random secret.
func (t Token) Fresh() Token {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	return t.withSecret(secret[:])
}

func (t Token) withSecret(secret []byte) Token {
	text := append(make([]byte, 0, Len), t.text[:seriesEnd]...)
	return Token{string(base64.RawURLEncoding.AppendEncode(text, secret))}
}

// IsZero reports whether t is the zero Token, which means that there is none.
func (t Token) IsZero() bool { return t.text == "" }

// Reveal returns the text of the token, for a cookie or for a client that is no browser.
// It must go nowhere else.
func (t Token) Reveal() string { return t.text }

// redacted is printed in place of a token.
const redacted = "session-token(redacted)"

// String hides the token.
func (Token) String() string { return redacted }

// Format hides the token from every verb, also from verbs that don't fit a Token.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the token from slog.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the token from encoding/json.
func (Token) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
