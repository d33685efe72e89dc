package store

import (
	"context"
	"slices"

	"github.com/redis/go-redis/v9"
)

// A LimitGroup is one call of [Store.LimitTakeAll].
type LimitGroup struct {
	LimitCall
	DryRun bool // it decides for itself, and keeps no other group from spending
}

// Sharded reports whether keys of different tags may be on different servers, so that
// [Store.LimitTakeAll] must not be used: on a cluster and a ring, and from the first
// answer on that says so. A client that is not known may be a ring.
func (s *Store) Sharded() bool {
	_, one := s.client.(*redis.Client)
	return !one || s.crossSlot.Load()
}

// LimitTakeAll decides groups of any tags by one script: it spends from all of them, or,
// if a group that is not a dry run denies, from none. No two groups may have one tag,
// since the script reads all keys before it writes one. Reply i belongs to group i.
//
// The error is that of [Store.LimitTake], for all groups together. If the server does not
// have all keys, nothing ran, and [Store.Sharded] returns true from then on.
func (s *Store) LimitTakeAll(ctx context.Context, groups []LimitGroup) ([]LimitReply, error) {
	flat := flatGroups(groups)
	limits := 0
	for _, g := range groups {
		limits += g.Set.Len()
	}
	want := len(groups) + 4*limits
	if flat {
		want = 5 * limits
	}
	c := s.takeAll(ctx, groups, flat)
	values, err := s.do(c, want)
	if isOutside(values) {
		s.measure(groups[0].LimitCall, values)
		second := s.takeAll(ctx, groups, flat)
		second.within(c)
		if values, err = s.do(second, want); isOutside(values) {
			return nil, second.outside(values)
		}
	}
	switch {
	case err == nil:
		return splitReplies(groups, values, flat), nil
	case redis.HasErrorPrefix(err, "CROSSSLOT"):
		s.crossSlot.Store(true)
	}
	return nil, err
}

// folds reports whether a call by itself takes the script's form w: several limits of
// SlidingWindow with cost 1, which it decides in half the time of limit_take.
func (call LimitCall) folds() bool { return call.Set.Len() > 1 && call.flat() }

// takeLength returns how many integers the reply of a take has.
func takeLength(call LimitCall) int {
	if call.folds() {
		return 5 * call.Set.Len()
	}
	return replyLength(call.Set)
}

// takeReply makes the reply of a take from the integers of its script.
func takeReply(call LimitCall, values []int64) LimitReply {
	if values == nil || !call.folds() {
		return values
	}
	n := call.Set.Len()
	values[n-1] = verdictOf(values[:n])
	return values[n-1:]
}

// verdictOf returns the verdict of a group from those of its limits.
func verdictOf(limits []int64) int64 {
	if slices.Contains(limits, int64(Denied)) {
		return int64(Denied)
	}
	return limits[0]
}

// flat reports whether the call can be a part of the script's form w.
func (call LimitCall) flat() bool { return call.Set.flat && call.Cost == 1 && call.Costs == nil }

func flatGroups(groups []LimitGroup) bool {
	for _, g := range groups {
		if g.DryRun || !g.flat() {
			return false
		}
	}
	return true
}

// takeAll builds the command of limit_take_all.
func (s *Store) takeAll(ctx context.Context, groups []LimitGroup, flat bool) *run {
	keys := 0
	for _, g := range groups {
		keys += g.Set.Len() + btoi(g.marked())
	}
	c := s.begin(ctx, limitTakeAll, keys)
	var room [1024]byte
	var lengths [16]int
	joined, ends := room[:0], lengths[:0]
	for _, g := range groups {
		joined, ends = s.appendLimitKeys(joined, ends, g.LimitCall, g.marked())
	}
	c.keys(string(joined), ends...)
	c.words = append(c.words, instant(groups[0].Now))
	if flat {
		c.words = append(c.words, "w")
		for _, g := range groups {
			for i := range g.Set.suffixes {
				c.words = append(c.words, g.Set.words[3*i+1:3*i+3]...)
			}
		}
		return c
	}
	c.words = append(c.words, len(groups))
	for _, g := range groups {
		c.words = append(c.words, g.Set.Len(), mode(g.DryRun), g.Name, btoi(g.marked()))
		first := len(c.words)
		for i := range g.Set.suffixes {
			c.words = append(c.words, g.Set.words[3*i:3*i+3]...)
			c.words = append(c.words, g.CostOf(i))
		}
		if g.Set.Calendars() {
			g.Set.passPeriods(c.words[first:], 4, s.clock(g.LimitCall))
		}
	}
	return c
}

func mode(dryRun bool) string {
	if dryRun {
		return "d"
	}
	return ""
}

// marked reports whether the key of the refunded calls goes along.
func (call LimitCall) marked() bool { return call.Repeatable && call.Set.sticky && call.Name != "" }

// CostOf returns how many permits limit i of the call is asked for.
func (call LimitCall) CostOf(i int) int64 {
	if call.Costs != nil {
		return call.Costs[i]
	}
	return call.Cost
}

// splitReplies makes a reply of each group. In the flat form the script has a verdict for
// each limit, and that of a group is a denial if one of them is.
func splitReplies(groups []LimitGroup, values []int64, flat bool) []LimitReply {
	replies := make([]LimitReply, len(groups))
	all := make([]int64, 0, len(groups)+len(values))
	verdicts := len(groups)
	if flat {
		verdicts = len(values) / 5
	}
	states := values[verdicts:]
	for i, g := range groups {
		n, own := g.Set.Len(), 1
		if flat {
			own = n
		}
		verdict, from := verdictOf(values[:own]), len(all)
		values = values[own:]
		all = append(append(all, verdict), states[:4*n]...)
		states = states[4*n:]
		replies[i] = all[from:len(all):len(all)]
	}
	return replies
}
