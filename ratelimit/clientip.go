package ratelimit

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

// IPOptions says how to find the address of a client. The zero value takes the address of
// the connection and believes no header.
type IPOptions struct {
	// TrustedProxies are the networks in which every machine is a proxy of yours. If the
	// connection comes from one of them, Header is read from right to left. Addresses in
	// these networks are skipped; the first other address is the client. The client wrote
	// everything to the left of it. A network that holds every address is an error.
	TrustedProxies []netip.Prefix

	// TrustUnixSocket makes the peer of a Unix socket count as a trusted proxy. Such a
	// peer has no address. Requests that come through the socket and name no client in
	// the Header share one key.
	TrustUnixSocket bool

	// Header is the field that the proxies write; empty means X-Forwarded-For. It must be
	// a field that your proxy always overwrites or appends to. Forwarded is read as in
	// RFC 7239. Every other field is read as a list of addresses with or without port, so
	// a field with one address (CF-Connecting-IP, X-Real-IP) works too. Setting Header
	// needs TrustedProxies or TrustUnixSocket.
	Header string

	// IPv6Prefix is how many leading bits of an IPv6 address make the key, 32 to 128; 0
	// means 64, because an access line gets at least a /64. A client that holds a larger
	// block has one key for each such network in it. All bits of an IPv4 address count.
	IPv6Prefix int
}

const (
	forwardedEntries = 64      // read at most so many entries of a forwarded header, from the right
	forwardedBytes   = 8 << 10 // and at most so many bytes
)

// ByIP keys by the client's address, see [NewClientIP]. Every request has a key.
func ByIP(opts IPOptions) (KeyFunc, error) {
	clientIP, err := NewClientIP(opts)
	if err != nil {
		return nil, err
	}
	bits := opts.IPv6Prefix
	if bits == 0 {
		bits = 64
	}
	return func(r *http.Request) (string, error) { return ipKey(clientIP(r), bits), nil }, nil
}

// MustByIP is ByIP for options that are written in the program. It panics on an error.
func MustByIP(opts IPOptions) KeyFunc {
	key, err := ByIP(opts)
	if err != nil {
		panic(err)
	}
	return key
}

// ipKey returns Join("ip", network of the client), in one allocation.
func ipKey(ip netip.Addr, bits int) string {
	var room [64]byte
	b := append(room[:0], 2, 'i', 'p', 0)
	start := len(b)
	switch {
	case ip.Is4():
		b = ip.AppendTo(b)
	case ip.Is6():
		network, _ := ip.Prefix(bits) // fails for bits above 128 only
		b = network.AppendTo(b)
	}
	b[start-1] = byte(len(b) - start) // below 128, so that the length is one byte
	return string(b)
}

// NewClientIP returns a function that finds the address of a request's client. The
// function is safe for concurrent use. An IPv4 address that is written as IPv6
// (::ffff:192.0.2.1, and NAT64's 64:ff9b::192.0.2.1) becomes the IPv4 address. Zones are
// dropped.
//
// The walk through a forwarded header ends at an entry that is not an address ("unknown",
// a hidden name, an empty entry), at the start of the header, and after 64 entries or 8
// KiB. The client's address is then that of the last trusted proxy. All clients behind
// that proxy of which no more is known share one key. The same holds if the header is
// missing.
//
// The address of the connection is [http.Request.RemoteAddr], so no middleware may
// overwrite that from a header. For a connection without an IP address (a Unix socket)
// the function returns the zero Addr.
func NewClientIP(opts IPOptions) (func(*http.Request) netip.Addr, error) {
	s := &ipSource{unix: opts.TrustUnixSocket, header: "X-Forwarded-For"}
	for i, p := range opts.TrustedProxies {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if !p.IsValid() || p.Bits() == 0 {
			return nil, fmt.Errorf("ratelimit: IPOptions.TrustedProxies[%d] %v: want the network of your proxies, "+
				"not of everybody", i, opts.TrustedProxies[i])
		}
		s.proxies = append(s.proxies, p)
	}
	if opts.Header != "" {
		if !s.unix && len(s.proxies) == 0 {
			return nil, fmt.Errorf("ratelimit: IPOptions.Header %q without TrustedProxies: any client could write it", opts.Header)
		}
		if !fieldName.MatchString(opts.Header) {
			return nil, fmt.Errorf("ratelimit: IPOptions.Header %q: not the name of a header field", opts.Header)
		}
		s.header = http.CanonicalHeaderKey(opts.Header)
	}
	if n := opts.IPv6Prefix; n != 0 && (n < 32 || n > 128) {
		return nil, fmt.Errorf("ratelimit: IPOptions.IPv6Prefix %d: want 32 to 128 bits, or 0 for 64", n)
	}
	return s.client, nil
}

var fieldName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// ipSource holds checked IPOptions.
type ipSource struct {
	proxies []netip.Prefix
	unix    bool
	header  string
}

