package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
)

// A Rule says which policy counts which requests of an HTTP service, and by what key. Its
// functions are called by many goroutines at once, in the order Skip, PolicyFunc, Key,
// Cost, CallID, each at most once per request.
type Rule struct {
	// Policy counts the requests. Either it or PolicyFunc is set.
	Policy *Policy

	// PolicyFunc chooses the policy by the request: by plan or tenant. Nil means that the
	// rule does not apply. Policies of one name share what they count, so plans that
	// differ in quotas have one name. Make the policies once, not per request. Where
	// several rules choose policies of one name, the header fields tell of the first.
	PolicyFunc func(*http.Request) *Policy

	// Key tells whose quota a request uses up. Required: [Everyone] for a limit that all
	// share.
	Key KeyFunc

	// PerRoute counts each route apart: the pattern that the router matched becomes part
	// of the key, never the path, of which there are endless spellings.
	PerRoute bool

	// Required makes a request that has no key an error, answered 400, and one without a
	// policy an error of the program, answered 500 and logged. False lets the rule not
	// apply to them.
	Required bool

	// Cost is how many permits a request needs, in the range of [Request.Cost]; nil means
	// 1. A request that costs 0 passes when one permit is free, and spends none. One
	// whose cost is not known in advance has a negative cost and is charged MaxCost: with
	// r.ContentLength that is a body of unknown length. Any other value is an error of
	// the program, answered 500.
	Cost func(*http.Request) int64

	// MaxCost is what a request of unknown cost is charged, permits, in the range of
	// [Request.Cost]. 0 means that each cost is known, and a negative one is an error. It
	// does not bound the costs that are known.
	MaxCost int64

	// CallID names a request for a policy with a [SlidingLog], see [Request.CallID]: by
	// its Idempotency-Key, say. Empty means that nobody repeats it. A repeated id passes
	// free of charge as often as the client likes, so this is for handlers that do the
	// work once per id. A Redis round trip of its own comes after that of the other
	// rules.
	CallID func(*http.Request) string

	// Skip says that the rule does not apply to a request. Nil skips none. Clients write
	// headers: don't skip by one.
	Skip func(*http.Request) bool

	// DryRun makes the rule decide and report (to the [Observer], and in
	// [FromContext]) but never block, nor show in header fields. Give it a policy name of
	// its own, or its permits are those of the rules that block.
	DryRun bool
}

func (rule *Rule) check() error {
	switch p := rule.Policy; {
	case p == nil && rule.PolicyFunc == nil:
		return errors.New("neither Policy nor PolicyFunc: want one of them")
	case p != nil && rule.PolicyFunc != nil:
		return errors.New("both Policy and PolicyFunc: want one of them")
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

// request is what the rule asks of the limiter; the zero Request means that it does not
// apply. look means that it costs nothing: there has to be a permit, which is not spent.
func (rule *Rule) request(r *http.Request, pattern string) (req Request, look bool, err error) {
	if rule.Skip != nil && rule.Skip(r) {
		return Request{}, false, nil
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
	if look = req.Cost == 0; look {
		req.Cost = 1
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
