package session

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/given"
)

// A Lifetime says when a session ends. Both limits are checked by Redis's clock, on
// reading and on writing.
type Lifetime struct {
	// IdleTimeout ends a session that nobody used for so long. It is measured to within
	// IdleTimeout/20, but a minute at least and 10 at most, because use is noted that
	// often; what counts in a long request: see [Session.Touch]. 1 s to AbsoluteTimeout;
	// 0 means AbsoluteTimeout.
	IdleTimeout time.Duration

	// AbsoluteTimeout ends a session whatever its use, counted from the login. 1 s to 400
	// days; required.
	AbsoluteTimeout time.Duration

	// Rotate replaces the token so often, in the background; 0 means never. A stolen
	// token is noticed when one copy comes 10 s or more after the other was replaced, but
	// not a thief's who asks more often than that. 1 min or more. Not with bearer tokens,
	// whose holders would not learn the new one.
	Rotate time.Duration

	// Persistent cookies survive the end of the browser.
	Persistent bool
}

// Lifetimes at the limits that NIST SP 800-63B-4 sets for its authenticator assurance
// levels.
var (
	AAL1 = Lifetime{IdleTimeout: 30 * 24 * time.Hour, AbsoluteTimeout: 30 * 24 * time.Hour, Rotate: 24 * time.Hour, Persistent: true}
	AAL2 = Lifetime{IdleTimeout: time.Hour, AbsoluteTimeout: 24 * time.Hour}
	AAL3 = Lifetime{IdleTimeout: 15 * time.Minute, AbsoluteTimeout: 12 * time.Hour}
)

const maxLife = maxCookieLife

// guestTrial is the longest idle time of a guest whose cookie has not come back yet.
const guestTrial = 10 * time.Minute

func (l Lifetime) complete(field string) (Lifetime, error) {
	if l.IdleTimeout == 0 {
		l.IdleTimeout = l.AbsoluteTimeout
	}
	switch {
	case l.AbsoluteTimeout < time.Second || l.AbsoluteTimeout > maxLife:
		return l, fmt.Errorf("%s.AbsoluteTimeout %v: want 1s to %v", field, l.AbsoluteTimeout, maxLife)
	case l.IdleTimeout < time.Second || l.IdleTimeout > maxLife:
		return l, fmt.Errorf("%s.IdleTimeout %v: want 1s to %v", field, l.IdleTimeout, maxLife)
	case l.IdleTimeout > l.AbsoluteTimeout:
		return l, fmt.Errorf("%s.IdleTimeout %v: want at most AbsoluteTimeout, %v", field, l.IdleTimeout, l.AbsoluteTimeout)
	case l.Rotate != 0 && l.Rotate < time.Minute:
		return l, fmt.Errorf("%s.Rotate %v: want 1m or more", field, l.Rotate)
	}
	return l, nil
}

// CapPolicy is what a login does when the user has as many sessions as allowed.
type CapPolicy uint8

const (
	// EvictOldest ends the session that was created first.
	EvictOldest CapPolicy = iota
	// EvictLeastRecent ends the session that was used longest ago.
	EvictLeastRecent
	// RefuseLogin refuses with [ErrCapReached].
	RefuseLogin
)

const (
	defaultCap   = 10
	maxCap       = 100
	defaultBytes = 16 << 10
	maxBytes     = 1 << 20
)

