package session

import (
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// Device describes where a session is used, for the list of a user's sessions. Each text
// is cut to 64 bytes of printable UTF-8.
type Device struct {
	// Label is a name that the user or the program gave to the device.
	Label string `json:"label,omitempty"`
	// UserAgent is the User-Agent of the browser.
	UserAgent string `json:"user_agent,omitempty"`
	// IP is an address, with or without a port. It is cut to [Options.IPv4Bits] or
	// [Options.IPv6Bits]. Other text is not stored.
	IP string `json:"ip,omitempty"`
}

// Info is one entry of a user's list of sessions. Times are by Redis's clock.
type Info struct {
	ID string `json:"id"` // for [Manager.Revoke]
	Device

	// Created is when the user logged in.
	Created time.Time `json:"created"`
	// LastSeen is when the session was last used, to within a twentieth of the idle
	// timeout, which counts as at least 1 and at most 10 minutes.
	LastSeen time.Time `json:"last_seen"`
	// Expires is when the session ends if it is not used again.
	Expires time.Time `json:"expires"`
	// AuthTime is when the user last proved who they are; zero if that is not known, see
	// [Carried].
	AuthTime time.Time `json:"-"`
	// Level is how strongly the user proved it, see [Session.Level].
	Level int `json:"-"`
	// Current is true for the session of the request whose ctx was passed.
	Current bool `json:"current"`
}

// maxDeviceText is in bytes. With a longer value Redis would store the whole record in a
// form that is three times as large.
const maxDeviceText = 64

// cut shortens text from outside to 64 bytes of printable UTF-8. It drops invisible
// characters: controls, and those that change the direction of text or have no width.
// With them one name could look like another.
func cut(s string) string {
	if len(s) > 4*maxDeviceText {
		s = s[:4*maxDeviceText]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == '\uFFFD' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return trimTo(s, maxDeviceText)
}

// trimTo cuts at the last whole character within n bytes.
func trimTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// clientIP returns the address that the record keeps of the client, as text.
func (c *Options) clientIP(r *http.Request) string {
	var addr netip.Addr
	if c.ClientIP != nil {
		addr = c.ClientIP(r)
	} else if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		addr = peer.Addr()
	}
	return c.maskIP(addr)
}

// deviceIP returns the address that the record keeps of a [Device.IP], which may have a
// port or brackets. It returns "" for other text, which may contain an address in a form
// that we don't know.
func (c *Options) deviceIP(text string) string {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return c.maskIP(addr)
	}
	if peer, err := netip.ParseAddrPort(text); err == nil {
		return c.maskIP(peer.Addr())
	}
	return ""
}

func (c *Options) maskIP(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	bits := c.IPv6Bits
	if addr.Is4() {
		bits = c.IPv4Bits
	}
	if !addr.IsValid() || bits < 0 {
		return ""
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.Addr().String()
}
