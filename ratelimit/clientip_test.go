package ratelimit_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/gatekit/gatekit/ratelimit"
	"pgregory.net/rapid"
)

// The addresses of the tables: two trusted proxies, and clients that come through them.
const (
	peerProxy = "10.0.0.9"
	farProxy  = "10.0.0.8"
	person    = "198.51.100.7"
	spoofed   = "203.0.113.66"
)

var trustedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func clientIP(t testing.TB, opts ratelimit.IPOptions, r *http.Request) string {
	t.Helper()
	f, err := ratelimit.NewClientIP(opts)
	if err != nil {
		t.Fatal(err)
	}
	ip := f(r)
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

func request(remote string, header http.Header) *http.Request {
	return &http.Request{RemoteAddr: remote, Header: header}
}

func TestClientIPOfAConnection(t *testing.T) {
	for _, c := range []struct{ name, remote, want string }{
		{"IPv4", "198.51.100.7:4711", person},
		{"IPv6", "[2001:db8::1]:4711", "2001:db8::1"},
		{"IPv4-mapped", "[::ffff:198.51.100.7]:4711", person},
		{"IPv4-mapped, hex", "[::ffff:c633:6407]:4711", person},
		{"IPv4-compatible stays IPv6", "[::198.51.100.7]:4711", "::c633:6407"},
		{"IPv6 with an IPv4 tail stays IPv6", "[2001:db8::198.51.100.7]:1", "2001:db8::c633:6407"},
		{"NAT64", "[64:ff9b::198.51.100.7]:4711", person},
		{"beside NAT64", "[64:ff9b:0:0:0:1:c633:6407]:4711", "64:ff9b::1:c633:6407"},
		{"zone", "[fe80::1%eth0]:4711", "fe80::1"},
		{"bare, as some middlewares leave it", person, person},
		{"Unix socket", "@", ""},
		{"named Unix socket", "/run/app.sock", ""},
		{"empty", "", ""},
		{"a pipe", "pipe", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// No proxy is trusted: whatever the headers say.
			header := http.Header{"X-Forwarded-For": {spoofed}, "X-Real-Ip": {spoofed}, "Forwarded": {"for=" + spoofed}}
			if got := clientIP(t, ratelimit.IPOptions{}, request(c.remote, header)); got != c.want {
				t.Errorf("RemoteAddr %q: got %q, want %q", c.remote, got, c.want)
			}
		})
	}
}

