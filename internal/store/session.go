package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SessionKeys name a session, or a user, to the session scripts. Everything they build
// lies in the slot of Tag.
type SessionKeys struct {
	Tag    string // 2 characters of the token: the hash tag
	Member string // 32 characters, the hash of the token's series; "" where a whole user is meant
	User   string // the user id, hashed in key names; "" for a guest

	// Now replaces the server's clock, unix ms. Only tests set it; 0 asks the server.
	Now int64
}

// SessionStatus is how a session script decided.
type SessionStatus int64

// The statuses. But for SessionOK nothing was changed, other than that a session found
// dead was removed.
const (
	SessionOK         SessionStatus = 1
	SessionGone       SessionStatus = 2  // no such session: never there, expired, revoked, or older than an epoch
	SessionSuperseded SessionStatus = 3  // ended by a login, re-login or logout of its own browser, less than 10 s ago
	SessionReplay     SessionStatus = 4  // the token is no token of the session any more
	SessionBadType    SessionStatus = 5  // a counter was added to a value that is no integer, or beyond 2^53
	SessionStale      SessionStatus = 6  // the login was authenticated before the user was revoked
	SessionCapReached SessionStatus = 7  // the user has as many sessions as allowed
	SessionConflict   SessionStatus = 8  // the value is not the expected one
	SessionNotDue     SessionStatus = 9  // a successor is on its way already, of another kind
	SessionPrevious   SessionStatus = 10 // the token before the current one, within its grace time
)

// SessionReply is what every session script replies.
type SessionReply struct {
	Status SessionStatus // how it went
	Now    time.Time     // the server's clock; zero when a lost reply was settled without it
}

// CapPolicy is what a login does when the user has as many sessions as allowed.
type CapPolicy byte

// The policies.
const (
	CapEvictOldest      CapPolicy = 'o' // end the session created first
	CapEvictLeastRecent CapPolicy = 'l' // end the session not seen for longest
	CapRefuse           CapPolicy = 'r' // refuse the login
)

// A Field is one value of a session. Names that begin with "!" are the kit's own, see
// [SessionCreate] and [SessionRecord].
type Field struct {
	Name  string // see [SessionCommit]
	Value string // any bytes
}

// A Delta is added to an integer value of a session; a missing value counts as 0.
type Delta struct {
	Name string // of the value
	Add  int64  // -2^53 .. 2^53
}

// A SessionCreate is the creation of a session: a guest's, or with Keys.User a login.
type SessionCreate struct {
	Keys      SessionKeys   // of the new session; its series must be fresh random bytes
	PublicID  string        // 22 characters, base64url
	TokenHash string        // 43 characters, base64url
	Idle      time.Duration // idle timeout, > 0
	Life      time.Duration // absolute timeout, > 0
	Values    []Field       // the first values

	// GlobalEpoch as known when the request began.
	GlobalEpoch int64

	// Old is the id of another kit's session that this one carries over, hashed in the
	// key name; "" for none. The series is derived from it then.
	Old string
	// OldLife is how long the old session may still be presented, no less than Life: so
	// long it is remembered that it was carried over, so that it happens once.
	OldLife time.Duration

	// What follows is for logins only.

	// Authenticated is when the credentials were presented, at the latest the beginning
	// of the request that checked them. A user revoked since is not logged in. Its
	// monotonic reading, if there is one, keeps wall clocks out of it. Zero means now;
	// 1970 or before, an unknown time, so that any revocation counts as later.
	Authenticated time.Time
	// KnownEpoch is the user's epoch that the caller has set itself since Authenticated;
	// 0 if none.
	KnownEpoch int64
	Level      int // authentication level

	Cap       int       // sessions a user may have, 0 .. 100; 0 is unlimited
	CapPolicy CapPolicy // 0 means [CapEvictOldest]

	// Replace is the member of a session of the same user that the caller drops once the
	// login has reached its browser; "" for none. It does not count against the cap.
	Replace string

	// From is the session that the browser has until it shows the new token: a guest's,
	// or the same user's; zero for none. The record says so, see [SessionRecord.From],
	// and of several logins from one session the first to be used ends the others, see
	// [Store.SessionSettle].
	From SessionKeys

	// The device, as lists show it. Longer texts than 64 bytes make the record three
	// times as big.
	UserAgent, Label, IP string
}

// SessionCreateReply is the reply of [Store.SessionCreate].
type SessionCreateReply struct {
	SessionReply
	Epoch   int64 // the user's epoch
	Evicted int   // sessions ended to keep the cap
}

