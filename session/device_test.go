package session

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The address of a device is cut before it is stored, in every form of address. If no
// address may be stored, none is.
func TestDeviceAddressIsCut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"198.51.100.9", "198.51.100.0"},
		{"198.51.100.9:443", "198.51.100.0"},
		{"::ffff:198.51.100.9", "198.51.100.0"},
		{"[::ffff:198.51.100.9]:443", "198.51.100.0"},
		{"2001:db8:1:2::3", "2001:db8:1::"},
		{"[2001:db8:1:2::3]", "2001:db8:1::"},
		{"[2001:db8:1:2::3]:443", "2001:db8:1::"},
		{"[2001:db8:1:2::3%eth0]:443", "2001:db8:1::"},
		{"198.51.100.9, 203.0.113.7", ""},
		{"198.51.100.9 ", ""},
		{"198.51.100.9:http", ""},
		{"unknown", ""},
	} {
		t.Run(c.in, func(t *testing.T) {
			cfg := Options{IPv4Bits: 24, IPv6Bits: 48}
			if got := cfg.deviceIP(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			cfg = Options{IPv4Bits: -1, IPv6Bits: -1}
			if got := cfg.deviceIP(c.in); got != "" {
				t.Errorf("got %q, want nothing: no address is to be stored", got)
			}
		})
	}
}

func TestCutKeepsWhatIsSeen(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"letters of many scripts", "Ännas Telefon 電話 📱", "Ännas Telefon 電話 📱"},
		{"controls", "a\x00b\nc\x7fd", "abcd"},
		{"C1 controls", "a\u0085b\u009bc", "abc"},
		{"direction", "a\u202eb\u2066c\u200fd\u061ce", "abcde"},
		{"no width", "pay\u200bpal\u200d\u2060\ufeff\u00ad", "paypal"},
		{"line separators", "a\u2028b\u2029c", "abc"},
		{"other spaces", "a\u00a0b\u3000c", "abc"},
		{"not UTF-8", "a\xffb\uFFFDc", "abc"},
		{"private use, unassigned", "a\ue000b\U000e0001c", "abc"},
		{"length", strings.Repeat("ä", 40), strings.Repeat("ä", 32)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := cut(c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A long upload reads the session even if the handler has not asked for it yet, so that
// the session does not end meanwhile.
func TestLongUploadIsDue(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
	s := newUnstored(1)
	s.m.cfg.Lifetime, s.m.cfg.Remember = Lifetime{IdleTimeout: time.Hour}, Lifetime{IdleTimeout: 2 * time.Hour}
	s.m.cfg.Guest = Lifetime{IdleTimeout: time.Hour}
	var b usedBody
	b.useBody(r, s)
	s.state = unread
	if b.asked = time.Now(); b.due() {
		t.Error("due at once")
	}
	if b.asked = time.Now().Add(-4 * time.Minute); !b.due() || b.due() {
		t.Error("after a twentieth of IdleTimeout: want it due, once")
	}
	s.phase = finished
	if b.asked = time.Now().Add(-time.Hour); b.due() {
		t.Error("due after the handler has returned")
	}
}
