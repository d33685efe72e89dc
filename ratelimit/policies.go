package ratelimit

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gatekit/gatekit/internal/errtext"
)

// Policies is a set of policies that is replaced while the program runs: the plans of an
// API, or all limits of a service, from a file or a database. Each has a name in the set,
// such as "free" and "pro", besides [Policy.Name]: plans that differ in quotas are
// policies of one name, so that a client whose plan changes keeps what it spent.
//
// The zero value has no policies. Fill it by Replace, or from JSON by [json.Unmarshal]:
//
//	{"free": {"name": "api", "limits": [...]}, "pro": {"name": "api", "limits": [...]}}
//
// A set is replaced as a whole or not at all: after an error the old set is in force.
// What a call finds in the set is what decides the call, whatever comes into force
// meanwhile, and its decision can be refunded later. Two rules of one request may find
// two sets.
//
// A replaced set forgets nothing that the limits do not forget. A count belongs to the
// name of the policy, the name of the limit, its window and its algorithm. If these stay,
// permits that were spent stay spent, and each call is decided by the quota that is in
// force for it; so at most the largest of these quotas passes in a window. If one of them
// changes, the limit is a new one and starts empty. Within one window at most the old
// quota and the new one pass then.
//
// Policies is safe for concurrent use. Do not copy it.
type Policies struct {
	now atomic.Pointer[map[string]*Policy] // nil before the first Replace; the map does not change

	mu       sync.Mutex      // orders changes of the set
	required map[string]bool // guarded by mu
}

// Get returns the policy of a name. It is never nil: if the set has no policy of the
// name, every call with the one that Get returns is an error that says so, and a request
// whose [Rule] finds it is answered 500. A nil would mean that the rule does not apply.
func (s *Policies) Get(name string) *Policy {
	if p := s.all()[name]; p != nil {
		return p
	}
	return &Policy{name: name}
}

// Choose returns a function for [Rule.PolicyFunc]: name returns the name of the policy
// for a request, such as the client's plan. An empty name means that the rule does not
// apply. It panics if name is nil.
func (s *Policies) Choose(name func(*http.Request) string) func(*http.Request) *Policy {
	if name == nil {
		panic("ratelimit: Policies.Choose(nil): want a function that returns the name of the policy")
	}
	return func(r *http.Request) *Policy {
		if name := name(r); name != "" {
			return s.Get(name)
		}
		return nil
	}
}

// Require names policies that the program cannot do without. The error names those that
// the set lacks. If there is none, Replace refuses from now on each set that lacks one of
// the names, so that a wrong set is refused when it comes, and not request by request.
func (s *Policies) Require(names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	required := maps.Clone(s.required)
	if required == nil {
		required = map[string]bool{}
	}
	for _, name := range names {
		required[name] = true
	}
	if err := lacking(s.all(), required); err != nil {
		return err
	}
	s.required = required
	return nil
}

// Replace puts another set in force, by name. The set has at least one policy; the form
// of the names is that of [Limit.Name]. After an error, which names the policy, the old
// set stays in force. Replace copies the map.
func (s *Policies) Replace(policies map[string]*Policy) error {
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		if err := checkName("name", name); err != nil {
			return errtext.Errorf("ratelimit", "policies: %w", err)
		}
		if err := policies[name].usable(); err != nil {
			return errtext.Errorf("ratelimit", "policies[%q]: %w", name, err)
		}
	}
	if len(policies) == 0 {
		return errors.New("ratelimit: policies: there are none: want at least one")
	}
	policies = maps.Clone(policies)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := lacking(policies, s.required); err != nil {
		return err
	}
	s.now.Store(&policies)
	return nil
}

// MarshalJSON returns the set in force: an object with each policy under its name, in
// alphabetical order, in the form of [Policy.MarshalJSON].
func (s *Policies) MarshalJSON() ([]byte, error) {
	all := s.all()
	if all == nil {
		all = map[string]*Policy{}
	}
	return json.Marshal(all)
}

// UnmarshalJSON is Replace with the policies of the form that MarshalJSON writes, which
// it checks as [Policy.UnmarshalJSON] does. The error names the place, as in
// policies["pro"].limits[0].quota, and the old set stays in force.
func (s *Policies) UnmarshalJSON(text []byte) error {
	policies := map[string]*Policy{}
	err := members("", text, func(_, name string, value json.RawMessage) (err error) {
		policies[name], err = readPolicy(fmt.Sprintf("policies[%.40q]", name), value)
		return err
	})
	if err != nil {
		return errtext.Errorf("ratelimit", "%w", err)
	}
	return s.Replace(policies)
}

func (s *Policies) all() map[string]*Policy {
	if now := s.now.Load(); now != nil {
		return *now
	}
	return nil
}

// lacking is the error of a set that lacks a required policy.
func lacking(policies map[string]*Policy, required map[string]bool) error {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(required)) {
		if policies[name] == nil {
			names = append(names, fmt.Sprintf("%q", name))
		}
	}
	if names == nil {
		return nil
	}
	return fmt.Errorf("ratelimit: policies: no %s, which the program requires", strings.Join(names, ", "))
}