// SessionCreate makes the record and, for a login, its index entry: SessionOK;
// SessionStale and SessionCapReached made nothing. A reply that was lost is asked for
// again: the random series makes the second run find the first. Carrying over is
// SessionOK also when it was done before, and SessionGone or SessionSuperseded when what
// was carried over has ended.
func (s *Store) SessionCreate(ctx context.Context, create SessionCreate) (SessionCreateReply, error) {
	if err := checkFields(create.Values); err != nil {
		return SessionCreateReply{}, err
	}
	if create.Idle < time.Millisecond || create.Life < time.Millisecond {
		return SessionCreateReply{}, errors.New("gatekit: session_create: Idle and Life: want 1ms or more")
	}
	if create.Old != "" && create.OldLife < create.Life {
		return SessionCreateReply{}, errors.New("gatekit: session_create: OldLife: want Life or more")
	}
	if create.Authenticated.IsZero() {
		create.Authenticated = time.Now()
	}
	r, err := s.do(s.sessionCreate(ctx, create), 5)
	if err != nil {
		return SessionCreateReply{}, err
	}
	reply := SessionCreateReply{sessionReply(r), r[2], int(r[3])}
	// The script knew only the time that had passed when it was sent. Now that the reply
	// is there, a revocation within the round trip itself may have come first or second.
	// Another run finds the session made and tells more if it is quicker.
	for tries := 1; reply.Status == SessionOK && create.maybeStale(r[2], r[4]); tries++ {
		if tries < 5 {
			if r, err = s.do(s.sessionCreate(ctx, create), 5); err == nil && SessionStatus(r[0]) == SessionOK {
				continue
			}
		}
		// The token never left this process: if the drop fails, the session is nobody's
		// and idles out.
		_, _ = s.SessionDrop(ctx, create.Keys, false, "stale")
		reply.Status = SessionStale
	}
	return reply, nil
}

// maybeStale reports whether the epoch may be later than Authenticated, by the server's
// clock of a reply that has just come.
func (create *SessionCreate) maybeStale(epoch, now int64) bool {
	if create.Keys.User == "" || epoch <= create.KnownEpoch || epoch > now+SessionClockBack.Microseconds() {
		return false
	}
	return epoch >= now-create.elapsed()
}

// longAgo is before all instants of an epoch, µs.
const longAgo = 9e15

// elapsed is the time since Authenticated, µs, rounded up.
func (create *SessionCreate) elapsed() int64 {
	if create.Authenticated.Unix() <= 0 {
		return longAgo
	}
	return max(0, time.Since(create.Authenticated).Microseconds()+1)
}

func (s *Store) sessionCreate(ctx context.Context, create SessionCreate) *run {
	keys := create.Keys
	c := s.beginSession(ctx, sessionCreate, keys)
	if keys.User != "" {
		s.addKey(c, s.recordPrefix(keys.Tag))
	}
	kept, use := int64(0), ""
	switch {
	case create.Old != "":
		s.addKey(c, s.carriedKey(keys.Tag, create.Old))
		kept, use = milliseconds(create.OldLife), "carried"
	case create.From.Member != "" && keys.User != "":
		s.addKey(c, s.loginsKey(keys.Tag, create.From.Member))
		kept, use = milliseconds(min(create.Idle, create.Life)), "login" // longer than that it is not alive unless used
	}
	c.words[2] = len(c.words) - 3
	policy := create.CapPolicy
	if policy == 0 {
		policy = CapEvictOldest
	}
	c.words = append(c.words, sessionInstant(keys), create.GlobalEpoch, s.channel(), create.PublicID, create.TokenHash,
		milliseconds(create.Idle), milliseconds(create.Life), create.Level,
		create.elapsed(), create.KnownEpoch,
		create.Cap, string(rune(policy)), keys.User, create.Replace, kept, use)
	for _, f := range []Field{{"!d", create.UserAgent}, {"!l", create.Label}, {"!i", create.IP}, {"!x", create.from()}} {
		if f.Value != "" {
			c.words = append(c.words, f.Name, f.Value)
		}
	}
	c.fields(create.Values)
	return c
}

// from is the field of the record that names the older session: "g.<tag>.<member>" for a
// guest's, "u..." for the same user's.
func (create *SessionCreate) from() string {
	switch {
	case create.From.Member == "" || create.Keys.User == "":
		return ""
	case create.From.User == "":
		return "g." + create.From.Tag + "." + create.From.Member
	}
	return "u." + create.From.Tag + "." + create.From.Member
}

