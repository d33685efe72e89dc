package ratelimit

import (
	"context"
	"fmt"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// maxTogether is the largest number of limits that are decided together. One script takes
// about 6 µs a limit, and meanwhile the server does nothing else.
const maxTogether = 32

// TakeAll decides requests over several keys together: it spends what all of them ask
// for or, if one is denied, nothing. The requests may have different policies, keys and
// costs; their policies have at most 32 limits together. Decision i belongs to request i.
//
// If no decision is a denial, all are [Decision.Spent]. Otherwise none is, but for those
// that were spent before ([Decision.Repeated]): each request that its own limits let pass
// is Allowed and not Spent. When the largest RetryAfter of the denials is over, all can
// pass, if nobody else spends meanwhile; earlier one of them cannot.
//
// On one server this is one script and one round trip, and a denial writes nothing. On a
// Cluster or a Ring the keys are on several servers. There each request is a script of
// its own, all in one round trip to each server, and if one denies, what the others spent
// is given back in a second round trip ([Decision.GivenBack]). A client that goes on
// asking after a denial must not keep others from their permits in between, so a key that
// was denied a moment ago is asked before the others, and if it denies again, the others
// are not asked: their decisions are Allowed and not Spent, and their Remaining is
// [Unknown]. Requests with a CallID are asked last and never given back there. Likewise
// everywhere, of several requests for one policy and key, all but the first are asked
// after the others; and if a cost is above a quota ([Never]), no request is asked.
//
// The errors are those of [Limiter.Take]. If one request is wrong, none is sent to Redis.
// [ErrOtherCost] of one request is a denial for the others, whose decisions are returned
// beside the error. If Redis does not decide, the fail mode of each policy does, all or
// nothing as well: if one policy is [FailClosed], those with [FailLocal] spend nothing.
// After [gatekit.ErrUnknownOutcome] each request may have been charged once.
func (l *Limiter) TakeAll(ctx context.Context, reqs []Request) ([]Decision, error) {
	if len(reqs) == 1 {
		d, err := l.Do(ctx, reqs[0])
		return []Decision{d}, err
	}
	asked := make([]asking, len(reqs))
	for i, req := range reqs {
		asked[i].Request = req
	}
	ds, err := l.takeAll(ctx, asked)
	for _, d := range ds {
		if d.record != nil {
			l.decided(ctx, d)
		}
	}
	return ds, err
}

// asking is a request among others.
type asking struct {
	Request
	dry  bool // it decides for itself, and keeps no other from spending
	look bool // there must be a permit, but none is spent
	rule int  // of a gate, whose Settle the decision is for
}

// takeAll is TakeAll that tells no observer. The decision of a request that ended with an
// error has no record.
func (l *Limiter) takeAll(ctx context.Context, asked []asking) ([]Decision, error) {
	t := &together{Limiter: l, ctx: ctx, parts: make([]part, len(asked))}
	limits := 0
	for i, a := range asked {
		p := &t.parts[i]
		var err error
		if p.record, p.limits, err = l.begin(ctx, a.Request); err != nil {
			return nil, errtext.Errorf("ratelimit", "request %d: %w", i, err)
		}
		p.dry, p.never = a.dry, p.neverPasses()
		if a.look {
			p.lookOnly()
		}
		limits += len(p.limits)
	}
	if limits > maxTogether {
		return nil, fmt.Errorf("ratelimit: %d limits are decided together: want at most %d: ask for fewer at once", limits, maxTogether)
	}
	if !t.denied() {
		t.ask()
	}
	t.askLocal()
	ds, err := t.decisions()
	if t.denied() {
		l.giveBack(ctx, ds)
	}
	return ds, err
}

// together is several requests that are decided together.
type together struct {
	*Limiter
	ctx   context.Context
	parts []part
}

// part is one of them.
type part struct {
	*record
	limits []LimitState
	dry    bool
	never  bool // its cost is above a quota, so it is not asked

	asked bool // the next two are known
	reply store.LimitReply
	err   error

	wait time.Duration // how long its share of an outage makes it wait, if FailLocal decides
}

// lookOnly makes the request one that spends nothing and is not remembered.
func (p *part) lookOnly() {
	p.look = true
	p.refunded.Store(true) // nothing to give back
	p.call.Costs, p.call.Name, p.call.Repeatable = p.policy.noCosts(), "", false
}

// denies reports whether the part keeps the others from spending, as far as is known.
func (p *part) denies() bool {
	switch {
	case p.dry:
		return false
	case p.never:
		return true
	case !p.asked:
		return false
	case p.err == nil:
		return p.reply.Verdict() == store.Denied || p.reply.Verdict() == store.OtherCost
	}
	return hurried(p.err) || p.policy.fail == FailClosed || p.wait > 0
}

// denied reports whether a part denies.
func (t *together) denied() bool {
	for i := range t.parts {
		if t.parts[i].denies() {
			return true
		}
	}
	return false
}

// ask sends the parts in steps, until one denies. If the budget is over before the last
// step, the fail modes decide the parts that were not sent.
func (t *together) ask() {
	began := time.Now()
	for steps := t.steps(); len(steps) > 0 && !t.denied(); steps = steps[1:] {
		if time.Since(began) > t.store.Budget() {
			t.answer(steps[0], errNoTime)
			continue
		}
		if sent := t.send(steps[0]); !sent {
			// The server does not have all keys, and nothing ran. The store knows that
			// now.
			steps = append([][]*part{nil}, t.steps()...)
		}
	}
}

var errNoTime = fmt.Errorf("%w: not asked, the budget was over", gatekit.ErrUnavailable)

// steps returns the parts that are sent together, in order.
func (t *together) steps() [][]*part {
	if t.store.Sharded() {
		return t.spread()
	}
	// Two groups of one script must not have one key: each would find the permit that is
	// left.
	seen := map[store.Tag]bool{}
	first := make([]*part, 0, len(t.parts))
	steps := [][]*part{nil}
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.never:
		case seen[p.call.Tag]:
			steps = append(steps, []*part{p})
		default:
			seen[p.call.Tag] = true
			first = append(first, p)
		}
	}
	steps[0] = first
	return steps
}