// The header is junk or hostile in every way we know of. The result must be the true
// client or the last proxy. It is never an empty key, and never an address that the
// client wrote.
func TestClientIPBehindProxies(t *testing.T) {
	many := strings.Repeat(farProxy+", ", 100)
	for _, c := range []struct {
		name   string
		header string
		remote string
		lines  []string
		want   string
	}{
		{"no proxy: not believed", "X-Forwarded-For", person, []string{spoofed}, person},
		{"one proxy", "X-Forwarded-For", peerProxy, []string{person}, person},
		{"one proxy, spoofed", "X-Forwarded-For", peerProxy, []string{spoofed + ", " + person}, person},
		{"two proxies", "X-Forwarded-For", peerProxy, []string{person + "," + farProxy}, person},
		{"two proxies, spoofed", "X-Forwarded-For", peerProxy, []string{spoofed + "," + person + " ,\t" + farProxy}, person},
		{"two lines", "X-Forwarded-For", peerProxy, []string{spoofed, person + ", " + farProxy}, person},
		{"person's line before the proxy's", "X-Forwarded-For", peerProxy, []string{spoofed + ", " + person, farProxy}, person},
		{"three lines", "X-Forwarded-For", peerProxy, []string{spoofed, person, farProxy}, person},
		{"the client is a machine of the trusted network", "X-Forwarded-For", peerProxy, []string{"10.1.1.1, " + farProxy}, "10.1.1.1"},
		{"IPv6 proxy", "X-Forwarded-For", "fd00::9", []string{"2001:db8::5, fd00::8"}, "2001:db8::5"},
		{"IPv4-mapped proxy", "X-Forwarded-For", "::ffff:10.0.0.9", []string{person + ", ::ffff:10.0.0.8"}, person},
		{"proxy with a zone", "X-Forwarded-For", "fd00::9%eth0", []string{person}, person},
		{"NAT64 of a proxy's address is not the proxy", "X-Forwarded-For", "64:ff9b::10.0.0.9", []string{spoofed}, peerProxy},
		{"with a port", "X-Forwarded-For", peerProxy, []string{person + ":4711"}, person},
		{"IPv6 in brackets with a port", "X-Forwarded-For", peerProxy, []string{"[2001:db8::5]:4711"}, "2001:db8::5"},
		{"IPv6 in brackets", "X-Forwarded-For", peerProxy, []string{"[2001:db8::5]"}, "2001:db8::5"},
		{"IPv6 with a zone", "X-Forwarded-For", peerProxy, []string{"fe80::5%eth0"}, "fe80::5"},
		{"IPv4-mapped", "X-Forwarded-For", peerProxy, []string{"::ffff:198.51.100.7"}, person},
		{"NAT64", "X-Forwarded-For", peerProxy, []string{"64:ff9b::c633:6407"}, person},

		{"header missing", "X-Forwarded-For", peerProxy, nil, peerProxy},
		{"header empty", "X-Forwarded-For", peerProxy, []string{""}, peerProxy},
		{"header of commas", "X-Forwarded-For", peerProxy, []string{",,,"}, peerProxy},
		{"unknown", "X-Forwarded-For", peerProxy, []string{"unknown"}, peerProxy},
		{"junk", "X-Forwarded-For", peerProxy, []string{"<script>"}, peerProxy},
		{"junk behind the far proxy", "X-Forwarded-For", peerProxy, []string{"junk, " + farProxy}, farProxy},
		{"an entry left out shields what is left of it", "X-Forwarded-For", peerProxy, []string{spoofed + ", ," + farProxy}, farProxy},
		{"junk shields what is left of it", "X-Forwarded-For", peerProxy, []string{spoofed + ", unknown, " + farProxy}, farProxy},
		{"an empty last line shields the others", "X-Forwarded-For", peerProxy, []string{spoofed, ""}, peerProxy},
		{"IPv4 with a zone", "X-Forwarded-For", peerProxy, []string{person + "%eth0"}, peerProxy},
		{"IPv4 in brackets", "X-Forwarded-For", peerProxy, []string{"[" + person + "]"}, peerProxy},
		{"leading zeros", "X-Forwarded-For", peerProxy, []string{"198.051.100.007"}, peerProxy},
		{"port is junk", "X-Forwarded-For", peerProxy, []string{person + ":http"}, peerProxy},
		{"port is empty", "X-Forwarded-For", peerProxy, []string{person + ":"}, peerProxy},
		{"bracket not closed", "X-Forwarded-For", peerProxy, []string{"[2001:db8::5"}, peerProxy},
		{"junk after the bracket", "X-Forwarded-For", peerProxy, []string{"[2001:db8::5]x"}, peerProxy},
		{"a network", "X-Forwarded-For", peerProxy, []string{"198.51.100.0/24"}, peerProxy},
		{"100 trusted hops", "X-Forwarded-For", peerProxy, []string{spoofed + ", " + many + farProxy}, farProxy},
		{"100 trusted hops in lines", "X-Forwarded-For", peerProxy,
			append([]string{spoofed}, strings.Split(many+farProxy, ", ")...), farProxy},
		{"64 hops are read", "X-Forwarded-For", peerProxy, []string{person + strings.Repeat(", "+farProxy, 63)}, person},
		{"10,000 entries, the last counts", "X-Forwarded-For", peerProxy, []string{strings.Repeat(spoofed+", ", 10_000) + person}, person},
		{"a long entry ends the walk", "X-Forwarded-For", peerProxy,
			[]string{spoofed + "," + strings.Repeat("x", 9000) + "," + farProxy}, farProxy},
		{"a long line ends the walk", "X-Forwarded-For", peerProxy, []string{spoofed, strings.Repeat(" ", 9000) + farProxy}, peerProxy},
		{"as many bytes as are looked at", "X-Forwarded-For", peerProxy, []string{spoofed, strings.Repeat(" ", 8<<10-len(farProxy)) + farProxy}, farProxy},

		{"CF-Connecting-IP", "CF-Connecting-IP", peerProxy, []string{person}, person},
		{"CF-Connecting-IP, no proxy", "CF-Connecting-IP", person, []string{spoofed}, person},
		{"X-Real-IP twice", "X-Real-IP", peerProxy, []string{spoofed, person}, person},

		{"Forwarded", "Forwarded", peerProxy, []string{"for=198.51.100.7;proto=https;by=10.0.0.1"}, person},
		{"Forwarded, order and case", "forwarded", peerProxy, []string{"proto=https; FOR=198.51.100.7"}, person},
		{"Forwarded, quoted IPv6 and port", "Forwarded", peerProxy, []string{`for="[2001:db8::5]:4711"`}, "2001:db8::5"},
		{"Forwarded, hidden port", "Forwarded", peerProxy, []string{`for="198.51.100.7:_p"`}, person},
		{"Forwarded, not quoted though it has to be", "Forwarded", peerProxy, []string{"for=[2001:db8::5]:4711"}, "2001:db8::5"},
		{"Forwarded, two proxies, spoofed", "Forwarded", peerProxy,
			[]string{"for=" + spoofed + ", for=" + person + " , for=" + farProxy}, person},
		{"Forwarded, two lines", "Forwarded", peerProxy, []string{"for=" + spoofed, "for=" + person + ",for=" + farProxy}, person},
		{"Forwarded, separators in quotes", "Forwarded", peerProxy,
			[]string{`for=` + person + `;host="a,b;for=` + spoofed + `"`}, person},
		{"Forwarded, escape in quotes", "Forwarded", peerProxy,
			[]string{`for=` + spoofed + `, for=` + person + `;x="\", for=` + spoofed + `;y="`}, person},
		{"Forwarded, 100 elements, the last count", "Forwarded", peerProxy,
			[]string{strings.Repeat("for="+spoofed+",", 100) + "for=" + person + ",for=" + farProxy}, person},
		{"Forwarded, 100 trusted hops", "Forwarded", peerProxy,
			[]string{"for=" + spoofed + strings.Repeat(",for="+farProxy, 100)}, farProxy},

		{"Forwarded, unknown", "Forwarded", peerProxy, []string{"for=unknown"}, peerProxy},
		{"Forwarded, hidden", "Forwarded", peerProxy, []string{"for=" + spoofed + ", for=_gazonk"}, peerProxy},
		{"Forwarded, no for", "Forwarded", peerProxy, []string{"for=" + spoofed + ", proto=http"}, peerProxy},
		{"Forwarded, two for", "Forwarded", peerProxy, []string{"for=" + spoofed + ";for=" + person}, peerProxy},
		{"Forwarded, empty", "Forwarded", peerProxy, []string{""}, peerProxy},
		{"Forwarded, open quote hides the proxy's element", "Forwarded", peerProxy,
			[]string{`for=` + spoofed + `;x=", for=` + person}, peerProxy},
		{"Forwarded, open quote closed by the proxy's", "Forwarded", peerProxy,
			[]string{`for=` + spoofed + `;x=", for="[2001:db8::5]"`}, peerProxy},
		{"Forwarded, quote within a token", "Forwarded", peerProxy, []string{`for=` + spoofed + `", for=` + person}, peerProxy},
		{"Forwarded, no separator", "Forwarded", peerProxy, []string{"for=" + person + " proto=http"}, peerProxy},
		{"Forwarded, no separator after a quotation", "Forwarded", peerProxy, []string{`for="` + person + `"proto=http`}, peerProxy},
		{"Forwarded, as many bytes as are looked at", "Forwarded", peerProxy,
			[]string{"for=" + spoofed, "for=" + farProxy + ";x=" + strings.Repeat("x", 8<<10-len("for="+farProxy+";x="))}, farProxy},
		{"Forwarded, no value", "Forwarded", peerProxy, []string{"for, for=" + farProxy}, peerProxy},
		{"Forwarded, junk only in an older line", "Forwarded", peerProxy, []string{`for="`, "for=" + farProxy}, farProxy},
		{"Forwarded, junk shields the older lines", "Forwarded", peerProxy, []string{"for=" + spoofed, `for="`}, peerProxy},
		{"Forwarded, long", "Forwarded", peerProxy,
			[]string{"for=" + person + ";x=" + strings.Repeat("x", 9000), "for=" + farProxy}, farProxy},
		{"X-Forwarded-For is not read for Forwarded", "Forwarded", peerProxy, nil, peerProxy},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := http.Header{"X-Other": {spoofed}}
			if c.header != "X-Forwarded-For" {
				header.Set("X-Forwarded-For", spoofed)
			}
			header[http.CanonicalHeaderKey(c.header)] = c.lines
			remote := net.JoinHostPort(c.remote, "443")
			opts := ratelimit.IPOptions{TrustedProxies: trustedNetworks, Header: c.header}
			if got := clientIP(t, opts, request(remote, header)); got != c.want {
				t.Errorf("from %s, %s %.200q: got %q, want %q", remote, c.header, c.lines, got, c.want)
			}
			if c.header == "X-Forwarded-For" { // is the default
				opts.Header = ""
				if got := clientIP(t, opts, request(remote, header)); got != c.want {
					t.Errorf("without Header: got %q, want %q", got, c.want)
				}
			}
		})
	}
}

