package ratelimit

import (
	"context"
	"time"
)

// maxSuspects is how many suspects are asked one by one. Each costs a round trip if it
// lets the request pass.
const maxSuspects = 2

// spread returns the steps where the keys are on several servers: the suspects one by
// one, then the rest, and last the calls that can be repeated, which are never given
// back.
//
// If all were asked at once, a client that goes on asking with an address that is used up
// would take the permits of other keys, and give them back a round trip later. Meanwhile
// the owners of those keys are denied. With 100 such clients a key of 10 permits in 100
// ms denied its owner 94 times of 100, and now 3 times.
func (t *together) spread() [][]*part {
	var steps [][]*part
	var rest, named []*part
	now := time.Now()
	for i := range t.parts {
		p := &t.parts[i]
		switch {
		case p.never:
		case p.call.Repeatable:
			named = append(named, p)
		case !p.dry && len(steps) < maxSuspects && t.suspects.has(p.call.Tag, now):
			steps = append(steps, []*part{p})
		default:
			rest = append(rest, p)
		}
	}
	return append(steps, rest, named)
}

// suspect remembers the parts that denied, for the next requests.
func (t *together) suspect(step []*part) {
	for _, p := range step {
		if p.err != nil || !p.denies() {
			continue
		}
		wait, window := time.Duration(0), time.Duration(0)
		for i, l := range p.policy.limits {
			if after := p.reply.RetryAfter(i); after > 0 {
				wait, window = max(wait, after), max(window, l.Window)
			}
		}
		t.suspects.add(p.call.Tag, time.Now().Add(wait+min(window, time.Minute)))
	}
}

// giveBack refunds what was spent although another request was denied, and corrects what
// the decisions say. A call with a CallID stays charged. If it were refunded, the client
// could repeat it free of charge.
func (l *Limiter) giveBack(ctx context.Context, ds []Decision) {
	var spent []Decision
	want := 0
	for i := range ds {
		if ds[i].returnable() {
			spent, want = append(spent, ds[i]), want+ds[i].spentLimits()
		}
	}
	if len(spent) == 0 {
		return
	}
	// The refund is sent even if the request's context has ended. After an error the
	// permits stay spent: nothing else can be done.
	given, err := l.RefundMany(context.WithoutCancel(ctx), spent)
	if err != nil || given != want {
		return
	}
	for i := range ds {
		if ds[i].returnable() {
			ds[i].Spent, ds[i].GivenBack = false, true
			ds[i].restore()
		}
	}
}

// returnable reports whether Redis spent something that can be given back.
func (d *Decision) returnable() bool {
	return d.Spent && d.Degraded == nil && !d.record.call.Repeatable
}

// spentLimits returns how many limits spent something.
func (d *Decision) spentLimits() (n int) {
	for i := range d.Limits {
		if d.record.call.CostOf(i) > 0 {
			n++
		}
	}
	return n
}

// restore sets the decision's Remaining and ResetAfter to the state after its refund.
func (d *Decision) restore() {
	d.Remaining = MaxBucketQuota
	for i := range d.Limits {
		s := &d.Limits[i]
		s.Remaining = min(s.Remaining+d.record.call.CostOf(i), s.Quota)
		if s.Remaining == s.Quota {
			s.ResetAfter = 0
		}
		d.Remaining = min(d.Remaining, s.Remaining)
	}
}