// send sends the parts of one step. It returns false if the server does not have all
// keys.
func (t *together) send(step []*part) (sent bool) {
	switch {
	case len(step) == 0:
		return true
	case len(step) > 1 && !t.store.Sharded():
		return t.sendTogether(step)
	}
	t.sendEach(step)
	return true
}

// answer notes the error of all parts of a step, nil if they have replies.
func (t *together) answer(step []*part, err error) {
	for _, p := range step {
		if p.asked = true; err != nil {
			p.err = err
		}
		if p.failedLocal() {
			p.wait = t.local.peek(p.policy, p.call)
		}
	}
	t.suspect(step)
}

// sendTogether sends the parts by one script.
func (t *together) sendTogether(step []*part) (sent bool) {
	groups := make([]store.LimitGroup, len(step))
	for i, p := range step {
		groups[i] = store.LimitGroup{LimitCall: p.call, DryRun: p.dry}
	}
	var replies []store.LimitReply
	sharded := false
	err := t.health.call(groups[0].Tag, func() (err error) {
		replies, err = t.store.LimitTakeAll(t.ctx, groups)
		if sharded = err != nil && t.store.Sharded(); sharded {
			return nil // the server answers
		}
		return err
	})
	if sharded {
		return false
	}
	for i := range replies {
		step[i].reply = replies[i]
	}
	t.answer(step, err)
	return true
}

// sendEach sends the parts by a script each, in one round trip.
func (t *together) sendEach(step []*part) {
	if len(step) == 1 {
		p := step[0]
		p.err = t.health.call(p.call.Tag, func() (err error) {
			p.reply, err = t.store.LimitTake(t.ctx, p.call)
			return err
		})
		t.answer(step, nil)
		return
	}
	calls := make([]store.LimitCall, len(step))
	for i, p := range step {
		calls[i] = p.call
	}
	replies, errs := t.askMany(t.ctx, calls)
	for i, p := range step {
		p.reply, p.err = replies[i], errs[i]
	}
	t.answer(step, nil)
}

// askLocal spends the shares of the parts that FailLocal decides, unless one denies. The
// shares were looked at before. If another call took one since, what was spent from the
// others goes back.
func (t *together) askLocal() {
	if t.denied() {
		return
	}
	for i := range t.parts {
		p := &t.parts[i]
		if !p.failedLocal() || p.wait > 0 {
			continue
		}
		if p.local, p.wait = t.local.take(p.policy, p.call); p.local != nil || p.dry {
			continue
		}
		for j := range t.parts[:i] {
			if earlier := &t.parts[j]; earlier.local != nil {
				t.local.refund(earlier.policy, earlier.call, earlier.local)
				earlier.local = nil
			}
		}
		return
	}
}

// failedLocal reports whether the share of an outage decides.
func (p *part) failedLocal() bool {
	return p.asked && p.err != nil && !hurried(p.err) && p.policy.fail == FailLocal
}

// decisions returns the decisions, and the first error.
func (t *together) decisions() (ds []Decision, first error) {
	ds = make([]Decision, len(t.parts))
	passed := !t.denied()
	for i := range t.parts {
		d, err := t.parts[i].decision()
		if err != nil {
			if first == nil {
				first = errtext.Errorf("ratelimit", "request %d: %w", i, err)
			}
			continue
		}
		if d.record.look || !passed && (d.Degraded != nil || d.spentLimits() == 0) {
			d.Spent = false
		}
		if !d.Spent {
			d.record.refunded.Store(true) // nothing to give back
		}
		ds[i] = d
	}
	return ds, first
}

// decision returns the decision of one part.
func (p *part) decision() (Decision, error) {
	switch {
	case p.never:
		return p.record.never(p.limits), nil
	case !p.asked:
		return Decision{Allowed: true, Remaining: Unknown, Limits: p.limits, record: p.record}, nil
	case p.err != nil && hurried(p.err):
		return Decision{}, p.hurried(p.err)
	case p.err != nil:
		return p.degraded(p.limits, p.err, func() (bool, time.Duration) { return p.wait == 0, p.wait }), nil
	case p.reply.Verdict() == store.OtherCost:
		return Decision{}, errtext.Errorf("ratelimit", "policy %q: %w", p.policy.name, ErrOtherCost)
	}
	return p.decided(p.limits, p.reply), nil
}
