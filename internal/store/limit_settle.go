package store

import "context"

// A LimitSettleCall is one settlement: what a LimitTake reserved, and what its call used.
type LimitSettleCall struct {
	Call   LimitCall // the call of the take
	Stamps []int64   // [LimitReply.Stamp] of each limit; 0 gives nothing back there
	Actual []int64   // permits used of each limit, 0 .. 10^9, or 100 of a SlidingLog
}

// A LimitSettled is the reply of [Store.LimitSettle].
type LimitSettled []int64

// Settled returns false if the call may be repeated, and was refunded or settled before.
func (r LimitSettled) Settled() bool { return len(r) > 0 && r[0] == 1 }

// Changed returns how many permits each limit gave back; less than 0 are those that it
// spent besides.
func (r LimitSettled) Changed() []int64 { return r[1:] }

// LimitSettle gives back what a LimitTake reserved and its call did not use, or spends
// what it used besides, at once and whatever the quota. Do not call it twice for one
// take, unless the call is Repeatable: the script settles such a call once within its
// longest SlidingLog window.
func (s *Store) LimitSettle(ctx context.Context, settle LimitSettleCall) (LimitSettled, error) {
	replies, errs := s.settle(ctx, []LimitSettleCall{settle}, func(runs []*run, want []int) ([][]int64, []error) {
		reply, err := s.do(runs[0], want[0])
		return [][]int64{reply}, []error{err}
	})
	return replies[0], errs[0]
}

// LimitSettleMany is LimitSettle for many takes at once.
func (s *Store) LimitSettleMany(ctx context.Context, settles []LimitSettleCall) ([]LimitSettled, []error) {
	return s.settle(ctx, settles, func(runs []*run, want []int) ([][]int64, []error) {
		return s.doMany(ctx, runs, want)
	})
}

func (s *Store) settle(ctx context.Context, settles []LimitSettleCall, send func([]*run, []int) ([][]int64, []error)) ([]LimitSettled, []error) {
	runs, want, calls := make([]*run, len(settles)), make([]int, len(settles)), make([]LimitCall, len(settles))
	for i, settle := range settles {
		runs[i], want[i], calls[i] = s.limitSettle(ctx, settle), 1+settle.Call.Set.Len(), settle.Call
	}
	values, errs := send(runs, want)
	s.manyAgain(ctx, calls, func(i int) *run { return s.limitSettle(ctx, settles[i]) }, runs, want, values, errs)
	replies := make([]LimitSettled, len(values))
	for i, v := range values {
		replies[i] = v
	}
	return replies, errs
}

func (s *Store) limitSettle(ctx context.Context, settle LimitSettleCall) *run {
	call, set := settle.Call, settle.Call.Set
	marked := call.Repeatable && set.sticky
	c := s.begin(ctx, limitSettle, set.Len()+btoi(marked))
	s.limitKeys(c, call, marked)
	c.words = append(c.words, instant(call.Now))
	for i := range set.suffixes {
		window := set.windows[i]
		if settle.Actual[i] > call.CostOf(i) && set.calendar(i) != nil {
			window = set.calendar(i).around(s.clock(call)).word
		}
		c.words = append(c.words, set.letters[i], settle.Stamps[i], window, call.CostOf(i), settle.Actual[i])
	}
	c.words = append(c.words, call.Name)
	return c
}