func TestClientIPOfAUnixSocket(t *testing.T) {
	overSocket := func(network, forwardedFor string) *http.Request {
		r := request("@", http.Header{"X-Forwarded-For": {forwardedFor}})
		local := &net.UnixAddr{Name: "/run/app.sock", Net: network}
		return r.WithContext(context.WithValue(context.Background(), http.LocalAddrContextKey, local))
	}
	trust := ratelimit.IPOptions{TrustUnixSocket: true, TrustedProxies: trustedNetworks}
	for _, c := range []struct {
		name string
		opts ratelimit.IPOptions
		r    *http.Request
		want string
	}{
		{"trusted", trust, overSocket("unix", person), person},
		{"trusted, and a proxy", trust, overSocket("unix", spoofed+", "+person+", "+farProxy), person},
		{"trusted, names nobody", trust, overSocket("unix", "unknown"), ""},
		{"another network", trust, overSocket("pipe", spoofed), ""},
		{"not a socket", trust, request("", http.Header{"X-Forwarded-For": {spoofed}}), ""},
		{"not trusted", ratelimit.IPOptions{TrustedProxies: trustedNetworks}, overSocket("unix", spoofed), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := clientIP(t, c.opts, c.r); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if key := keyOf(t, ratelimit.MustByIP(c.opts), c.r); key == "" || key != ratelimit.Join("ip", c.want) {
				t.Errorf("key %q, want one for %q", key, c.want)
			}
		})
	}
}

