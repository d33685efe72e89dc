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

// GateOptions of a [Gate]; the zero value is ready to use.
type GateOptions struct {
	// Skip lets requests pass that no rule shall count: health checks, say. Nil skips
	// none.
	Skip func(*http.Request) bool

	// Headers is the form of the RateLimit fields; the zero value is [Draft10].
	Headers HeaderVersion

	// LegacyHeaders adds X-RateLimit-Limit, -Remaining and -Reset of the limit that has
	// least left; Reset is in seconds from now, rounded up, until that limit has more.
	// Around a reverse proxy to a service that sends such fields itself they come twice,
	// as httputil.ReverseProxy adds what it gets: delete one of them, in its
	// ModifyResponse.
	LegacyHeaders bool

	// DryRun makes all rules dry runs.
	DryRun bool

	// Pattern tells the pattern that the router matched, for rules with PerRoute. It
	// returns [NoRoute] for a request that no route matches, and an empty string when it
	// cannot know. It is called by many goroutines at once. Nil means the adapter's own
	// way to find it.
	Pattern func(*http.Request) string

	// ErrorHandler answers the requests that are blocked. All header fields but
	// Content-Type are set: it has to write the refusal's Status and a body of its own
	// choice. [FromContext] finds the decisions in the request. Nil asks the framework's
	// own error handler where it has one, which by default sends what
	// [gatekit.Refusal.Answer] does.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal)
}

// NoRoute is the pattern of a request that no route matches. All such requests are one
// route.
const NoRoute = "-"

const maxRules = 16

// A Gate decides over requests by rules, for the adapters of web frameworks. It is safe
// for concurrent use.
type Gate struct {
	limiter  *Limiter // without its observer, who is told when it is known what was given back
	observer Observer
	logger   *slog.Logger
	opts     GateOptions
	rules    []Rule
	fields   map[*Policy]string // RateLimit-Policy, encoded once
	mistakes mistakes
}

// NewGate returns the gate of 1 to 16 rules. It refuses, naming the rule and its field:
// neither or both of Policy and PolicyFunc, no Key, a CallID that the Policy would
// ignore, and two rules whose header items would have one name.
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
	g := &Gate{
		limiter: limiter.unobserved(), observer: limiter.observer, logger: limiter.store.Logger(),
		opts: opts, rules: append([]Rule(nil), rules...), fields: map[*Policy]string{},
	}
	names := map[string]int{}
	for i := range g.rules {
		rule := &g.rules[i]
		rule.DryRun = rule.DryRun || opts.DryRun
		if err := rule.check(); err != nil {
			return nil, errtext.Errorf("ratelimit", "gate: rule %d: %w", i, err)
		}
		if rule.Policy == nil {
			continue
		}
		g.fields[rule.Policy] = string(appendPolicy(nil, rule.Policy))
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

// asking is a request to the limiter on behalf of a rule.
type asking struct {
	Request
	dry  bool
	look bool // it costs nothing
}

// Admit decides over a request, for the middleware of a framework. The pattern is what
// the router matched, or [NoRoute]; empty means that it is not known. Admit adds to the
// response's header fields what the response says about the limits, whatever its status.
// It returns the request to go on with, which has the decisions in its context, for
// [FromContext]; or an error, which is a [*gatekit.Refusal], and the request to answer by
// [Gate.Refuse]. The status of the refusal is
//
//	429  when a policy denied it,
//	503  when Redis did not decide and a policy with [FailClosed] denied it, or the request's context had ended,
//	400  when a Key returned an error, or a CallID came with another cost than before,
//	500  when the program is wrong: Cost out of range, no pattern for PerRoute.
//
// The refusal's RetryAfter is whole seconds, at least 1, never before the request can
// pass, and up to a tenth (5 s at most) later at random, so that clients which were
// denied together do not come back together; 0 where waiting does not help.
//
// All rules are asked in one round trip, each policy all or nothing. When one denies,
// what the others spent is given back at once, in a second round trip: a client that is
// denied by its address does not use up an API key. In the moment between, another
// request with that key may be denied for it. When Redis fails in that moment, the
// permits stay spent. Rules with a CallID are asked last, alone, if the others let the
// request pass, and keep what they spent under that id.
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

// Refuse answers a request that [Gate.Admit] did not admit, with the request that Admit
// returned: by [GateOptions.ErrorHandler] or, where there is none, by
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
	if g.opts.Skip != nil && g.opts.Skip(r) {
		return verdict{}
	}
	if g.opts.Pattern != nil {
		pattern = g.opts.Pattern(r)
	}
	v := verdict{gate: g}
	var room, lastRoom [2]asking
	first, last := room[:0], lastRoom[:0]
	for i := range g.rules {
		rule := &g.rules[i]
		req, look, err := rule.request(r, pattern)
		if err != nil {
			if err = errtext.Errorf("ratelimit", "gate: rule %d: %w", i, err); !v.fail(r, err, rule.DryRun) {
				return v
			}
			continue
		}
		switch {
		case req.Policy == nil: // does not apply
		case look:
			last = append(last, asking{req, rule.DryRun, true})
		case req.CallID != "" && req.Policy.set.Sticky():
			last = append(last, asking{req, rule.DryRun, false})
		default:
			first = append(first, asking{req, rule.DryRun, false})
		}
	}
	if g.ask(r, &v, first) {
		g.ask(r, &v, last)
	}
	if v.status != 0 {
		g.giveBack(r.Context(), v.decisions)
	}
	g.mistakes.look(r, &v)
	if g.observer != nil {
		for _, d := range v.decisions {
			g.observer.Decided(r.Context(), d)
		}
	}
	return v
}

