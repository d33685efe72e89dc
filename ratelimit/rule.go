package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
)

// A Rule says which requests of an HTTP service a policy counts, and by which key. Most
// rules set Policy and Key only. Many goroutines call its functions at once; for one
// request they are called in the order Skip, Allow, PolicyFunc, Key, Cost, CallID, each
// at most once.
type Rule struct {
	// Policy counts the requests. Set it or PolicyFunc, not both.
	Policy *Policy

	// PolicyFunc chooses the policy by the request, for example by plan or tenant. If it
	// returns nil, the rule does not apply. Policies of one name share their counts, so
	// give plans that differ only in quotas one name. Make the policies once, not per
	// request. If several rules choose policies of one name, the header fields show the
	// first.
	PolicyFunc func(*http.Request) *Policy

	// Key returns the key whose quota a request uses up. It must be set; use [Everyone]
	// for a limit that all clients share.
	Key KeyFunc

	// PerRoute counts each route apart: the pattern that the router matched becomes part
	// of the key. The path does not, because a client can spell it in endless ways.
	PerRoute bool

	// Required makes it an error when a request has no key, answered 400, or no policy,
	// answered 500 and logged. If it is false, the rule does not apply to such requests.
	Required bool

	// Cost is how many permits a request needs, in the range of [Request.Cost]; nil means
	// 1. A request that costs 0 passes if one permit is free, and spends none. Return a
	// negative cost when it is not known in advance: the request is then charged MaxCost.
	// r.ContentLength is such a cost: it is -1 for a body of unknown length. Any other
	// value is an error of the program, answered 500.
	Cost func(*http.Request) int64

	// MaxCost is the charge for a request whose Cost is negative, in permits, in the
	// range of [Request.Cost]. If it is 0, a negative Cost is an error. It does not bound
	// the costs that are known.
	MaxCost int64

	// Settle says what a request really used, in permits, when its handler is done; see
	// [Limiter.Settle]. The rule charges the Cost before the handler runs, so parallel
	// requests cannot slip through, and what was not used comes back. A negative number
	// leaves the charge as it is. Nil settles nothing. It is called once for each request
	// that the gate admitted and that did not cost 0: after the handler returned or
	// panicked, and at the end of a stream. The response ends after another round trip to
	// Redis.
	Settle func(Response) int64

	// CallID names a request for a policy with a [SlidingLog], see [Request.CallID]: for
	// example by its Idempotency-Key. Empty means that nobody repeats the request. A
	// repeated id passes free of charge as often as the client likes, so use it only
	// before a handler that does the work once per id. On a cluster the rule takes a
	// round trip of its own, after that of the other rules, and what it spent is never
	// given back.
	CallID func(*http.Request) string

	// Skip reports whether the rule does not apply to a request. Nil skips none. Do not
	// skip by a header: the client writes it.
	Skip func(*http.Request) bool

	// Allow exempts its clients from the rule: it does not apply to their requests. Nil
	// exempts none. To exempt clients from all rules of a gate, see [GateOptions.Allow].
	Allow *List

	// DryRun makes the rule decide and report, to the [Observer] and in [FromContext]. It
	// never blocks, and does not show in header fields. Give its policy a name of its
	// own; otherwise it spends the permits of the rules that block.
	DryRun bool
}

func (rule *Rule) check() error {
	switch p := rule.Policy; {
	case p == nil && rule.PolicyFunc == nil:
		return errors.New("neither Policy nor PolicyFunc: want one of them")
	case p != nil && rule.PolicyFunc != nil:
		return errors.New("both Policy and PolicyFunc: want one of them")
	case p != nil && p.usable() != nil:
		return p.usable()
	case p != nil && p.slots != nil:
		return fmt.Errorf("Policy %q has a Concurrent limit, which a gate does not release: call Limiter.Run in the handler", p.name)
	case rule.Allow.check() != nil:
		//lint:ignore ST1005 it begins with the name of the field
		return fmt.Errorf("Allow: %w", rule.Allow.check())
	case rule.Key == nil:
		return errors.New("no Key: want a KeyFunc, or Everyone() for a limit that all share")
	case rule.MaxCost < 0 || rule.MaxCost > MaxBucketQuota:
		return fmt.Errorf("MaxCost %d: want 0 to %d", rule.MaxCost, int64(MaxBucketQuota))
	case rule.MaxCost > 0 && rule.Cost == nil:
		return errors.New("MaxCost without Cost: every request costs 1")
	case p != nil && rule.CallID != nil && !p.set.Sticky():
		return fmt.Errorf("CallID: Policy %q has no SlidingLog, which alone remembers calls", p.name)
	}
	return nil
}

// request returns what the rule asks of the limiter. The zero Request means that the rule
// does not apply. look means that the cost is 0 and the policy has a SlidingLog: there
// must be a permit, but none is spent.
func (rule *Rule) request(r *http.Request, pattern string) (req Request, look bool, err error) {
	if rule.Skip != nil && rule.Skip(r) {
		return Request{}, false, nil
	}
	if rule.Allow != nil {
		if exempt, err := rule.Allow.has(r); exempt || err != nil {
			return Request{}, false, err
		}
	}
	p := rule.Policy
	if p == nil {
		p = rule.PolicyFunc(r)
	}
	switch {
	case p == nil && rule.Required:
		return Request{}, false, errNoPolicy
	case p == nil:
		return Request{}, false, nil
	}
	if err := p.usable(); err != nil {
		return Request{}, false, err
	}
	key, err := rule.Key(r)
	switch {
	case err != nil:
		return Request{}, false, fmt.Errorf("%w: %w", errKey, err)
	case key == "" && rule.Required:
		return Request{}, false, fmt.Errorf("%w: it is empty and the rule is Required", errKey)
	case key == "":
		return Request{}, false, nil
	}
	if rule.PerRoute {
		if pattern == "" {
			return Request{}, false, errNoPattern
		}
		key = Join("route", pattern, key)
	}
	req = Request{Policy: p, Key: key, Cost: rule.cost(r)}
	if req.Cost == 0 {
		if look = p.set.Sticky(); look {
			req.Cost = 1
		} else {
			req.Costs = p.noCosts()
			return req, false, nil
		}
	}
	if rule.CallID != nil {
		req.CallID = rule.CallID(r)
	}
	return req, look, p.checkCost(req.Cost)
}

func (rule *Rule) cost(r *http.Request) int64 {
	if rule.Cost == nil {
		return 1
	}
	cost := rule.Cost(r)
	if cost < 0 && rule.MaxCost > 0 {
		return rule.MaxCost
	}
	return cost
}

var (
	errKey       = errors.New("no Key")
	errNoPolicy  = errors.New("PolicyFunc returned nil and the rule is Required")
	errNoPattern = errors.New("PerRoute: the matched pattern is not known: mount the gate where the router has matched, or tell the adapter how to find it")
)
