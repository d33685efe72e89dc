package store

import (
	"context"
	"fmt"
	"time"
)

// SessionKeys names a session, or a user, for the session scripts. All keys made of it
// are in the slot of Tag.
type SessionKeys struct {
	Tag    string // 2 characters of the token: the hash tag
	Member string // 32 characters, the hash of the token's series; "" for all sessions of a user
	User   string // the user id, which key names contain hashed; "" for a guest

	// Now replaces the server's clock, unix ms. Only tests set it; 0 asks the server.
	Now int64
}

// SessionStatus is the result of a session script.
type SessionStatus int64

// The statuses. Only SessionOK means that the script did what it was asked. With any
// other status it changed nothing, except that it may have removed a session that it
// found dead, and that [Store.SessionConfirm] revokes a session on SessionReplay.
const (
	SessionOK         SessionStatus = 1
	SessionGone       SessionStatus = 2  // no such session: never made, expired, revoked, or older than an epoch
	SessionSuperseded SessionStatus = 3  // its own browser ended it by a login or logout, less than 10 s ago
	SessionReplay     SessionStatus = 4  // the token is no longer a token of the session
	SessionBadType    SessionStatus = 5  // cannot add: the value is no integer, or the sum is beyond 2^53
	SessionStale      SessionStatus = 6  // the login was authenticated before the user was revoked
	SessionCapReached SessionStatus = 7  // the user already has as many sessions as allowed
	SessionConflict   SessionStatus = 8  // the value is not the expected one
	SessionNotDue     SessionStatus = 9  // no successor to hand out: the token is one, or one brings an elevation
	SessionPrevious   SessionStatus = 10 // the token is the one before the current, within its grace time
)

// SessionReply is what every session script replies.
type SessionReply struct {
	Status SessionStatus // what the script did
	Now    time.Time     // the server's clock; zero if a lost reply was settled without it
}

// A Field is one value of a session. Names that begin with "!" are the kit's own, see
// [SessionNew] and [SessionRecord].
type Field struct {
	Name  string // see [SessionCommit]
	Value string // any bytes
}

// A Delta is a number to add to an integer value of a session. A missing value counts as
// 0.
type Delta struct {
	Name string // of the value
	Add  int64  // -2^53 .. 2^53
}

// beginSession starts a call of a script. Its keys are the record, then, for a user's
// session, the index and the epoch, then the keys in more.
func (s *Store) beginSession(ctx context.Context, script *script, keys SessionKeys, more ...string) *run {
	n := 1
	if keys.User != "" {
		n = 3
	}
	c := s.begin(ctx, script, n+len(more))
	var room [256]byte
	joined := s.appendSessionKey(room[:0], 's', keys.Tag, keys.Member)
	if record := len(joined); n == 1 {
		c.keys(string(joined), record)
	} else {
		user := MakeTag("user", keys.User)
		joined = s.appendSessionKey(joined, 'u', keys.Tag, string(user[:]))
		index := len(joined) - record
		joined = s.appendSessionKey(joined, 'e', keys.Tag, string(user[:]))
		c.keys(string(joined), record, index, len(joined)-record-index)
	}
	for _, key := range more {
		c.addKey(key)
	}
	return c
}

// texts appends those of the pairs of name and value whose value is not empty.
func (c *run) texts(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			c.words = append(c.words, pairs[i], pairs[i+1])
		}
	}
}

// fields appends names and values to the command, by pointer.
func (c *run) fields(fields []Field) {
	for i := range fields {
		c.words = append(c.words, &fields[i].Name, &fields[i].Value)
	}
}

func sessionReply(r []int64) SessionReply { return SessionReply{SessionStatus(r[0]), instantOf(r[1])} }

// sessionInstant returns ARGV[1] of the session scripts, µs.
func sessionInstant(keys SessionKeys) any { return instant(keys.Now * 1000) }

func checkFields(fields []Field) error {
	for i := range fields {
		if err := checkName(fields[i].Name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || name[0] == '!' {
		return fmt.Errorf("gatekit: session field %q: want a name that does not begin with an exclamation mark", name)
	}
	return nil
}