// ask decides by the limiter and reports whether the request may go on so far.
func (g *Gate) ask(r *http.Request, v *verdict, asked []asking) (goOn bool) {
	var ds []Decision
	var err error
	switch len(asked) {
	case 0:
		return true
	case 1:
		ds = make([]Decision, 1)
		ds[0], err = g.decide(r.Context(), asked[0])
	default:
		ds, err = g.decideMany(r.Context(), asked)
	}
	enforced := false // whether the error is of a rule that blocks
	for i := range asked {
		if i >= len(ds) || ds[i].record == nil { // was not decided: that is the error
			enforced = enforced || !asked[i].dry
			continue
		}
		if ds[i].DryRun = asked[i].dry; ds[i].DryRun {
			v.dry |= 1 << len(v.decisions)
		} else if !ds[i].Allowed {
			v.deny(&ds[i])
		}
		v.add(ds[i])
	}
	if err != nil {
		v.fail(r, errtext.Errorf("ratelimit", "gate: %w", err), !enforced)
	}
	return v.status == 0
}

func (g *Gate) decide(ctx context.Context, a asking) (Decision, error) {
	if a.look {
		return g.limiter.Peek(ctx, a.Policy, a.Key)
	}
	return g.limiter.Do(ctx, a.Request)
}

// decideMany asks for what costs nothing one by one: that is rare.
func (g *Gate) decideMany(ctx context.Context, asked []asking) ([]Decision, error) {
	var reqs []Request
	for _, a := range asked {
		if !a.look {
			reqs = append(reqs, a.Request)
		}
	}
	taken, err := g.limiter.TakeMany(ctx, reqs)
	ds := make([]Decision, len(asked))
	for i, a := range asked {
		switch {
		case a.look && err == nil:
			ds[i], err = g.decide(ctx, a)
		case !a.look && len(taken) > 0:
			ds[i], taken = taken[0], taken[1:]
		}
	}
	return ds, err
}

// giveBack refunds what the rules that did not deny have spent, and corrects what they
// say remains. Named calls stay charged: refunded, they would pass for nothing when the
// client repeats them.
func (g *Gate) giveBack(ctx context.Context, ds []Decision) {
	var spent []Decision
	want := 0
	for i := range ds {
		if ds[i].returnable() {
			spent, want = append(spent, ds[i]), want+len(ds[i].Limits)
		}
	}
	if len(spent) == 0 {
		return
	}
	// Also when the request's own time is over. After an error the permits count as
	// spent: nothing else can be done.
	given, err := g.limiter.RefundMany(context.WithoutCancel(ctx), spent)
	if err != nil || given != want {
		return
	}
	for i := range ds {
		if ds[i].returnable() {
			ds[i].GivenBack = true
			ds[i].restore()
		}
	}
}

func (d *Decision) returnable() bool {
	if d.Degraded != nil {
		return d.record.local != nil
	}
	return d.Allowed && !d.record.call.Repeatable && !d.record.look
}

// restore makes the decision tell the state after its refund.
func (d *Decision) restore() {
	if d.Degraded != nil {
		return // nobody knows what Redis has
	}
	d.Remaining = MaxBucketQuota
	for i := range d.Limits {
		s := &d.Limits[i]
		s.Remaining = min(s.Remaining+d.Cost(), s.Quota)
		if s.Remaining == s.Quota {
			s.ResetAfter = 0
		}
		d.Remaining = min(d.Remaining, s.Remaining)
	}
}