// SessionSettle is due when the token of a login from an older session is used for the
// first time, after that session was dropped: it ends other logins from it, and the
// record says no more where it is from.
func (s *Store) SessionSettle(ctx context.Context, keys, from SessionKeys) (SessionReply, error) {
	user := MakeTag("user", keys.User)
	c := s.begin(ctx, sessionSettle, 4)
	s.addKey(c, string(s.appendSessionKey(nil, 's', keys.Tag, keys.Member)))
	s.addKey(c, string(s.appendSessionKey(nil, 'u', keys.Tag, string(user[:]))))
	s.addKey(c, s.recordPrefix(keys.Tag))
	s.addKey(c, s.loginsKey(keys.Tag, from.Member))
	c.words = append(c.words, sessionInstant(keys), s.channel())
	r, err := s.do(c, 2)
	if err != nil {
		return SessionReply{}, err
	}
	return sessionReply(r), nil
}

// A SessionTouch asks to note that the session was seen now.
type SessionTouch struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	// Every is how long after the last touch the next one is written. The deadlines are
	// checked in any case.
	Every time.Duration
	// Idle raises an idle time that is shorter, which writes the touch in any case; 0
	// leaves it.
	Idle time.Duration
}

// SessionTouchReply is the reply of [Store.SessionTouch].
type SessionTouchReply struct {
	SessionReply
	Seen     time.Time // when the use of the session was last noted
	Absolute time.Time // when the session ends at the latest
}

// SessionTouch notes that the session was seen, which moves its idle deadline and never
// the absolute one, and decides by the server's clock whether it lives: SessionOK,
// SessionGone or SessionSuperseded.
func (s *Store) SessionTouch(ctx context.Context, touch SessionTouch) (SessionTouchReply, error) {
	c := s.beginSession(ctx, sessionTouch, touch.Keys)
	c.words = append(c.words, sessionInstant(touch.Keys), touch.GlobalEpoch, milliseconds(touch.Every), milliseconds(touch.Idle))
	r, err := s.do(c, 4)
	if err != nil {
		return SessionTouchReply{}, err
	}
	return SessionTouchReply{sessionReply(r), instantOf(r[2]), instantOf(r[3])}, nil
}

// SessionGrace is how long the previous token is still accepted after its successor was
// first used, and how long an offered successor stays on offer.
const SessionGrace = 10 * time.Second

// A SessionRotate offers a successor of the current token.
type SessionRotate struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented
	Nonce       int64       // random, 1 .. 2^52: the successor is derived from it and the current token
	NextHash    string      // of that successor
}

// SessionOffer is the reply of [Store.SessionRotate].
type SessionOffer struct {
	SessionReply
	Nonce  int64     // the successor is derived from it: the caller's own nonce, or that of an earlier call
	Issued time.Time // when the successor was handed out, which is now
}

// SessionRotate offers a successor of the current token, or tells the nonce of the one
// that is on offer, so that all callers at once hand out the same. The successor becomes
// current when it is presented, see [Store.SessionConfirm]. SessionPrevious,
// SessionNotDue: there is nothing to hand out. SessionReplay: TokenHash is no token of
// the session.
func (s *Store) SessionRotate(ctx context.Context, rotate SessionRotate) (SessionOffer, error) {
	c := s.beginSession(ctx, sessionRotate, rotate.Keys)
	c.words = append(c.words, sessionInstant(rotate.Keys), rotate.GlobalEpoch, rotate.TokenHash, milliseconds(SessionGrace),
		rotate.Nonce, rotate.NextHash)
	r, err := s.do(c, 4)
	if err != nil {
		return SessionOffer{}, err
	}
	return SessionOffer{sessionReply(r), r[2], instantOf(r[3])}, nil
}

// A SessionConfirm presents a token that is not the current one, as far as the caller
// knows.
type SessionConfirm struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented
	// RefuseOnly keeps a session whose old token was replayed; otherwise it is revoked.
	RefuseOnly bool
	// Ignore keeps it too, and publishes nothing: nobody knows who presented the token.
	Ignore bool
}

// SessionConfirmReply is the reply of [Store.SessionConfirm].
type SessionConfirmReply struct {
	SessionReply
	Authenticated time.Time // see [SessionMeta]
	Level         int       // the authentication level
}

