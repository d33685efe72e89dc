package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/given"
)

// GateOptions are the options of a [Gate]. The zero value is ready to use.
type GateOptions struct {
	// Skip reports whether a request passes without any rule counting it, such as a
	// health check. Nil skips none.
	Skip func(*http.Request) bool

	// Deny refuses the requests of its clients with 403, before anything else of the gate
	// looks at them: before Skip, Allow and the rules. Redis is not asked. The reason of
	// the refusal is [ErrDenied]. Nil denies none.
	Deny *List

	// Allow lets the requests of its clients pass without any rule counting them. Nil
	// lets none. To exempt clients from one rule, see [Rule.Allow].
	Allow *List

	// Headers is the form of the RateLimit fields; the zero value is [Draft10].
	Headers HeaderVersion

	// LegacyHeaders adds X-RateLimit-Limit, -Remaining and -Reset of the limit that has
	// the fewest permits left. Reset is how many seconds, rounded up, until that limit
	// has more. If the handler is an httputil.ReverseProxy and the service behind it
	// sends such fields too, the client gets both: delete the service's in
	// ModifyResponse.
	LegacyHeaders bool

	// DryRun makes every rule a dry run, see [Rule.DryRun]. Deny refuses none then.
	DryRun bool

	// Pattern returns the pattern that the router matched, for rules with PerRoute. It
	// returns [NoRoute] for a request that no route matches, and an empty string when it
	// cannot know. Many goroutines call it at once. Nil means that the adapter finds the
	// pattern in its own way.
	Pattern func(*http.Request) string

	// ErrorHandler answers the requests that are blocked. All header fields but
	// Content-Type are set already. The handler writes the refusal's Status and a body of
	// its own choice. [FromContext] finds the decisions in the request. If ErrorHandler
	// is nil and the framework has an error handler of its own, that one answers; its
	// default sends the same as [gatekit.Refusal.Answer].
	ErrorHandler func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal)
}

// NoRoute is the pattern of a request that no route matches. All such requests are one
// route.
const NoRoute = "-"

const maxRules = 16

// A Gate applies rules to HTTP requests. The adapters of web frameworks build on it. It
// is safe for concurrent use.
type Gate struct {
	limiter  *Limiter // without its observer
	observer Observer // called when the gate knows which decisions are spent
	logger   *slog.Logger
	opts     GateOptions
	rules    []Rule
	fields   map[*Policy]string // RateLimit-Policy, encoded once; not of policies with a calendar
	mistakes mistakes
}

// NewGate returns the gate of 1 to 16 rules, whose policies have at most 32 limits
// together. It returns an error that names the rule and its field if a rule has neither
// or both of Policy and PolicyFunc, has no Key, or has a CallID that the Policy would
// ignore, and if two rules would write header items of the same name.
func NewGate(limiter *Limiter, opts GateOptions, rules ...Rule) (*Gate, error) {
	if err := given.Check(limiter); err != nil {
		return nil, err
	}
	if len(rules) < 1 || len(rules) > maxRules {
		return nil, fmt.Errorf("ratelimit: gate: %d rules: want 1 to %d", len(rules), maxRules)
	}
	if opts.Headers > NoHeaders {
		return nil, fmt.Errorf("ratelimit: gate: Headers %d: want Draft10 or NoHeaders", opts.Headers)
	}
	if err := opts.checkLists(); err != nil {
		return nil, err
	}
	g := &Gate{
		limiter: limiter.unobserved(), observer: limiter.observer, logger: limiter.store.Logger(),
		opts: opts, rules: append([]Rule(nil), rules...), fields: map[*Policy]string{},
	}
	names, limits := map[string]int{}, 0
	for i := range g.rules {
		rule := &g.rules[i]
		rule.DryRun = rule.DryRun || opts.DryRun
		if err := rule.check(); err != nil {
			return nil, errtext.Errorf("ratelimit", "gate: rule %d: %w", i, err)
		}
		if rule.Policy == nil {
			continue
		}
		if limits += len(rule.Policy.limits); limits > maxTogether {
			return nil, fmt.Errorf("ratelimit: gate: rule %d: %d limits up to here: want at most %d: split the gate", i, limits, maxTogether)
		}
		if !rule.Policy.set.Calendars() {
			_, limits := newRecord(rule.Policy)
			g.fields[rule.Policy] = string(appendPolicy(nil, rule.Policy, limits))
		}
		for n := range rule.Policy.limits {
			name := string(appendItemName(nil, rule.Policy, n))
			if other, taken := names[name]; taken {
				return nil, fmt.Errorf("ratelimit: gate: rule %d: Policy %q: header item %s is that of rule %d too; rename one policy",
					i, rule.Policy.name, name, other)
			}
			names[name] = i
		}
	}
	return g, nil
}