func TestIPOptionsAreChecked(t *testing.T) {
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	for _, c := range []struct {
		opts ratelimit.IPOptions
		want string // "" for no error
	}{
		{ratelimit.IPOptions{}, ""},
		{ratelimit.IPOptions{TrustedProxies: prefix("10.0.0.0/8"), Header: "CF-Connecting-IP"}, ""},
		{ratelimit.IPOptions{TrustUnixSocket: true, Header: "X-Real-IP"}, ""},
		{ratelimit.IPOptions{TrustedProxies: prefix("::ffff:10.0.0.0/104")}, ""},
		{ratelimit.IPOptions{IPv6Prefix: 32}, ""},
		{ratelimit.IPOptions{IPv6Prefix: 128}, ""},
		{ratelimit.IPOptions{Header: "X-Forwarded-For"}, "Header"},
		{ratelimit.IPOptions{TrustedProxies: prefix("10.0.0.0/8"), Header: "X Y"}, "Header"},
		{ratelimit.IPOptions{TrustedProxies: prefix("10.0.0.0/8"), Header: "X-\u00e9"}, "Header"},
		{ratelimit.IPOptions{TrustedProxies: prefix("0.0.0.0/0")}, "TrustedProxies[0]"},
		{ratelimit.IPOptions{TrustedProxies: append(prefix("10.0.0.0/8"), prefix("::/0")...)}, "TrustedProxies[1]"},
		{ratelimit.IPOptions{TrustedProxies: prefix("::ffff:0:0/96")}, "TrustedProxies[0]"},
		{ratelimit.IPOptions{TrustedProxies: make([]netip.Prefix, 1)}, "TrustedProxies[0]"},
		{ratelimit.IPOptions{IPv6Prefix: 31}, "IPv6Prefix 31: want 32 to 128"},
		{ratelimit.IPOptions{IPv6Prefix: 129}, "IPv6Prefix"},
		{ratelimit.IPOptions{IPv6Prefix: -1}, "IPv6Prefix"},
	} {
		t.Run(fmt.Sprintf("%+v", c.opts), func(t *testing.T) {
			_, err := ratelimit.ByIP(c.opts)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), "ratelimit: IPOptions."+c.want) {
				t.Errorf("%+v: got error %v, want one about %q", c.opts, err, c.want)
			}
		})
	}
}

