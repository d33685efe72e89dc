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
	"github.com/gatekit/gatekit/internal/store"
)

// GateOptions are the options of a [Gate]. The zero value is ready to use.
type GateOptions struct {
	// Skip reports whether a request passes without any rule counting it, such as a
	// health check. Nil skips none.
	Skip func(*http.Request) bool

	// Headers is the form of the RateLimit fields; the zero value is [Draft10].
	Headers HeaderVersion

	// LegacyHeaders adds X-RateLimit-Limit, -Remaining and -Reset of the limit that has
	// the fewest permits left. Reset is how many seconds, rounded up, until that limit
	// has more. If the handler is an httputil.ReverseProxy and the service behind it
	// sends such fields too, the client gets both: delete the service's in
	// ModifyResponse.
	LegacyHeaders bool

	// DryRun makes every rule a dry run, see [Rule.DryRun].
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
	observer Observer // called when the gate knows which decisions it gave back
	logger   *slog.Logger
	opts     GateOptions
	rules    []Rule
	fields   map[*Policy]string // RateLimit-Policy, encoded once; not of policies with a calendar
	mistakes mistakes
}

// NewGate returns the gate of 1 to 16 rules. It returns an error that names the rule and
// its field if a rule has neither or both of Policy and PolicyFunc, has no Key, or has a
// CallID that the Policy would ignore, and if two rules would write header items of the
// same name.
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
		if !rule.Policy.set.Calendars() {
			_, limits := newRecord(rule.Policy, store.LimitCall{})
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

// asking is what one rule asks of the limiter.
type asking struct {
	Request
	dry  bool
	look bool // a Peek: there must be a permit, but none is spent
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
//	400  when a Key returned an error, or a CallID came with another cost than before,
//	500  when the program is wrong: a Cost out of range, no pattern for PerRoute.
//
// The refusal's RetryAfter is in whole seconds, at least 1. It is never before the
// request can pass. A random delay of up to a tenth of it, at most 5 s, is added, so that
// clients which were denied together do not come back together. It is 0 where waiting
// does not help.
//
// All rules are asked in one round trip. Each policy spends from all its limits or from
// none. When one rule denies, the gate gives back at once, in a second round trip, what
// the other rules spent. So a client that is denied by its address does not use up an API
// key. Between the two round trips, another request with that key may be denied. If Redis
// fails between them, the permits stay spent. Rules with a CallID are asked last, in a
// round trip of their own, and only if the others let the request pass. The gate never
// gives back what they spent.
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

// ask has the limiter decide, and reports whether the request may still go on.
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

// decideMany decides all in one round trip, but for the peeks, which are rare: each takes
// a round trip of its own.
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

// giveBack refunds what the rules that did not deny have spent, and corrects what their
// decisions say remains. A call with a CallID stays charged. If it were refunded, the
// client could repeat it free of charge.
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
	// The refund is sent even if the request's context has ended. After an error the
	// permits stay spent: nothing else can be done.
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

// restore sets the decision's Remaining and ResetAfter to the state after its refund.
func (d *Decision) restore() {
	if d.Degraded != nil {
		return // Redis did not answer, so what remains there is not known
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
