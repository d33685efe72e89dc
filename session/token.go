package session

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
)

// The parts of a token, in characters. A token is opaque to everybody but this file.
const (
	versionLen = 1
	tagLen     = 2
	seriesLen  = 22 // 16 bytes
	secretLen  = 43 // 32 bytes
	tokenLen   = versionLen + tagLen + seriesLen + secretLen

	seriesEnd = versionLen + tagLen + seriesLen
	version   = '1'
)

// A token is what the browser holds. It consists of a version, the tag (which names the
// slot of a cluster, so that the token alone finds its record), the series (fixed for the
// session's life, secret) and the secret (another one after each rotation). Redis sees
// hashes of it only, and whoever prints one gets a placeholder.
//
// A known series with an unknown secret proves that an older token of that session was
// presented: nobody else ever learns a series.
type token struct{ text string }

// parseToken accepts the right length and alphabet. Nothing is decoded and nothing
// normalised: the text is what is hashed, so a non-canonical encoding is just another
// token, which no session has.
func parseToken(text string) (token, bool) {
	if len(text) != tokenLen || text[0] != version || !wellFormed(text) {
		return token{}, false
	}
	return token{text}, true
}

// wellFormed reports whether text consists of the characters of base64url.
func wellFormed(text string) bool {
	for i := range len(text) {
		c := text[i]
		if c-'0' > 9 && c|0x20-'a' > 25 && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// newToken mints the token of a new session of the user; "" is a guest.
func newToken(user string) token {
	var random [2 + 16 + 32]byte
	_, _ = rand.Read(random[:]) // does not fail: crypto/rand ends the program first
	return makeToken(random, user)
}

// legacyToken is the token of the session that carries over the one that another kit
// knows by this id. It is derived: whoever holds the id gets the same one.
func legacyToken(id, user string) token {
	const size = 2 + 16 + 32
	key, err := hkdf.Key(sha256.New, []byte(id), nil, "gatekit legacy 1", size)
	if err != nil {
		panic("session: " + err.Error()) // HKDF-SHA-256 has 8,160 bytes, and ids are longer than FIPS 140 asks for
	}
	return makeToken([size]byte(key), user)
}

func makeToken(random [2 + 16 + 32]byte, user string) token {
	tag := randomTag(random[0], random[1])
	if user != "" {
		tag = userTag(user)
	}
	text := append(make([]byte, 0, tokenLen), version)
	text = append(text, tag...)
	text = base64.RawURLEncoding.AppendEncode(text, random[2:18])
	text = base64.RawURLEncoding.AppendEncode(text, random[18:])
	return token{string(text)}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func randomTag(a, b byte) string { return string([]byte{alphabet[a&63], alphabet[b&63]}) }

// userTag puts all sessions of a user into one slot: 12 bits of an unkeyed hash. So short
// that a dead cookie in a log confirms a guessed user to 1 in 4,096 only; and unkeyed,
// because with a key that is changed by mistake the calls that revoke a user would look
// elsewhere, find nothing and report success.
func userTag(user string) string {
	sum := lengthPrefixed("gatekit tag 1", user)
	return string([]byte{alphabet[sum[0]>>2], alphabet[sum[0]&3<<4|sum[1]>>4]})
}

func lengthPrefixed(domain, s string) [sha256.Size]byte {
	b := binary.AppendUvarint(append(make([]byte, 0, 128), domain...), uint64(len(s)))
	return sha256.Sum256(append(b, s...))
}

func (t token) tag() string { return t.text[versionLen : versionLen+tagLen] }

// member names the record: a hash of the series, 192 bits.
func (t token) member() string {
	var b [64]byte
	sum := sha256.Sum256(append(append(b[:0], "gatekit series 1"...), t.text[:seriesEnd]...))
	base64.RawURLEncoding.Encode(b[:32], sum[:24])
	return string(b[:32])
}

// hash is what the record knows the token by.
func (t token) hash() string {
	h := t.sum()
	return string(h[:])
}

func (t token) sum() (h [43]byte) {
	var b [96]byte
	sum := sha256.Sum256(append(append(b[:0], "gatekit token 1"...), t.text...))
	base64.RawURLEncoding.Encode(h[:], sum[:])
	return h
}

// successor derives the token that replaces this one from a nonce of the record. Each
// holder of this token derives the same, so parallel requests agree, and neither the
// token nor Redis alone gives it away.
func (t token) successor(nonce int64) token {
	mac := hmac.New(sha256.New, []byte(t.text[seriesEnd:]))
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(nonce))
	mac.Write([]byte("gatekit next 1"))
	mac.Write(b[:])
	return t.withSecret(mac.Sum(nil))
}

// fresh returns a token of the same series with a random secret.
func (t token) fresh() token {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	return t.withSecret(secret[:])
}

func (t token) withSecret(secret []byte) token {
	text := append(make([]byte, 0, tokenLen), t.text[:seriesEnd]...)
	return token{string(base64.RawURLEncoding.AppendEncode(text, secret))}
}

func (t token) zero() bool { return t.text == "" }

// redacted stands for a token wherever one is printed.
const redacted = "session-token(redacted)"

// String hides the token.
func (token) String() string { return redacted }

// Format hides the token from every verb, those that don't suit it included.
func (token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides the token from slog.
func (token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the token from encoding/json.
func (token) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
