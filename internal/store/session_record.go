package store

import (
	"bytes"
	"context"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A SessionRecord is a session as it was loaded. Many goroutines may read it at once.
//
// Beside the values it has the fields of the kit: !m public id, created, absolute
// deadline, idle timeout; !o owner; !s hash of the current token; !t last seen; !e
// epochs; !a time and level of authentication; !d user agent; !l label; !i address; !x
// the older session that a login is from; !n nonce of the last commit. Around a rotation
// there are !p hash of the previous token, !r since when that token is the previous one,
// !q hash of the token on offer, !w its nonce, !y when it was handed out, !v time and
// level of its elevation. A marker has !g only.
type SessionRecord struct {
	Found      bool // there is a session, and the fields below are set
	Superseded bool // the session ended less than 10 s ago, see [SessionSuperseded]

	SessionMeta

	UserEpoch, GlobalEpoch int64 // the epochs when the session was made, opaque

	raw    []byte
	all    string // a copy of raw; strings are slices of it, so they cost one allocation
	fields []span
}

// span is one field, as offsets into the reply.
type span struct{ name, nameEnd, value, valueEnd int }

// SessionLoad reads the whole record. It does not decide whether the session lives: that
// needs the server's clock, which only a script can read, and a record may outlive its
// deadlines by as much as the clocks differ. Call [Store.SessionTouch] when in doubt.
func (s *Store) SessionLoad(ctx context.Context, keys SessionKeys) (SessionRecord, error) {
	c := s.begin(ctx, sessionLoad, 0)
	var room [128]byte
	c.names[0] = string(s.appendSessionKey(room[:0], 's', keys.Tag, keys.Member))
	c.words = append(c.room[:0], "hgetall", &c.names[0])
	var raw []byte
	err := s.repeat(c, func() (err error) {
		raw, err = s.hgetall(c)
		return err
	})
	var record SessionRecord
	if err == nil && !record.parse(raw) {
		err = c.malformed()
	}
	return record, err
}

// SessionLoadMany is [Store.SessionLoad] of several sessions in one round trip to each
// node of a cluster. If one session cannot be read, it returns the error and no session.
func (s *Store) SessionLoadMany(ctx context.Context, keys []SessionKeys) ([]SessionRecord, error) {
	c := s.begin(ctx, sessionLoad, 0)
	var cmds []*redis.MapStringStringCmd
	err := s.repeat(c, func() error {
		pipe := s.client.Pipeline()
		cmds = make([]*redis.MapStringStringCmd, len(keys))
		for i, k := range keys {
			cmds[i] = redis.NewMapStringStringCmd(c, "hgetall", s.recordKey(k))
			cmds[i].SetFirstKeyPos(1)
			_ = pipe.Process(c, mapCommand{cmds[i]}) // queues
		}
		err := s.exec(&c.deadline, pipe)
		for i := 0; err == nil && i < len(cmds); i++ {
			err = cmds[i].Err()
		}
		return err
	})
	if err != nil { // the client may still own cmds
		return nil, err
	}
	records := make([]SessionRecord, len(keys))
	for i := range records {
		if !records[i].parse(encodePairs(cmds[i].Val())) {
			return nil, c.malformed()
		}
	}
	return records, nil
}

// hgetall returns the reply as it came; parse reads it in place. A map would cost three
// times the allocations.
func (s *Store) hgetall(c *run) ([]byte, error) {
	cmd := redis.NewRawCmd(c, c.words...)
	cmd.SetFirstKeyPos(1)
	if err := s.send(c, rawCommand{cmd}); err != nil {
		return nil, err
	}
	raw := cmd.Val()
	if len(raw) == 0 || raw[0] != '-' {
		return raw, nil
	}
	// If the server replies to a raw command with an error, the client returns it as
	// bytes, and does not follow a redirect. So the command is sent again, parsed.
	pairs := redis.NewMapStringStringCmd(c, c.words...)
	pairs.SetFirstKeyPos(1)
	if err := s.process(c, mapCommand{pairs}); err != nil {
		return nil, err
	}
	return encodePairs(pairs.Val()), nil
}

// rawCommand and mapCommand are commands that the client must send once. The store
// decides whether to send them again.
type rawCommand struct{ *redis.RawCmd }

func (rawCommand) NoRetry() bool { return true }

type mapCommand struct{ *redis.MapStringStringCmd }

func (mapCommand) NoRetry() bool { return true }

func encodePairs(pairs map[string]string) []byte {
	b := []byte{'%'}
	b = append(strconv.AppendInt(b, int64(len(pairs)), 10), "\r\n"...)
	for name, value := range pairs {
		for _, text := range []string{name, value} {
			b = append(strconv.AppendInt(append(b, '$'), int64(len(text)), 10), "\r\n"...)
			b = append(append(b, text...), "\r\n"...)
		}
	}
	return b
}

// parse reads a reply to HGETALL, an array or a map of bulk strings, and reports whether
// raw is one. A record whose meta fields cannot be read counts as not found.
func (r *SessionRecord) parse(raw []byte) bool {
	*r = SessionRecord{raw: raw, all: string(raw)}
	at, n, ok := header(raw, 0, '*')
	if ok {
		ok = n%2 == 0
		n /= 2
	} else {
		at, n, ok = header(raw, 0, '%')
	}
	if !ok || n > len(raw)/10 { // an empty field takes 10 bytes
		return false
	}
	r.fields = make([]span, n)
	for i := range r.fields {
		f := &r.fields[i]
		if f.name, f.nameEnd, ok = bulk(raw, at); !ok {
			return false
		}
		if f.value, f.valueEnd, ok = bulk(raw, f.nameEnd+2); !ok {
			return false
		}
		at = f.valueEnd + 2
	}
	if at != len(raw) {
		return false
	}
	r.readMeta()
	return true
}

// header reads "<kind><digits>\r\n" at an offset.
func header(raw []byte, at int, kind byte) (next, n int, ok bool) {
	if at >= len(raw) || raw[at] != kind {
		return 0, 0, false
	}
	end := at + 1
	for ; end < len(raw) && raw[end] >= '0' && raw[end] <= '9' && end-at <= 9; end++ {
		n = n*10 + int(raw[end]-'0')
	}
	if end == at+1 || !bytes.HasPrefix(raw[end:], []byte("\r\n")) {
		return 0, 0, false
	}
	return end + 2, n, true
}

func bulk(raw []byte, at int) (start, end int, ok bool) {
	start, n, ok := header(raw, at, '$')
	if !ok || n > len(raw)-start-2 || raw[start+n] != '\r' || raw[start+n+1] != '\n' {
		return 0, 0, false
	}
	return start, start + n, true
}

// readMeta reads the fields of the kit. A record that lacks a field which every session
// has counts as not found.
func (r *SessionRecord) readMeta() {
	var meta, seen, epochs, auth string
	for _, f := range r.fields {
		value := r.all[f.value:f.valueEnd]
		switch r.all[f.name:f.nameEnd] {
		case "!m":
			meta = value
		case "!t":
			seen = value
		case "!e":
			epochs = value
		case "!a":
			auth = value
		case "!d":
			r.UserAgent = value
		case "!l":
			r.Label = value
		case "!i":
			r.IP = value
		case "!g":
			r.Superseded = true
		}
	}
	user, global, ok := parsePair(epochs)
	if !ok || !r.parseMeta(meta, seen) {
		r.SessionMeta = SessionMeta{}
		return
	}
	r.Found, r.Superseded, r.UserEpoch, r.GlobalEpoch = true, false, user, global
	r.parseAuth(auth)
}

// Value returns the bytes of a field. They are part of the record: do not change them.
func (r *SessionRecord) Value(name string) ([]byte, bool) {
	f := r.find(name)
	if f == nil {
		return nil, false
	}
	return r.raw[f.value:f.valueEnd:f.valueEnd], true
}

func (r *SessionRecord) find(name string) *span {
	for i := range r.fields {
		if f := &r.fields[i]; r.all[f.name:f.nameEnd] == name {
			return f
		}
	}
	return nil
}

// Values yields the names and bytes of all values, without the fields of the kit.
func (r *SessionRecord) Values() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, f := range r.fields {
			if f.name < f.nameEnd && r.raw[f.name] == '!' {
				continue
			}
			if !yield(r.all[f.name:f.nameEnd], r.raw[f.value:f.valueEnd:f.valueEnd]) {
				return
			}
		}
	}
}

