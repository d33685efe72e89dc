package store

import (
	"context"
	"fmt"
	"time"
)

// CapPolicy is what a login does when the user has as many sessions as allowed.
type CapPolicy byte

// The policies.
const (
	CapEvictOldest      CapPolicy = 'o' // end the session created first
	CapEvictLeastRecent CapPolicy = 'l' // end the session not seen for longest
	CapRefuse           CapPolicy = 'r' // refuse the login
)

// SessionNew is what every new session has.
type SessionNew struct {
	Keys      SessionKeys   // of the new session; its series must be fresh random bytes
	PublicID  string        // 22 characters, base64url
	TokenHash string        // 43 characters, base64url
	Idle      time.Duration // idle timeout, 1 ms or more
	Life      time.Duration // absolute timeout, 1 ms or more
	Values    []Field       // the first values

	// GlobalEpoch as known when the request began.
	GlobalEpoch int64
}

// SessionOwner is what a new session of a user has beside the session itself.
type SessionOwner struct {
	// Authenticated is when the credentials were presented, at the latest the beginning
	// of the request that checked them. A user who was revoked since is not logged in. A
	// monotonic reading, if there is one, keeps wall clocks out of it. Zero means now. A
	// time in 1970 or before means that nobody knows: any revocation then refuses the
	// login.
	Authenticated time.Time
	Level         int // authentication level

	Cap       int       // sessions a user may have, 0 .. 100; 0 is unlimited
	CapPolicy CapPolicy // 0 means [CapEvictOldest]

	// The device, as lists show it. Longer texts than 64 bytes make the record three
	// times as big.
	UserAgent, Label, IP string
}

// A SessionLogin is a new session of a user.
type SessionLogin struct {
	SessionNew
	SessionOwner

	// KnownEpoch is the user's epoch that the caller has set itself since Authenticated;
	// 0 if none.
	KnownEpoch int64

	// Replace is the member of a session of the same user that the caller drops once the
	// login has reached its browser; "" for none. It does not count against the cap.
	Replace string

	// From is the session that the browser has until it shows the new token: a guest's,
	// or the same user's; zero for none. The record says so, see [SessionRecord.From],
	// and of several logins from one session the first to be used ends the others, see
	// [Store.SessionSettle].
	From SessionKeys
}

// A SessionCarry is a new session in place of one that another kit left: of a user, or
// with empty Keys.User of a guest, who has no owner's facts.
type SessionCarry struct {
	SessionNew // its series is derived from Old
	SessionOwner

	// Old is the id of the other kit's session, hashed in the key name.
	Old string
	// OldLife is how long the old session may still be presented, no less than Life: so
	// long it is remembered that it was carried over, so that it happens once.
	OldLife time.Duration
}

// SessionNewReply is the reply of [Store.SessionLogin] and [Store.SessionCarry].
type SessionNewReply struct {
	SessionReply
	Epoch   int64 // the user's epoch
	Evicted int   // sessions ended to keep the cap
}

// SessionGuest makes the session of a visitor who is not logged in: SessionOK. A reply
// that was lost is asked for again: the random series makes the second run find the
// first.
func (s *Store) SessionGuest(ctx context.Context, guest SessionNew) (SessionReply, error) {
	if err := guest.check(sessionGuest, false); err != nil {
		return SessionReply{}, err
	}
	c := s.beginSession(ctx, sessionGuest, guest.Keys)
	s.addNew(c, &guest)
	c.fields(guest.Values)
	r, err := s.do(c, 2)
	if err != nil {
		return SessionReply{}, err
	}
	return sessionReply(r), nil
}

// SessionLogin makes the record and its index entry: SessionOK; SessionStale and
// SessionCapReached made nothing. A reply that was lost is asked for again, as by
// [Store.SessionGuest].
func (s *Store) SessionLogin(ctx context.Context, login SessionLogin) (SessionNewReply, error) {
	if err := login.check(sessionLogin, true); err != nil {
		return SessionNewReply{}, err
	}
	login.complete()
	return s.createUntilSure(ctx, login.Keys, login.maybeStale(login.KnownEpoch), func() *run {
		return s.sessionLogin(ctx, &login)
	})
}

func (s *Store) sessionLogin(ctx context.Context, login *SessionLogin) *run {
	keys := []string{s.recordPrefix(login.Keys.Tag)}
	if login.From.Member != "" {
		keys = append(keys, s.loginsKey(login.Keys.Tag, login.From.Member))
	}
	c := s.beginSession(ctx, sessionLogin, login.Keys, keys...)
	s.addNew(c, &login.SessionNew)
	c.words = append(c.words, login.Keys.User, login.Level, login.elapsed(), login.KnownEpoch,
		login.Cap, string(rune(login.CapPolicy)), login.Replace)
	c.texts("!d", login.UserAgent, "!l", login.Label, "!i", login.IP, "!x", fromField(login.From))
	c.fields(login.Values)
	return c
}