// spellings are the ways to write one address.
func spellings(ip netip.Addr) []string {
	if ip.Is4() {
		b := ip.As4()
		mapped := netip.AddrFrom16(ip.As16())
		hex := fmt.Sprintf("%x:%x", int(b[0])<<8|int(b[1]), int(b[2])<<8|int(b[3]))
		return []string{ip.String(), mapped.String(), "::FFFF:" + ip.String(), "::ffff:" + hex,
			"0:0:0:0:0:ffff:" + ip.String(), "0000:0000:0000:0000:0000:FFFF:" + hex,
			mapped.StringExpanded(), "64:ff9b::" + ip.String(), "64:FF9B::" + hex, "0064:ff9b:0:0:0:0:" + hex}
	}
	b := ip.As16()
	full := ip.StringExpanded()
	tail := netip.AddrFrom4([4]byte(b[12:])).String()
	var plain []string
	for i := 0; i < 16; i += 2 {
		plain = append(plain, fmt.Sprintf("%x", int(b[i])<<8|int(b[i+1])))
	}
	head := strings.Join(plain[:6], ":")
	return []string{ip.String(), full, strings.ToUpper(full), strings.ToUpper(ip.String()), strings.Join(plain, ":"),
		head + ":" + tail, ip.String() + "%eth0", full + "%1"}
}

// One client is one key, however its address is written, and in whatever header.
func TestOneAddressOneKey(t *testing.T) {
	opts := func(header string) ratelimit.IPOptions {
		return ratelimit.IPOptions{TrustedProxies: trustedNetworks, Header: header}
	}
	direct, list := ratelimit.MustByIP(ratelimit.IPOptions{}), ratelimit.MustByIP(opts(""))
	forwarded, single := ratelimit.MustByIP(opts("Forwarded")), ratelimit.MustByIP(opts("CF-Connecting-IP"))
	rapid.Check(t, func(t *rapid.T) {
		var ip netip.Addr
		bytes := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
		if rapid.Bool().Draw(t, "IPv4") {
			ip = netip.AddrFrom4([4]byte(bytes[:4]))
		} else {
			ip = netip.AddrFrom16([16]byte(bytes))
			if rapid.Bool().Draw(t, "zeros") { // something to compress
				copy(bytes[2:12], make([]byte, 10))
				ip = netip.AddrFrom16([16]byte(bytes))
			}
		}
		if ip.Is4In6() || trustedNetworks[0].Contains(ip) || trustedNetworks[1].Contains(ip) {
			t.Skip("not a client, or its own spelling")
		}
		text := rapid.SampledFrom(spellings(ip)).Draw(t, "spelling")
		want := ratelimit.Join("ip", ip.String())
		if ip.Is6() {
			want = ratelimit.Join("ip", netip.PrefixFrom(ip, 64).Masked().String())
		}
		port := rapid.SampledFrom([]string{"", ":1", ":65535"}).Draw(t, "port")
		node := text
		if port != "" && strings.Contains(text, ":") {
			node = "[" + text + "]" + port
		} else if port != "" {
			node = text + port
		}
		space := rapid.SampledFrom([]string{"", " ", "\t "}).Draw(t, "space")
		for _, c := range []struct {
			name string
			key  ratelimit.KeyFunc
			r    *http.Request
		}{
			{"RemoteAddr", direct, request(net.JoinHostPort(text, "1"), nil)},
			{"X-Forwarded-For", list, request(peerProxy+":1", http.Header{"X-Forwarded-For": {space + node + space}})},
			{"CF-Connecting-IP", single, request(peerProxy+":1", http.Header{"Cf-Connecting-Ip": {space + node + space}})},
			{"Forwarded", forwarded, request(peerProxy+":1", http.Header{"Forwarded": {space + `for="` + node + `"` + space}})},
		} {
			if got := keyOf(t, c.key, c.r); got != want {
				t.Fatalf("%s %q, header %q: got key %q, want %q", c.name, text, c.r.Header, got, want)
			}
		}
	})
}

// All addresses of a /64 are one client, and no address outside is that client.
func TestOneKeyPerIPv6Network(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{0, 32, 48, 56, 60, 64, 65, 127, 128}).Draw(t, "bits")
		key := ratelimit.MustByIP(ratelimit.IPOptions{IPv6Prefix: bits})
		if bits == 0 {
			bits = 64
		}
		a := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		a[0] = 0x20 // a global address
		b := a
		flip := min(max(bits+rapid.IntRange(-8, 8).Draw(t, "flipped bit after the prefix"), 0), 127)
		if rapid.Bool().Draw(t, "anywhere") {
			flip = rapid.IntRange(0, 127).Draw(t, "flipped bit")
		}
		b[flip/8] ^= 0x80 >> (flip % 8)
		keyOfBytes := func(ip [16]byte) string {
			return keyOf(t, key, request(net.JoinHostPort(netip.AddrFrom16(ip).String(), "1"), nil))
		}
		if same := keyOfBytes(a) == keyOfBytes(b); same != (flip >= bits) {
			t.Fatalf("%v and %v differ in bit %d: same key %v with /%d", netip.AddrFrom16(a), netip.AddrFrom16(b), flip, same, bits)
		}
	})
}

