package ratelimit

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A KeyFunc returns the key whose quota a request uses up. Many goroutines call it at
// once. It should not wait on anything.
//
// An empty key means that the rule does not apply to the request: the client sent no API
// key, or nobody is logged in. The other rules still apply. If the client can leave the
// key of a rule out, add a second rule whose key it cannot leave out, such as [ByIP].
//
// An error means that the client cannot be identified. The request is answered 400 and
// nothing is spent.
//
// All keys of a policy share one name space, whatever function made them. The functions
// of this package put their kind first, so that no client can choose another's key. Do
// the same in your own: Join("tenant", id). To [Limiter.Reset] a key by hand, build it
// the same way:
//
//	ByIP      Join("ip", "192.0.2.1") or Join("ip", "2001:db8::/64")
//	ByHeader  Join("header", "X-Api-Key", value)
//	ByUser    Join("user", id)
//	Everyone  Join("everyone")
//
// With [Rule.PerRoute] the key is Join("route", pattern, key).
type KeyFunc func(r *http.Request) (string, error)

// Join makes one key of several parts, any bytes. Two different lists of parts never make
// the same key.
func Join(parts ...string) string {
	size := 0
	for _, p := range parts {
		size += len(p) + binary.MaxVarintLen64
	}
	var b strings.Builder
	b.Grow(size)
	var length [binary.MaxVarintLen64]byte
	for _, p := range parts {
		b.Write(length[:binary.PutUvarint(length[:], uint64(len(p)))])
		b.WriteString(p)
	}
	return b.String()
}

// neverInHeader are fields that net/http takes out of a request's header.
var neverInHeader = []string{"Host", "Transfer-Encoding", "Trailer"}

// ByHeader keys by the value of a request header field, for example an API key. A request
// without the field, or with an empty one, has no key. If the request has several fields
// of the name, the first counts, which is the one that [http.Header.Get] returns; the
// handler must read the same one. Values are compared byte by byte, so upper and lower
// case differ.
//
// A client can send another value with each request, unless something before the rule
// verifies it. Put a rule [ByIP] beside this one.
//
// It panics on a name that no request can have: one that is no field name, and Host,
// Transfer-Encoding and Trailer, which net/http takes out of the header.
func ByHeader(name string) KeyFunc {
	if !fieldName.MatchString(name) {
		panic(fmt.Sprintf("ratelimit: ByHeader(%q): not the name of a header field", name))
	}
	name = http.CanonicalHeaderKey(name)
	if slices.Contains(neverInHeader, name) {
		panic(fmt.Sprintf("ratelimit: ByHeader(%q): net/http takes this field out of the header: write a KeyFunc that reads r.Host, r.TransferEncoding or r.Trailer", name))
	}
	return func(r *http.Request) (string, error) {
		v := r.Header[name]
		if len(v) == 0 || v[0] == "" {
			return "", nil
		}
		return Join("header", name, v[0]), nil
	}
}

// ByUser keys by the user id that the function returns, for example that of the session.
// A request for which it returns an empty id has no key. It panics when id is nil.
func ByUser(id func(*http.Request) string) KeyFunc {
	if id == nil {
		panic("ratelimit: ByUser(nil): want a function that returns the user's id")
	}
	return func(r *http.Request) (string, error) {
		user := id(r)
		if user == "" {
			return "", nil
		}
		return Join("user", user), nil
	}
}

// Everyone gives all requests one key. That limits the whole service, or with
// [Rule.PerRoute] each route. One client can use up the quota for all others.
func Everyone() KeyFunc {
	key := Join("everyone")
	return func(*http.Request) (string, error) { return key, nil }
}

// All makes one key of several: All(ByUser(id), ByHeader("X-Device")) counts each device
// of each user. A request that lacks one of the keys has no key. If one of the functions
// returns an error, so does All. It panics if there are no keys or one is nil.
func All(keys ...KeyFunc) KeyFunc {
	if len(keys) == 0 {
		panic("ratelimit: All(): want at least one KeyFunc, or Everyone() for a limit that all share")
	}
	for i, key := range keys {
		if key == nil {
			panic(fmt.Sprintf("ratelimit: All: KeyFunc %d is nil", i))
		}
	}
	return func(r *http.Request) (string, error) {
		parts := make([]string, 1, len(keys)+1)
		parts[0] = "all"
		for _, key := range keys {
			part, err := key(r)
			if err != nil || part == "" {
				return "", err
			}
			parts = append(parts, part)
		}
		return Join(parts...), nil
	}
}
