package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync/atomic"

	"github.com/gatekit/gatekit/internal/errtext"
)

// ListOptions says how a [List] finds out who sends a request. A function is called only
// if the list has entries of its kind. Many goroutines call the functions at once.
type ListOptions struct {
	// Key returns the key of a request, such as that of [ByUser]; the list's Keys are
	// compared with it. Nil if the list never has keys. If Key returns an error, the
	// request is answered 400, as by a [Rule].
	Key KeyFunc

	// Address returns the address of a request's client, see [NewClientIP]. Nil if the
	// list never has networks. It has no default: behind a proxy the address of the
	// connection is the proxy's, and a list that has it would have every client.
	Address func(*http.Request) netip.Addr

	// Matched is called for each request that the list has, before it is answered, for
	// metrics and logs. A [GateOptions.Deny] of a dry run calls it too, and does nothing
	// else. Nil costs nothing.
	Matched func(*http.Request)
}

// ListEntries are the clients of a [List]: those that have one of the keys or an address
// in one of the networks. It is plain data, so JSON can hold it. There may be none.
type ListEntries struct {
	// Keys are keys as ListOptions.Key returns them, such as Join("user", id), see
	// [KeyFunc]. None is empty. They are compared byte by byte.
	Keys []string

	// Networks hold addresses of clients; a single address is a /32 or a /128. No bit is
	// set behind the prefix's length, and together the networks do not hold every address
	// of IPv4 or of IPv6. ::ffff:192.0.2.0/120 is 192.0.2.0/24. They may overlap.
	//
	// An IPv6 client has a /64 at least, and takes another address in it whenever it
	// likes. So deny the /64, not one address.
	Networks []netip.Prefix
}

// A List has clients that a [Gate] lets pass or refuses whatever they have spent:
// [GateOptions.Allow], [GateOptions.Deny] and [Rule.Allow]. It may be replaced while it
// is used. Redis is not asked about it; each process has a list of its own. A look-up
// takes one map access and one binary search, whatever the number of entries.
//
// A List is safe for concurrent use. Make it by [NewList].
type List struct {
	opts ListOptions
	now  atomic.Pointer[listed]
}

// listed is what a list has. It does not change.
type listed struct {
	keys     map[string]bool
	networks networks
}

// NewList returns the list of the entries. The errors are those of [List.Replace].
func NewList(opts ListOptions, entries ListEntries) (*List, error) {
	l := &List{opts: opts}
	if opts.Key == nil && opts.Address == nil {
		return nil, errors.New("ratelimit: list: neither Key nor Address: want one of them, or both")
	}
	if err := l.Replace(entries); err != nil {
		return nil, err
	}
	return l, nil
}

// Replace puts other entries in force, all of them or, after an error, none: then the old
// ones stay. The error names the entry that is out of range, or that the list has Keys
// without ListOptions.Key or Networks without ListOptions.Address. Replace copies the
// entries.
func (l *List) Replace(entries ListEntries) error {
	switch {
	case len(entries.Keys) > 0 && l.opts.Key == nil:
		return errors.New("ratelimit: list: Keys without ListOptions.Key: no request would have one of them")
	case len(entries.Networks) > 0 && l.opts.Address == nil:
		return errors.New("ratelimit: list: Networks without ListOptions.Address: set it to what NewClientIP returns")
	}
	now := &listed{keys: make(map[string]bool, len(entries.Keys))}
	for i, key := range entries.Keys {
		if key == "" {
			return fmt.Errorf("ratelimit: list: Keys[%d] is empty: a request with an empty key has no key", i)
		}
		now.keys[key] = true
	}
	var err error
	if now.networks, err = newNetworks(entries.Networks); err != nil {
		return errtext.Errorf("ratelimit", "list: %w", err)
	}
	l.now.Store(now)
	return nil
}

// has reports whether the list has the client of a request. The error is that of Key.
func (l *List) has(r *http.Request) (bool, error) {
	now := l.now.Load()
	found := len(now.networks) > 0 && now.networks.contain(l.opts.Address(r))
	if !found && len(now.keys) > 0 {
		key, err := l.opts.Key(r)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errKey, err)
		}
		found = now.keys[key]
	}
	if found && l.opts.Matched != nil {
		l.opts.Matched(r)
	}
	return found, nil
}

// check refuses a list that was not made by NewList. The zero List would have nobody, and
// a Deny by it would let everybody pass.
func (l *List) check() error {
	if l != nil && l.now.Load() == nil {
		return errors.New("the zero List: make it by NewList")
	}
	return nil
}

// checkLists refuses zero Lists.
func (opts *GateOptions) checkLists() error {
	if err := opts.Deny.check(); err != nil {
		return errtext.Errorf("ratelimit", "gate: Deny: %w", err)
	}
	if err := opts.Allow.check(); err != nil {
		return errtext.Errorf("ratelimit", "gate: Allow: %w", err)
	}
	return nil
}

// ErrDenied is the reason for a 403 of [GateOptions.Deny].
var ErrDenied = errors.New("ratelimit: the client is on a list of clients that are denied")

// byLists answers for the gate's lists. It reports whether they have decided: the request
// is refused, or no rule counts it.
func (g *Gate) byLists(r *http.Request, v *verdict) (decided bool) {
	if g.opts.Deny != nil {
		switch denied, err := g.opts.Deny.has(r); {
		case err != nil:
			if err = errtext.Errorf("ratelimit", "gate: Deny: %w", err); !v.fail(r, err, g.opts.DryRun) {
				return true
			}
		case denied && !g.opts.DryRun:
			v.status, v.err = http.StatusForbidden, ErrDenied
			return true
		}
	}
	if g.opts.Allow == nil {
		return false
	}
	allowed, err := g.opts.Allow.has(r)
	if err != nil {
		return !v.fail(r, errtext.Errorf("ratelimit", "gate: Allow: %w", err), g.opts.DryRun)
	}
	return allowed
}