// From returns the older session that this login is from. After [Store.SessionSettle]
// there is none.
func (r *SessionRecord) From() (keys SessionKeys, ok bool) {
	text := r.text("!x")
	kind, rest, _ := strings.Cut(text, ".")
	keys.Tag, keys.Member, _ = strings.Cut(rest, ".")
	if len(keys.Tag) != 2 || len(keys.Member) != memberLength {
		return SessionKeys{}, false
	}
	if kind == "u" {
		keys.User = r.Owner()
	}
	return keys, true
}

// Owner returns the user id, "" for a guest.
func (r *SessionRecord) Owner() string { return r.text("!o") }

// SessionTokens are the hashes of the tokens of a session. They are part of the record:
// do not change them.
type SessionTokens struct {
	Current, Previous, Pending []byte // hashes; nil if there is none

	Confirmed time.Time // when Previous became the previous token; zero if there is none
	Issued    time.Time // when Pending was last handed out; zero if there is none
	Nonce     int64     // the nonce of Pending; 0 if there is none, or if it brings an elevation
}

// CurrentToken returns the hash of the current token, nil if there is none. The hash is
// part of the record: do not change it. The call costs less than [SessionRecord.Tokens].
func (r *SessionRecord) CurrentToken() []byte {
	hash, _ := r.Value("!s")
	return hash
}

// Tokens returns the hashes of the tokens.
func (r *SessionRecord) Tokens() (t SessionTokens) {
	t.Current = r.CurrentToken()
	t.Previous, _ = r.Value("!p")
	t.Pending, _ = r.Value("!q")
	t.Confirmed, t.Issued, t.Nonce = instantOf(r.number("!r")), instantOf(r.number("!y")), r.number("!w")
	return t
}

// number returns a numeric field, 0 if there is none. Most records have none, so it does
// not call strconv then, whose error costs an allocation.
func (r *SessionRecord) number(name string) int64 {
	text := r.text(name)
	if text == "" {
		return 0
	}
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

func (r *SessionRecord) text(name string) string {
	f := r.find(name)
	if f == nil {
		return ""
	}
	return r.all[f.value:f.valueEnd]
}