// Options of a [Manager]. The zero value is ready to use on a site with https.
type Options struct {
	// Cookie that carries the token.
	Cookie Cookie

	// OldCookies are what Cookie was before its Domain, Path or Partitioned changed, at
	// most 8. A browser keeps a cookie for each of those, and sends all that apply; a
	// login and a logout remove the old ones. Of the other fields only Name counts, by
	// the rules of Cookie. They can go when the longest lifetime since the change has
	// passed.
	OldCookies []Cookie

	// InsecureCookie leaves out Secure, for development on plain http. Anybody on the
	// network can then take sessions over.
	InsecureCookie bool

	// Bearer accepts the token in "Authorization: Bearer ..." as well; it then counts
	// before the cookie. What has not the form of our tokens, such as a JWT, counts as
	// none. See [LoginOptions.Bearer].
	Bearer bool

	// Lifetime of logins. Zero means idle 30 min, absolute 12 h.
	Lifetime Lifetime

	// Guest is the lifetime of visitors who are not logged in, counted from the first
	// value that was set. Until a guest's cookie comes back it is idle for at most 10
	// minutes, since whoever keeps no cookies can make a guest with each request; the
	// first request that comes with it and asks for the session raises that to
	// IdleTimeout. Zero means Lifetime without Rotate. Persistent keeps a cart when the
	// browser ends.
	Guest Lifetime

	// Remember is the lifetime of logins with [LoginOptions.Remember]. Zero means [AAL1]:
	// 30 days, rotating daily.
	Remember Lifetime

	// Cap is how many sessions a user may have. 1 to 100; 0 means 10; -1 means any
	// number.
	Cap int

	// CapPolicy is what happens at the cap. Zero is EvictOldest.
	CapPolicy CapPolicy

	// Carry names the values of a guest that a login keeps. Nothing by default, since an
	// attacker may have planted the guest's session. What is set during the request of
	// the login itself is kept anyway.
	Carry []string

	// Codec of the values; nil is JSON. See [Encrypt].
	Codec Codec

	// Legacy reads the sessions of the kit that this one takes the place of, so that the
	// switch logs nobody out; nil reads none. adapters/fromscs and adapters/gategorilla
	// have such readers.
	//
	// A request that brings the old kit's cookie and no token of ours is asked about when
	// its session is first asked for. The old session becomes one of ours, once: with its
	// user at level 1, its values, and an absolute deadline that is neither later than
	// the end of the old session nor than that of Lifetime (Remember, if it is
	// persistent). The cap holds as for a login. However many requests bring the old
	// cookie, they get the same session and token, and so does the next one when a
	// response is lost; the cookie goes out ahead of the first byte, also if the request
	// only reads.
	//
	// An old session that was carried over is not carried over again when the new one has
	// ended. [Manager.RevokeUser], [Session.RevokeOthers] and [Manager.RevokeAll] end
	// those too that were not carried over yet. The old kit's data and cookie stay as
	// they are, so that the program can be rolled back; but a login and a logout remove
	// the old cookie. Carrying over costs three round trips. The old cookie of a session
	// that has ended costs two round trips in each request that asks for its session:
	// take Legacy away when the old sessions have expired.
	Legacy Legacy

	// LegacyClient is the client of the Redis, or of its database, that the old kit used.
	// Nil is the manager's own.
	LegacyClient gatekit.Client

	// MaxBytes is the largest session, names and values. 1 to 1 MiB; 0 means 16 KiB.
	// Parallel requests may exceed it by what they add at the same time.
	MaxBytes int

	// KeepReplayed refuses a token that was replaced long ago, and leaves the session
	// alone. By default the session is revoked, because two parties hold it.
	KeepReplayed bool

	// SaveOnServerError writes pending changes also when the handler answers 500 or more.
	// By default they are dropped.
	SaveOnServerError bool

	// ClientIP returns the client's address for the device list. Nil takes the peer's,
	// which behind a proxy is the proxy's; a header is worth something only if the own
	// proxy wrote it. The zero Addr stores none.
	ClientIP func(*http.Request) netip.Addr

	// IPv4Bits and IPv6Bits of the address are stored, the others are cut off. 0 means 24
	// and 48; -1 stores no address.
	IPv4Bits, IPv6Bits int

	// ErrorHandler answers when a change could not be saved ahead of the response, the
	// session not be read, or a guard stopped a request other than by a redirect. All
	// header fields but Content-Type are set: it has to write the refusal's Status and a
	// body of its own choice. It must not use the session. Nil asks the framework's own
	// error handler where it has one, but for changes that could not be saved, which are
	// answered by [gatekit.Refusal.Answer].
	ErrorHandler func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal)
}

// complete fills in the defaults and refuses what is out of range; the error names the
// field.
func (c Options) complete() (Options, error) {
	var err error
	if c.Cookie, err = c.Cookie.complete(c.InsecureCookie); err != nil {
		return c, err
	}
	if c.OldCookies, err = c.Cookie.completeOld(c.OldCookies, c.InsecureCookie); err != nil {
		return c, err
	}
	if c.Lifetime == (Lifetime{}) {
		c.Lifetime = Lifetime{IdleTimeout: 30 * time.Minute, AbsoluteTimeout: 12 * time.Hour}
	}
	if c.Remember == (Lifetime{}) {
		c.Remember = AAL1
	}
	if c.Lifetime, err = c.Lifetime.complete("Lifetime"); err != nil {
		return c, err
	}
	if c.Guest == (Lifetime{}) {
		c.Guest = c.Lifetime
		c.Guest.Rotate = 0 // a guest's cookie is not worth it
	}
	if c.Guest, err = c.Guest.complete("Guest"); err != nil {
		return c, err
	}
	if c.Remember, err = c.Remember.complete("Remember"); err != nil {
		return c, err
	}
	c.Cap, c.MaxBytes = cmp.Or(c.Cap, defaultCap), cmp.Or(c.MaxBytes, defaultBytes)
	c.IPv4Bits, c.IPv6Bits = cmp.Or(c.IPv4Bits, 24), cmp.Or(c.IPv6Bits, 48)
	switch {
	case c.Cap != -1 && (c.Cap < 1 || c.Cap > maxCap):
		return c, fmt.Errorf("Options.Cap %d: want 1 to %d, or -1", c.Cap, maxCap)
	case c.CapPolicy > RefuseLogin:
		return c, fmt.Errorf("CapPolicy %d: want EvictOldest, EvictLeastRecent or RefuseLogin", c.CapPolicy)
	case c.MaxBytes < 1 || c.MaxBytes > maxBytes:
		return c, fmt.Errorf("MaxBytes %d: want 1 to %d", c.MaxBytes, maxBytes)
	case c.IPv4Bits < -1 || c.IPv4Bits > 32:
		return c, fmt.Errorf("IPv4Bits %d: want 1 to 32, or -1", c.IPv4Bits)
	case c.IPv6Bits < -1 || c.IPv6Bits > 128:
		return c, fmt.Errorf("IPv6Bits %d: want 1 to 128, or -1", c.IPv6Bits)
	}
	if err := given.Option("Options.Codec", c.Codec); err != nil {
		return c, err
	}
	c.Carry = slices.Clone(c.Carry)
	for _, name := range c.Carry {
		if err := checkName(name); err != nil {
			return c, fmt.Errorf("Options.Carry: %w", err)
		}
	}
	return c, nil
}
