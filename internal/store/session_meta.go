package store

import (
	"strconv"
	"strings"
	"time"
)

// SessionMeta holds the facts of a session that its record keeps beside the values. All
// times are by the server's clock and whole milliseconds. The scripts count in
// milliseconds; only this package converts them.
type SessionMeta struct {
	PublicID string        // 22 characters, base64url
	Created  time.Time     // when the session was made
	Seen     time.Time     // when its use was last noted
	Absolute time.Time     // when it ends at the latest
	Idle     time.Duration // it ends when its use was not noted for so long

	// Authenticated is when the user proved who they are. It is zero for a guest, and if
	// the time is not known.
	Authenticated time.Time
	Level         int // of authentication, 0 for a guest

	UserAgent, Label, IP string // of the device, as given at the login; "" where not given
}

// Expires returns when the session ends unless its use is noted again.
func (m *SessionMeta) Expires() time.Time {
	if idle := m.Seen.Add(m.Idle); idle.Before(m.Absolute) {
		return idle
	}
	return m.Absolute
}

// SessionClockBack is how far ahead of the clock a stored time may lie. A time that lies
// further ahead shows that the clock stepped back. The number is part of the layout:
// parts/session.lua has the same one.
const SessionClockBack = 5 * time.Second

// instantOf converts unix milliseconds of a script. 0 stands for a time that is not known
// and becomes the zero time.
func instantOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// milliseconds rounds up, so that no deadline of the scripts is 0.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// parseMeta reads the fields !m and !t of a record: "<id>.<created>.<absolute>.<idle>"
// and "<seen>". A later version may append to !m. parseMeta reports whether they hold a
// session.
func (m *SessionMeta) parseMeta(meta, seen string) bool {
	id, rest, ok := strings.Cut(meta, ".")
	var numbers [3]int64
	for i := range numbers {
		var digits string
		digits, rest, _ = strings.Cut(rest, ".")
		n, err := strconv.ParseUint(digits, 10, 53)
		ok = ok && err == nil
		numbers[i] = int64(n)
	}
	if !ok || id == "" {
		return false
	}
	last, err := strconv.ParseInt(seen, 10, 64)
	if err != nil {
		return false
	}
	m.PublicID, m.Created, m.Seen = id, time.UnixMilli(numbers[0]), time.UnixMilli(last)
	m.Absolute, m.Idle = time.UnixMilli(numbers[1]), time.Duration(numbers[2])*time.Millisecond
	return true
}

// parseAuth reads the field !a of a record: "<authenticated>.<level>". A guest has none.
// A text that cannot be parsed counts as none.
func (m *SessionMeta) parseAuth(text string) {
	if text == "" {
		return // an error of strconv costs an allocation
	}
	if at, level, ok := parsePair(text); ok {
		m.Authenticated, m.Level = instantOf(at), int(level)
	}
}

// parsePair reads "<number>.<number>". It ignores what a later version may have appended.
func parsePair(text string) (first, second int64, ok bool) {
	a, rest, _ := strings.Cut(text, ".")
	b, _, _ := strings.Cut(rest, ".")
	x, err1 := strconv.ParseUint(a, 10, 53)
	y, err2 := strconv.ParseUint(b, 10, 53)
	return int64(x), int64(y), err1 == nil && err2 == nil
}