// SessionCarry makes the session once: SessionOK, also when that was done before;
// SessionGone and SessionSuperseded when what was carried over has ended; SessionStale
// and SessionCapReached as of [Store.SessionLogin].
func (s *Store) SessionCarry(ctx context.Context, carry SessionCarry) (SessionNewReply, error) {
	if err := carry.check(sessionCarry, carry.Keys.User != ""); err != nil {
		return SessionNewReply{}, err
	}
	if carry.OldLife < carry.Life {
		return SessionNewReply{}, fmt.Errorf("gatekit: session_carry: OldLife %v: want Life or more", carry.OldLife)
	}
	carry.complete()
	return s.createUntilSure(ctx, carry.Keys, carry.maybeStale(0), func() *run {
		return s.sessionCarry(ctx, &carry)
	})
}

func (s *Store) sessionCarry(ctx context.Context, carry *SessionCarry) *run {
	keys := carry.Keys
	c := s.begin(ctx, sessionCarry, 2+3*btoi(keys.User != ""))
	c.addKey(s.recordKey(keys))
	c.addKey(s.carriedKey(keys.Tag, carry.Old))
	if keys.User != "" {
		c.addKey(s.indexKey(keys))
		c.addKey(s.epochKey(keys))
		c.addKey(s.recordPrefix(keys.Tag))
	}
	s.addNew(c, &carry.SessionNew)
	c.words = append(c.words, keys.User, carry.Level, carry.elapsed(), milliseconds(carry.OldLife),
		carry.Cap, string(rune(carry.CapPolicy)))
	if keys.User != "" {
		c.texts("!d", carry.UserAgent, "!l", carry.Label, "!i", carry.IP)
	}
	c.fields(carry.Values)
	return c
}

// check refuses what no script could store.
func (n *SessionNew) check(script *script, user bool) error {
	switch {
	case (n.Keys.User != "") != user:
		return fmt.Errorf("gatekit: %s: Keys.User: want a user for a login, and none for a guest", script.name)
	case n.Idle < time.Millisecond || n.Life < time.Millisecond:
		return fmt.Errorf("gatekit: %s: Idle %v and Life %v: want 1ms or more", script.name, n.Idle, n.Life)
	}
	return checkFields(n.Values)
}

// addNew appends what all three scripts get first.
func (s *Store) addNew(c *run, n *SessionNew) {
	c.words = append(c.words, sessionInstant(n.Keys), n.GlobalEpoch, s.channel(), n.PublicID, n.TokenHash,
		milliseconds(n.Idle), milliseconds(n.Life))
}

// complete fills in what may be left out.
func (o *SessionOwner) complete() {
	if o.Authenticated.IsZero() {
		o.Authenticated = time.Now()
	}
	if o.CapPolicy == 0 {
		o.CapPolicy = CapEvictOldest
	}
}

// longAgo is before all instants of an epoch, µs.
const longAgo = 9e15

// elapsed is the time since Authenticated, µs, rounded up.
func (o *SessionOwner) elapsed() int64 {
	if o.Authenticated.Unix() <= 0 {
		return longAgo
	}
	return max(0, time.Since(o.Authenticated).Microseconds()+1)
}

// maybeStale returns a function that reports whether the epoch in a reply that has just
// come, with the server's clock in it, may be later than Authenticated. known is the
// epoch that the caller set itself.
func (o *SessionOwner) maybeStale(known int64) func(epoch, now int64) bool {
	return func(epoch, now int64) bool {
		if epoch <= known || epoch > now+SessionClockBack.Microseconds() {
			return false
		}
		return epoch >= now-o.elapsed()
	}
}

// createUntilSure makes a session, and makes sure that its user was not revoked while the
// script was under way. The script knew only the time that had passed when it was sent.
// Once the reply is there, a revocation within the round trip itself may have come first
// or second. Another run finds the session made and tells more if it is quicker.
func (s *Store) createUntilSure(ctx context.Context, keys SessionKeys, maybeStale func(epoch, now int64) bool, begin func() *run) (SessionNewReply, error) {
	r, err := s.do(begin(), 5)
	if err != nil {
		return SessionNewReply{}, err
	}
	reply := SessionNewReply{sessionReply(r), r[2], int(r[3])}
	for tries := 1; reply.Status == SessionOK && maybeStale(r[2], r[4]); tries++ {
		if tries < 5 {
			if r, err = s.do(begin(), 5); err == nil && SessionStatus(r[0]) == SessionOK {
				continue
			}
		}
		// The token never left this process: if the drop fails, the session is nobody's
		// and idles out.
		_, _ = s.SessionDrop(ctx, keys, false, "stale")
		reply.Status = SessionStale
	}
	return reply, nil
}

// fromField is the field of a record that names the older session of a login:
// "g.<tag>.<member>" for a guest's, "u..." for the same user's, "" where there is none.
func fromField(from SessionKeys) string {
	switch {
	case from.Member == "":
		return ""
	case from.User == "":
		return "g." + from.Tag + "." + from.Member
	}
	return "u." + from.Tag + "." + from.Member
}