// Admit decides whether a request may go on. The middleware of a framework calls it. The
// pattern is the one that the router matched, or [NoRoute]; empty means that it is not
// known. Admit adds the RateLimit fields to the response's header, whether or not the
// request may go on. It returns a copy of the request that has the decisions in its
// context, for [FromContext]. If the request may not go on, the error is a
// [*gatekit.Refusal]; pass both to [Gate.Refuse]. The status of the refusal is
//
//	429  when a policy denied it,
//	503  when Redis did not decide and the policy's fail mode is [FailClosed], or when the request's context had ended,
//	403  when the client is on the list [GateOptions.Deny],
//	400  when a Key returned an error, or a CallID came with another cost than before,
//	500  when the program is wrong: a Cost out of range, no pattern for PerRoute, more than 32 limits.
//
// The refusal's RetryAfter is in whole seconds, at least 1. It is never before the
// request can pass. A random delay of up to a tenth of it, at most 5 s, is added, so that
// clients which were denied together do not come back together. It is 0 where waiting
// does not help.
//
// All rules are decided together, see [Limiter.TakeAll]: they spend, or, if one that
// blocks denies, nothing is spent. So a client that is denied by its address does not use
// up an API key. On one server that is one script and one round trip.
func (g *Gate) Admit(h http.Header, r *http.Request, pattern string) (*http.Request, error) {
	v := g.check(r, pattern)
	v.header(h)
	r = v.inContext(r)
	if v.status != 0 {
		refusal := v.refusal()
		refusal.Header(h)
		return r, refusal
	}
	return r, nil
}

// Refuse answers a request that [Gate.Admit] did not admit. r and err are what Admit
// returned. [GateOptions.ErrorHandler] answers or, where it is nil,
// [gatekit.Refusal.Answer].
func (g *Gate) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal := new(gatekit.Refusal)
	if !errors.As(err, &refusal) {
		refusal = &gatekit.Refusal{Status: http.StatusInternalServerError, Err: err}
	}
	if g.opts.ErrorHandler != nil {
		g.opts.ErrorHandler(w, r, refusal)
		return
	}
	refusal.Answer(w, r)
}

func (g *Gate) check(r *http.Request, pattern string) verdict {
	v := verdict{gate: g}
	if g.byLists(r, &v) {
		g.mistakes.look(r, &v)
		return v
	}
	if g.opts.Skip != nil && g.opts.Skip(r) {
		return verdict{}
	}
	if g.opts.Pattern != nil {
		pattern = g.opts.Pattern(r)
	}
	var room [2]asking
	asked := room[:0]
	for i := range g.rules {
		rule := &g.rules[i]
		req, look, err := rule.request(r, pattern)
		if err != nil {
			if err = errtext.Errorf("ratelimit", "gate: rule %d: %w", i, err); !v.fail(r, err, rule.DryRun) {
				return v
			}
			continue
		}
		if req.Policy != nil { // or else it does not apply
			asked = append(asked, asking{req, rule.DryRun, look, i})
		}
	}
	g.ask(r, &v, asked)
	g.mistakes.look(r, &v)
	if g.observer != nil {
		for _, d := range v.decisions {
			g.observer.Decided(r.Context(), d)
		}
	}
	return v
}

// ask has the limiter decide.
func (g *Gate) ask(r *http.Request, v *verdict, asked []asking) {
	var ds []Decision
	var err error
	switch len(asked) {
	case 0:
		return
	case 1:
		ds = make([]Decision, 1)
		ds[0], err = g.decide(r.Context(), asked[0])
	default:
		ds, err = g.limiter.takeAll(r.Context(), asked)
	}
	enforced := false // whether a rule that blocks got no decision
	for i := range asked {
		if i >= len(ds) || ds[i].record == nil { // not decided; err is the reason
			enforced = enforced || !asked[i].dry
			continue
		}
		if ds[i].DryRun = asked[i].dry; ds[i].DryRun {
			v.dry |= 1 << len(v.decisions)
		} else if !ds[i].Allowed {
			v.deny(&ds[i])
		}
		v.add(ds[i])
		if g.rules[asked[i].rule].Settle != nil {
			v.room.settlements = append(v.room.settlements, settlement{ds[i], asked[i].rule})
		}
	}
	if err != nil {
		v.fail(r, errtext.Errorf("ratelimit", "gate: %w", err), !enforced)
	}
}

func (g *Gate) decide(ctx context.Context, a asking) (Decision, error) {
	if a.look {
		return g.limiter.Peek(ctx, a.Policy, a.Key)
	}
	return g.limiter.Do(ctx, a.Request)
}
