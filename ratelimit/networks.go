package ratelimit

import (
	"fmt"
	"net/netip"
	"slices"
)

// networks is a set of addresses: ranges in ascending order that neither overlap nor
// touch, so a look-up is a binary search.
type networks []addrRange

type addrRange struct{ first, last netip.Addr }

// newNetworks returns the addresses of the prefixes. The error names the index of a
// prefix that is not a network as its routers write it, or says that all addresses of
// IPv4 or IPv6 are in the set.
func newNetworks(prefixes []netip.Prefix) (networks, error) {
	ranges := make(networks, 0, len(prefixes))
	for i, given := range prefixes {
		p, err := asNetwork(given)
		if err != nil {
			//lint:ignore ST1005 it begins with the name of the field
			return nil, fmt.Errorf("Networks[%d] %w", i, err)
		}
		ranges = append(ranges, addrRange{p.Addr(), lastAddr(p)})
	}
	slices.SortFunc(ranges, func(a, b addrRange) int { return a.first.Compare(b.first) })
	n := ranges[:0]
	for _, r := range ranges {
		if len(n) > 0 {
			if end := &n[len(n)-1].last; r.first.Compare(*end) <= 0 || r.first == end.Next() {
				*end = maxAddr(*end, r.last)
				continue
			}
		}
		n = append(n, r)
	}
	for _, all := range everybody {
		if i := n.find(all.Addr()); i >= 0 && n[i].last.Compare(lastAddr(all)) >= 0 {
			//lint:ignore ST1005 it begins with the name of the field
			return nil, fmt.Errorf("Networks: they hold every address of %v: leave the list out instead, or the rule", all)
		}
	}
	return n, nil
}

var everybody = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// asNetwork checks a prefix. It returns an IPv4 network that is written as IPv6 as IPv4,
// as [NewClientIP] returns addresses.
func asNetwork(given netip.Prefix) (netip.Prefix, error) {
	p := given
	switch {
	case !p.IsValid():
		return p, fmt.Errorf("%v: want a network such as 192.0.2.0/24", given)
	case p.Addr().Is4In6() && p.Bits() < 96:
		return p, fmt.Errorf("%v: it is more than the addresses of IPv4: write 0.0.0.0/n", given)
	case p.Addr().Is4In6():
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%v: it has bits set behind the first %d: want %v, or %v for the one address",
			given, p.Bits(), p.Masked(), netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	return p, nil
}

// contain reports whether the address is in the set. An IPv4 address that is written as
// IPv6 is the IPv4 address, and a zone does not count.
func (n networks) contain(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	i := n.find(ip)
	return i >= 0 && ip.Compare(n[i].last) <= 0
}

// find returns the index of the last range that begins at or before the address; -1 if
// there is none.
func (n networks) find(ip netip.Addr) int {
	i, found := slices.BinarySearchFunc(n, ip, func(r addrRange, ip netip.Addr) int { return r.first.Compare(ip) })
	if found {
		return i
	}
	return i - 1
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b) // 4 or 16 bytes
	return last
}

func maxAddr(a, b netip.Addr) netip.Addr {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}