// FuzzForwardedHeader plays a client that writes any text in front of what the proxy
// appends. The result must be the address that the proxy saw or, after a syntax error,
// the proxy. It must never be an address that the client wrote.
func FuzzForwardedHeader(f *testing.F) {
	for _, s := range []string{"", spoofed, "for=" + spoofed, `for="` + spoofed + `";x="`, `x="\`, ",,,", "[::1", `for="[::1]"`,
		"unknown, " + farProxy, "for=" + farProxy + ";for=" + spoofed, strings.Repeat("10.0.0.1,", 70), "\x00%,;=\""} {
		f.Add(s, "", false)
		f.Add(s, farProxy, true)
	}
	list, err := ratelimit.NewClientIP(ratelimit.IPOptions{TrustedProxies: trustedNetworks})
	if err != nil {
		f.Fatal(err)
	}
	forwarded, err := ratelimit.NewClientIP(ratelimit.IPOptions{TrustedProxies: trustedNetworks, Header: "Forwarded"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, hostile, older string, six bool) {
		seen, node := netip.MustParseAddr(person), "for="+person
		if six {
			seen, node = netip.MustParseAddr("2001:db8::5"), `for="[2001:db8::5]:99";proto="https"`
		}
		proxy := netip.MustParseAddr(peerProxy)
		for _, c := range []struct {
			name      string
			clientIP  func(*http.Request) netip.Addr
			field     string
			lines     []string
			proxyToo  bool
			proxyOnly bool
		}{
			{"list, one line", list, "X-Forwarded-For", []string{older, hostile + "," + seen.String()}, false, false},
			{"list, own line", list, "X-Forwarded-For", []string{older, hostile, seen.String()}, false, false},
			{"Forwarded, one line", forwarded, "Forwarded", []string{older, hostile + ", " + node}, true, false},
			{"Forwarded, own line", forwarded, "Forwarded", []string{older, hostile, node}, false, false},
			{"not a proxy", list, "X-Forwarded-For", []string{hostile}, false, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				remote := proxy
				if c.proxyOnly {
					remote = netip.MustParseAddr("192.0.2.200")
				}
				r := request(netip.AddrPortFrom(remote, 1).String(), http.Header{c.field: c.lines})
				got := c.clientIP(r)
				switch {
				case c.proxyOnly && got == remote, !c.proxyOnly && got == seen, c.proxyToo && got == proxy:
				default:
					t.Errorf("%q: got %v, want %v", c.lines, got, seen)
				}
			})
		}
		// The proxy appended nothing. The result must still be a valid address, without a
		// zone, and not IPv4 written as IPv6.
		for _, r := range []*http.Request{
			request(peerProxy+":1", http.Header{"X-Forwarded-For": {older, hostile}}),
			request(peerProxy+":1", http.Header{"Forwarded": {older, hostile}}),
		} {
			for _, f := range []func(*http.Request) netip.Addr{list, forwarded} {
				if got := f(r); !got.IsValid() || got.Zone() != "" || got.Is4In6() {
					t.Errorf("%q: got %#v", r.Header, got)
				}
			}
		}
	})
}

func BenchmarkByIP(b *testing.B) {
	header := http.Header{"X-Forwarded-For": {spoofed + ", " + person + ", " + farProxy}, "Forwarded": {"for=" + person}}
	for _, c := range []struct {
		name   string
		opts   ratelimit.IPOptions
		remote string
	}{
		{"connection", ratelimit.IPOptions{}, person + ":1"},
		{"X-Forwarded-For", ratelimit.IPOptions{TrustedProxies: trustedNetworks}, peerProxy + ":1"},
		{"Forwarded", ratelimit.IPOptions{TrustedProxies: trustedNetworks, Header: "Forwarded"}, peerProxy + ":1"},
	} {
		b.Run(c.name, func(b *testing.B) {
			key := ratelimit.MustByIP(c.opts)
			r := request(c.remote, header)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = key(r)
			}
		})
	}
}
