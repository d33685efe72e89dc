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

// A Lifetime says when a session ends. Redis's clock measures both timeouts, on reading
// and on writing.
type Lifetime struct {
	// IdleTimeout ends a session that was not used for this long. The manager notes use
	// in Redis every IdleTimeout/20 (at least 1 minute, at most 10 minutes and at most
	// IdleTimeout/2), so the end is exact to within that. For long requests see
	// [Session.Touch]. 1 s to AbsoluteTimeout; 0 means AbsoluteTimeout.
	IdleTimeout time.Duration

	// AbsoluteTimeout ends a session this long after the login, however much it is used.
	// 1 s to 400 days; required.
	AbsoluteTimeout time.Duration

	// Rotate is how often a session gets a new token, with a response. 1 min or more; 0
	// means never. A stolen token is noticed when one copy comes 10 s or more after the
	// other was replaced, but not if the thief sends requests more often than that.
	// Bearer tokens are not rotated, because their holders would not learn the new one.
	Rotate time.Duration

	// Persistent keeps the cookie when the browser is closed.
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

// CapPolicy says what a login does when the user already has [Options.Cap] sessions.
type CapPolicy uint8

const (
	// EvictOldest ends the session that was created first.
	EvictOldest CapPolicy = iota
	// EvictLeastRecent ends the session that was used longest ago.
	EvictLeastRecent
	// RefuseLogin refuses the login with [ErrCapReached].
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

	// OldCookies describe the cookie as it was before its Domain, Path or Partitioned
	// changed, at most 8. A browser keeps one cookie for each set of these attributes,
	// and sends all that apply. A login and a logout remove the old ones. Of the other
	// fields only Name matters, by the rules of Cookie. Remove an entry when the longest
	// lifetime since the change has passed.
	OldCookies []Cookie

	// InsecureCookie leaves out Secure, for development on plain http. Anybody on the
	// network can then steal sessions.
	InsecureCookie bool

	// Bearer also accepts the token in "Authorization: Bearer ...", which then counts
	// instead of the cookie. A text that does not have the form of our tokens, such as a
	// JWT, is ignored. See [LoginOptions.Bearer].
	Bearer bool

	// Lifetime of logins. Zero means idle 30 min, absolute 12 h.
	Lifetime Lifetime

	// Guest is the lifetime of visitors who are not logged in, counted from the first
	// value that was set. A client that keeps no cookies can make a new guest with each
	// request. So until a guest's cookie comes back, the idle timeout is at most 10
	// minutes. The first request that brings the cookie and asks for the session raises
	// it to IdleTimeout. Zero means Lifetime without Rotate. Set Persistent to keep a
	// cart when the browser is closed.
	Guest Lifetime

	// Remember is the lifetime of logins with [LoginOptions.Remember]. Zero means [AAL1]:
	// 30 days, rotating daily.
	Remember Lifetime

	// Cap is how many sessions a user may have. 1 to 100; 0 means 10; -1 means any
	// number.
	Cap int

	// CapPolicy says what a login does at the cap. Zero is EvictOldest.
	CapPolicy CapPolicy

	// Carry names the values of a guest that a login keeps. By default it keeps none,
	// since an attacker may have planted the guest's session. Values that were set during
	// the request of the login itself are always kept.
	Carry []string

	// Codec of the values; nil is JSON. See [Encrypt].
	Codec Codec

	// Legacy reads the sessions of the kit that the program used before, so that the
	// switch logs nobody out; nil reads none. adapters/fromscs and adapters/gategorilla
	// have such readers.
	//
	// When a request brings the old kit's cookie and no token of ours, the reader is
	// called as soon as the handler asks for the session. The old session becomes one of
	// ours, once. The new session has its values and its user, at level 1. Its absolute
	// deadline is the end of the old session or that of Lifetime (of Remember, if
	// Persistent is set), whichever is earlier. The cap holds as for a login. All
	// requests that bring the old cookie get the same session and token. If a response is
	// lost, the next request gets that token again. The new cookie goes out ahead of the
	// first byte, also if the request only reads.
	//
	// An old session is carried over only once, even if the new one has ended.
	// [Manager.RevokeUser], [Session.RevokeOthers] and [Manager.RevokeAll] also end old
	// sessions that were not carried over yet. The old kit's data and cookie stay as they
	// are, so that the program can be rolled back; only a login and a logout remove the
	// old cookie. Carrying over costs three round trips. If the session of an old cookie
	// has ended, each request that brings the cookie and asks for its session costs two.
	// Set Legacy to nil when the old sessions have expired.
	Legacy Legacy

	// LegacyClient is a client of the Redis, or of the database in it, that the old kit
	// used. Nil means the manager's own.
	LegacyClient gatekit.Client

	// MaxBytes is the largest size of a session: names and values. 1 to 1 MiB; 0 means 16
	// KiB. Parallel requests may exceed it by what they add at the same time.
	MaxBytes int

	// KeepReplayed refuses a token that was replaced long ago, and lets the session live.
	// By default the session is revoked, because two parties hold the token.
	KeepReplayed bool

	// SaveOnServerError also writes pending changes when the handler answers 500 or more.
	// By default they are dropped.
	SaveOnServerError bool

	// ClientIP returns the client's address for the device list. Nil takes the peer's
	// address, which behind a proxy is the proxy's. Trust a header only if your own proxy
	// wrote it. For the zero Addr no address is stored.
	ClientIP func(*http.Request) netip.Addr

	// IPv4Bits and IPv6Bits are how many bits of the address are stored; the others are
	// cut off. 0 means 24 and 48; -1 stores no address.
	IPv4Bits, IPv6Bits int

	// ErrorHandler answers a request when a change could not be saved ahead of the
	// response, when the session could not be read, or when a guard stopped the request
	// other than by a redirect. All header fields but Content-Type are already set. The
	// handler writes the refusal's Status and a body of its own choice. It must not use
	// the session. If it is nil, the framework's own error handler answers, where it has
	// one; but [gatekit.Refusal.Answer] answers for changes that could not be saved.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal)
}

// complete fills in the defaults and refuses values out of range. The error names the
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
		c.Guest.Rotate = 0 // not worth it for a guest's cookie
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