func (s *ipSource) client(r *http.Request) netip.Addr {
	peer, ok := parseNode(r.RemoteAddr)
	if !ok {
		peer = netip.Addr{}
	}
	if s.trusts(peer) || s.unix && fromUnixSocket(r) {
		peer = s.walk(r.Header[s.header], peer)
	}
	if nat64.Contains(peer) {
		b := peer.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return peer
}

// nat64 is the well-known prefix of RFC 6052. client takes it off last, because
// TrustedProxies are compared with addresses as they arrive.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func (s *ipSource) trusts(ip netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

func fromUnixSocket(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}

// walk reads the lines of a forwarded header from the right. It returns the first address
// that is not a trusted proxy's. If there is none, it returns the last proxy's address.
func (s *ipSource) walk(lines []string, last netip.Addr) netip.Addr {
	entries, budget := forwardedEntries, forwardedBytes
	for i := len(lines) - 1; i >= 0; i-- {
		line := lines[i]
		var nodes [forwardedEntries]string
		n, ok := 0, false
		if s.header == "Forwarded" {
			n, ok = splitForwarded(&nodes, line, budget)
		} else {
			n, ok = splitList(&nodes, line, budget)
		}
		for _, node := range nodes[:n] {
			ip, ok := parseNode(node)
			if entries--; !ok || entries < 0 {
				return last
			}
			last = ip
			if !s.trusts(ip) {
				return last
			}
		}
		if budget -= len(line) + 1; !ok || budget < 0 {
			return last
		}
	}
	return last
}

// splitList puts the entries of a comma-separated line into nodes, the last entry first.
// all reports whether it read the whole line. It reads at most budget bytes.
func splitList(nodes *[forwardedEntries]string, line string, budget int) (n int, all bool) {
	for n < len(nodes) {
		seen := line[max(0, len(line)-budget):]
		comma := strings.LastIndexByte(seen, ',')
		if comma < 0 && len(seen) < len(line) {
			return n, false
		}
		nodes[n] = seen[comma+1:]
		n++
		if comma < 0 {
			return n, true
		}
		budget -= len(seen) - comma
		line = line[:len(line)-len(seen)+comma]
	}
	return n, false
}

// splitForwarded is splitList for the for= parameters of RFC 7239. An element without
// for= gives an empty node.
//
// Quoted strings can only be recognized from the left. After a syntax error nothing to
// the right is certain: a client that opens a quotation could hide what the proxy
// appends. So a line with a syntax error gives no entry and ends the walk. A line that is
// longer than the budget does the same.
func splitForwarded(nodes *[forwardedEntries]string, line string, budget int) (n int, all bool) {
	if len(line) > budget {
		return 0, false
	}
	var ring [forwardedEntries]string // the last ones
	count := 0
	for more := true; more; count++ {
		var ok bool
		if ring[count%len(ring)], line, more, ok = cutForwarded(line); !ok {
			return 0, false
		}
	}
	n = min(count, len(ring))
	for i := range n {
		nodes[i] = ring[(count-1-i)%len(ring)]
	}
	return n, n == count
}

// cutForwarded cuts the first element off a Forwarded line and returns the value of its
// for= parameter. more reports whether a comma followed. ok is false after a syntax
// error, or for two for= parameters.
func cutForwarded(line string) (node, rest string, more, ok bool) {
	found := false
	for {
		line = strings.TrimLeft(line, " \t")
		end := strings.IndexAny(line, "=;,")
		if end >= 0 && line[end] == '=' {
			name := line[:end]
			var value string
			if value, line, ok = cutValue(line[end+1:]); !ok || name == "" || strings.ContainsAny(name, "\" \t") {
				return "", "", false, false
			}
			if strings.EqualFold(name, "for") {
				if found {
					return "", "", false, false
				}
				node, found = value, true
			}
			line = strings.TrimLeft(line, " \t")
		} else if end < 0 && line != "" || end > 0 { // a name without a value
			return "", "", false, false
		}
		if line == "" || line[0] == ',' {
			more = line != ""
			return node, strings.TrimPrefix(line, ","), more, true
		}
		if line[0] != ';' {
			return "", "", false, false
		}
		line = line[1:]
	}
}

// cutValue cuts off a token or a quoted-string. RFC 7239 requires quotes around colons
// and brackets, but proxies write them unquoted, so a token may hold them. A
// quoted-string with escapes cannot be an address, so its text is not unescaped.
func cutValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		end := strings.IndexAny(s, "\",; \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], true
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[1:i], s[i+1:], true
		}
	}
	return "", "", false
}

// parseNode reads an address in the forms of proxies and RemoteAddr: bare, in brackets,
// with a port or a zone. It returns IPv4-mapped IPv6 as IPv4.
func parseNode(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	port := ""
	if strings.HasPrefix(s, "[") {
		var closed bool
		if s, port, closed = strings.Cut(s[1:], "]"); !closed || !strings.Contains(s, ":") {
			return netip.Addr{}, false
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 && i == strings.LastIndexByte(s, ':') {
		s, port = s[:i], s[i:]
	}
	if port != "" && !validPort(port) {
		return netip.Addr{}, false
	}
	// Cut the zone off before parsing: the client chooses it, and netip would keep it in
	// memory for ever.
	s, _, zoned := strings.Cut(s, "%")
	ip, err := netip.ParseAddr(s)
	if err != nil || zoned && ip.Is4() {
		return netip.Addr{}, false
	}
	return ip.Unmap(), true
}

// validPort reports whether s is a colon and a port. RFC 7239 also allows an underscore
// and a name as the port.
func validPort(s string) bool {
	if len(s) < 2 || s[0] != ':' {
		return false
	}
	return s[1] == '_' || len(s) <= 6 && strings.Trim(s[1:], "0123456789") == ""
}
