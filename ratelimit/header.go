package ratelimit

import (
	"net/http"
	"strconv"
	"time"
)

// HeaderVersion is the form of the RateLimit and RateLimit-Policy header fields. You
// choose it because the Internet-Draft still changes. The next draft may rename
// parameters, and an update of this module must not change what clients read.
type HeaderVersion uint8

const (
	// Draft10 writes the fields of draft-ietf-httpapi-ratelimit-headers-10:
	//
	//	RateLimit-Policy: "api-second";q=10;w=1, "api-hour";q=1000;w=3600
	//	RateLimit: "api-second";r=9;t=1, "api-hour";r=412;t=7
	//
	// The name of an item is that of its policy, and of the limit too if the policy has
	// several. q is the quota. w is the window in seconds, or the length of the present
	// period of a calendar; it is left out if it is not whole seconds. r is the number of
	// permits that remain. t is how many seconds, rounded up, until there are more; it is
	// left out if nothing is spent. If the [LimitState.Remaining] of a limit is
	// [Unknown], it has no item in RateLimit. A [Concurrent] limit has
	// qu="concurrent-requests" in place of w, and no t.
	Draft10 HeaderVersion = iota

	// NoHeaders writes neither field.
	NoHeaders
)

// Names of header fields in the form that net/http stores them. On the wire, upper and
// lower case mean the same.
const (
	fieldPolicy = "Ratelimit-Policy"
	fieldState  = "Ratelimit"
)

// maxInteger is the largest Integer of a structured field, RFC 9651.
const maxInteger = 999_999_999_999_999

func appendInteger(b []byte, n int64) []byte {
	return strconv.AppendInt(b, min(max(n, 0), maxInteger), 10)
}

// seconds returns d in seconds, rounded up.
func seconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return n
}

// itemName is the name of a limit in header fields and in problem details.
func itemName(policy string, limits []Limit, i int) string {
	if len(limits) > 1 {
		return policy + "-" + limits[i].Name
	}
	return policy
}

// appendItemName appends the name of a limit. Names need no escapes: see [Limit.Name].
func appendItemName(b []byte, p *Policy, i int) []byte {
	b = append(b, '"')
	b = append(b, p.items[i]...)
	return append(b, '"')
}

// appendPolicy appends the items of RateLimit-Policy. They depend on the policy alone, so
// a gate encodes them once. Only the length of a calendar's period depends on the
// decision.
func appendPolicy(b []byte, p *Policy, limits []LimitState) []byte {
	for i, l := range limits {
		b = appendItemName(appendSeparator(b), p, i)
		b = appendInteger(append(b, ";q="...), l.Quota)
		if l.Algorithm == Concurrent {
			b = append(b, `;qu="concurrent-requests"`...)
		} else if l.Window%time.Second == 0 {
			b = appendInteger(append(b, ";w="...), int64(l.Window/time.Second))
		}
	}
	return b
}

// appendState appends the items of RateLimit.
func appendState(b []byte, p *Policy, limits []LimitState) []byte {
	for i, s := range limits {
		if s.Remaining == Unknown {
			continue
		}
		b = appendItemName(appendSeparator(b), p, i)
		b = appendInteger(append(b, ";r="...), s.Remaining)
		if s.ResetAfter > 0 {
			b = appendInteger(append(b, ";t="...), seconds(s.ResetAfter))
		}
	}
	return b
}

func appendSeparator(b []byte) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	return b
}

// addToList adds items to a list field. It keeps the field on one line, because many
// clients read only the first line.
func addToList(h http.Header, name, items string) {
	if old := h[name]; len(old) > 0 {
		old[len(old)-1] += ", " + items
		return
	}
	h[name] = []string{items}
}

// header adds the header fields about the limits, whatever the response's status: the
// fields of [GateOptions.Headers] and, with [GateOptions.LegacyHeaders], the legacy ones.
//
// If another gate has set the fields already, they keep its items. The legacy fields show
// the limit that has the fewest permits left. header is called once, before the first
// byte of the response.
func (v *verdict) header(h http.Header) {
	if v.gate == nil {
		return
	}
	if v.gate.opts.Headers == Draft10 {
		v.addDraft10(h)
	}
	if v.gate.opts.LegacyHeaders {
		v.setLegacy(h)
	}
}

func (v *verdict) addDraft10(h http.Header) {
	var room [256]byte
	b := room[:0]
	for d := range v.shown {
		p := d.Policy()
		policy := v.gate.fields[p]
		if policy == "" { // chosen by a PolicyFunc, or with a calendar
			policy = string(appendPolicy(nil, p, d.Limits))
		}
		addToList(h, fieldPolicy, policy)
		b = appendState(b, p, d.Limits)
	}
	if len(b) > 0 {
		addToList(h, fieldState, string(b))
	}
}

// shown yields the decisions that the header fields show. It leaves out dry runs. If
// several policies have one name, their items would have one name too, so it yields the
// first.
func (v *verdict) shown(yield func(*Decision) bool) {
	for i := range v.decisions {
		if !v.dryRun(i) && !v.namedBefore(i) && !yield(&v.decisions[i]) {
			return
		}
	}
}

func (v *verdict) namedBefore(i int) bool {
	for j := range i {
		if !v.dryRun(j) && v.decisions[j].Policy().name == v.decisions[i].Policy().name {
			return true
		}
	}
	return false
}

// setLegacy writes the X-RateLimit fields of the limit that has the fewest permits left.
func (v *verdict) setLegacy(h http.Header) {
	var least *LimitState
	for d := range v.shown {
		for i := range d.Limits {
			if s := &d.Limits[i]; s.Remaining != Unknown && (least == nil || s.Remaining < least.Remaining) {
				least = s
			}
		}
	}
	if least == nil {
		return
	}
	if old, err := strconv.ParseInt(h.Get("X-Ratelimit-Remaining"), 10, 64); err == nil && old <= least.Remaining {
		return
	}
	h.Set("X-Ratelimit-Limit", strconv.FormatInt(least.Quota, 10))
	h.Set("X-Ratelimit-Remaining", strconv.FormatInt(least.Remaining, 10))
	h.Set("X-Ratelimit-Reset", strconv.FormatInt(seconds(least.ResetAfter), 10))
}

const maxJitter = 5 * time.Second

// retrySeconds returns the value of Retry-After; random is 0 to 1. The value is at least
// 1 and never before the request can pass. A random delay of up to a tenth of d, at most
// 5 s, is added, so that clients which were denied together do not come back together.
func retrySeconds(d time.Duration, random float64) int64 {
	d += time.Duration(random * float64(min(d/10, maxJitter)))
	return max(seconds(d), 1)
}