// SessionConfirm decides what a token is. SessionOK: the current one, perhaps because it
// was on offer and is used for the first time now; SessionPrevious: replaced within the
// grace time; SessionReplay: older, or forged by somebody who knows the series, so the
// session is revoked.
func (s *Store) SessionConfirm(ctx context.Context, confirm SessionConfirm) (SessionConfirmReply, error) {
	c := s.beginSession(ctx, sessionConfirm, confirm.Keys)
	c.words = append(c.words, sessionInstant(confirm.Keys), confirm.GlobalEpoch, confirm.TokenHash, milliseconds(SessionGrace),
		confirm.replay(), s.channel())
	r, err := s.do(c, 4)
	if err != nil {
		return SessionConfirmReply{}, err
	}
	return SessionConfirmReply{sessionReply(r), instantOf(r[2]), int(r[3])}, nil
}

// replay is what the script does about one.
func (confirm *SessionConfirm) replay() string {
	switch {
	case confirm.Ignore:
		return "ignore"
	case confirm.RefuseOnly:
		return "refuse"
	}
	return "revoke"
}

// A SessionElevate raises the authentication level, or renews the authentication,
// together with the token.
type SessionElevate struct {
	Keys        SessionKeys // of the session
	GlobalEpoch int64       // as known to the caller, opaque: see [Store.SessionGlobalEpoch]
	TokenHash   string      // of the token presented, which must be the current one
	NextHash    string      // of a fresh random token
	Level       int         // of authentication, 0 for a guest
}

// SessionElevateReply is the reply of [Store.SessionElevate].
type SessionElevateReply struct {
	SessionReply
	Authenticated time.Time // the time of authentication that the new token brings
}

// SessionElevate offers a fresh token; once presented it is current and brings the level.
// SessionPrevious and SessionReplay changed nothing: only the holder of the current token
// elevates.
func (s *Store) SessionElevate(ctx context.Context, elevate SessionElevate) (SessionElevateReply, error) {
	c := s.beginSession(ctx, sessionElevate, elevate.Keys)
	c.words = append(c.words, sessionInstant(elevate.Keys), elevate.GlobalEpoch, elevate.TokenHash, milliseconds(SessionGrace),
		elevate.NextHash, elevate.Level, s.channel())
	r, err := s.do(c, 3)
	if err != nil {
		return SessionElevateReply{}, err
	}
	return SessionElevateReply{sessionReply(r), instantOf(r[2])}, nil
}

// SessionDrop ends a session, whatever its state: SessionOK if there was one, else
// SessionGone. With marker, whoever comes with its token in the next 10 s is told
// SessionSuperseded. The reason, a word of a-z, is for the event.
func (s *Store) SessionDrop(ctx context.Context, keys SessionKeys, marker bool, reason string) (SessionReply, error) {
	c := s.beginSession(ctx, sessionDrop, keys)
	c.words = append(c.words, sessionInstant(keys), btoi(marker), reason, s.channel())
	r, err := s.do(c, 2)
	if err != nil {
		return SessionReply{}, err
	}
	return sessionReply(r), nil
}

// beginSession starts a call of a script over the record, and for a user the index and
// the epoch.
func (s *Store) beginSession(ctx context.Context, script *script, keys SessionKeys) *run {
	n := 1
	switch {
	case keys.User == "":
	case script == sessionDrop:
		n = 2 // the epoch does not matter
	case script == sessionCreate:
		n = 4 // its caller appends one
	default:
		n = 3
	}
	c := s.begin(ctx, script, n)
	var room [256]byte
	joined := s.appendSessionKey(room[:0], 's', keys.Tag, keys.Member)
	record := len(joined)
	if keys.User == "" {
		c.keys(string(joined), record)
		return c
	}
	user := MakeTag("user", keys.User)
	joined = s.appendSessionKey(joined, 'u', keys.Tag, string(user[:]))
	index := len(joined) - record
	if n == 2 {
		c.keys(string(joined), record, index)
		return c
	}
	joined = s.appendSessionKey(joined, 'e', keys.Tag, string(user[:]))
	c.keys(string(joined), record, index, len(joined)-record-index)
	return c
}

// addKey appends one more key.
func (*Store) addKey(c *run, key string) { c.words = append(c.words, key) }

func (c *run) fields(fields []Field) {
	for i := range fields {
		c.words = append(c.words, &fields[i].Name, &fields[i].Value)
	}
}

func sessionReply(r []int64) SessionReply { return SessionReply{SessionStatus(r[0]), instantOf(r[1])} }

// sessionInstant is ARGV[1] of the session scripts, µs.
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
