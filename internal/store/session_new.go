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

// SessionNew holds the facts of a new session, of a guest or a user.
type SessionNew struct {
	Keys      SessionKeys   // of the new session; its series must be fresh random bytes
	PublicID  string        // 22 characters, base64url
	TokenHash string        // 43 characters, base64url
	Idle      time.Duration // idle timeout, 1 ms or more
	Life      time.Duration // absolute timeout, 1 ms or more
	Values    []Field       // the first values

	// GlobalEpoch is the epoch of all sessions that the process knew when the request
	// began.
	GlobalEpoch int64
}

// SessionOwner holds the further facts of a new session of a user.
type SessionOwner struct {
	// Authenticated is when the credentials were presented, at the latest the beginning
	// of the request that checked them. If the user was revoked after that, the login is
	// refused. If the time has a monotonic reading, wall clocks do not matter. Zero means
	// now. A time at or before the Unix epoch means unknown; any revocation then refuses
	// the login.
	Authenticated time.Time
	Level         int // authentication level

	Cap       int       // sessions a user may have, 0 .. 100; 0 is unlimited
	CapPolicy CapPolicy // 0 means [CapEvictOldest]

	// The device, as lists of sessions show it. A text longer than 64 bytes makes the
	// record three times as big.
	UserAgent, Label, IP string
}

// A SessionLogin is a new session of a user.
type SessionLogin struct {
	SessionNew
	SessionOwner

	// KnownEpoch is the user's epoch if the caller itself has set it after Authenticated,
	// else 0. That revocation does not refuse the login.
	KnownEpoch int64

	// Replace is the member of a session of the same user, "" for none. The caller drops
	// that session once the login has reached its browser, so it does not count against
	// the cap.
	Replace string

	// From is the session that the browser has until it presents the new token: a
	// guest's, or the same user's; zero for none. The record keeps it, see
	// [SessionRecord.From]. If there are several logins from one session, the first whose
	// token is used ends the others, see [Store.SessionSettle].
	From SessionKeys
}

// A SessionCarry is a new session in place of one of another kit. If Keys.User is empty
// it is a guest's, and SessionOwner does not apply.
type SessionCarry struct {
	SessionNew // the series of its token is derived from Old
	SessionOwner

	// Old is the id of the other kit's session, hashed in the key name.
	Old string
	// OldLife is how long a browser may still present the old session, no less than Life.
	// For so long Redis remembers that the session was carried over, so that it is
	// carried over once.
	OldLife time.Duration
}

// SessionNewReply is the reply of [Store.SessionLogin] and [Store.SessionCarry].
type SessionNewReply struct {
	SessionReply
	Epoch   int64 // the user's epoch
	Evicted int   // how many sessions were ended to keep the cap
}

// SessionGuest makes the session of a visitor who is not logged in: SessionOK. If the
// reply is lost, the script is sent again. The series is random, so the second run finds
// the session that the first one made.
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

// SessionLogin makes the record and its index entry: SessionOK. After SessionStale and
// SessionCapReached there is no session. If the reply is lost, the script is sent again,
// as by [Store.SessionGuest].
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

// SessionCarry makes the session once: SessionOK, also if an earlier call made it.
// SessionGone and SessionSuperseded mean that an earlier call made it and it has ended
// since. SessionStale and SessionCapReached are as for [Store.SessionLogin].
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

// check returns an error for values that no script could store.
func (n *SessionNew) check(script *script, user bool) error {
	switch {
	case (n.Keys.User != "") != user:
		return fmt.Errorf("gatekit: %s: Keys.User: want a user for a login, and none for a guest", script.name)
	case n.Idle < time.Millisecond || n.Life < time.Millisecond:
		return fmt.Errorf("gatekit: %s: Idle %v and Life %v: want 1ms or more", script.name, n.Idle, n.Life)
	}
	return checkFields(n.Values)
}

// addNew appends the first arguments of all three scripts.
func (s *Store) addNew(c *run, n *SessionNew) {
	c.words = append(c.words, sessionInstant(n.Keys), n.GlobalEpoch, s.channel(), n.PublicID, n.TokenHash,
		milliseconds(n.Idle), milliseconds(n.Life))
}

// complete fills in the fields that may be left out.
func (o *SessionOwner) complete() {
	if o.Authenticated.IsZero() {
		o.Authenticated = time.Now()
	}
	if o.CapPolicy == 0 {
		o.CapPolicy = CapEvictOldest
	}
}

// longAgo is more µs than have passed since any epoch was set.
const longAgo = 9e15

// elapsed returns the time since Authenticated, µs, rounded up.
func (o *SessionOwner) elapsed() int64 {
	if o.Authenticated.Unix() <= 0 {
		return longAgo
	}
	return max(0, time.Since(o.Authenticated).Microseconds()+1)
}

// maybeStale returns a function for a reply that has just come. It reports whether the
// reply's epoch may be later than Authenticated; now is the server's clock in the reply.
// known is the epoch that the caller set itself.
func (o *SessionOwner) maybeStale(known int64) func(epoch, now int64) bool {
	return func(epoch, now int64) bool {
		if epoch <= known || epoch > now+SessionClockBack.Microseconds() {
			return false
		}
		return epoch >= now-o.elapsed()
	}
}

// createUntilSure makes a session, and makes sure that its user was not revoked
// meanwhile. The script knows only how much time had passed since Authenticated when it
// was sent. So if the user was revoked within one round trip of Authenticated, the reply
// does not show which came first. Then createUntilSure runs the script again. The script
// finds the session that it made, and a quicker round trip can settle the question. If 5
// runs do not settle it, the session is dropped: SessionStale.
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
		// No browser has the token. If the drop fails, nobody uses the session, and it
		// ends by its idle timeout.
		_, _ = s.SessionDrop(ctx, keys, false, "stale")
		reply.Status = SessionStale
	}
	return reply, nil
}

// fromField returns the field of a record that names the older session of a login:
// "g.<tag>.<member>" for a guest's, "u.<tag>.<member>" for the same user's, "" if there
// is none.
func fromField(from SessionKeys) string {
	switch {
	case from.Member == "":
		return ""
	case from.User == "":
		return "g." + from.Tag + "." + from.Member
	}
	return "u." + from.Tag + "." + from.Member
}
