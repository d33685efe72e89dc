package store

import (
	"context"
	"hash/maphash"
	"runtime"
	"sync"
	"time"
)

// merger lets calls for one key go to Redis together. The first call for a key goes alone
// and at once. Calls that come before its reply wait, and then go in one batch, in the
// order in which they came; those that come meanwhile go in the next one. So a key that
// many callers ask for costs a fraction of a round trip each, and a key with one caller
// costs what it does without a merger.
//
// Batches are sent by a goroutine of their own, and not by the first caller who waits:
// that caller would have to stay for a batch whose other members have later deadlines. It
// ends when nobody waits any more. Each waits for a budget at most, so nobody has to
// close the merger.
type merger struct {
	seed    maphash.Seed
	stripes [stripes]stripe
}

const (
	stripes = 64

	// mostMembers is how many calls a batch may have. A script for so many takes about a
	// millisecond, and others wait for it.
	mostMembers = 1000
)

// A stripe has the flights of some keys.
type stripe struct {
	mu sync.Mutex
	// flights has an entry for each key that somebody has under way. It is nil until a
	// second caller joins the first.
	flights map[flightKey]*flight
	_       [48]byte // stripes are on cache lines of their own
}

// flightKey tells calls that can be in one batch. Policies of one name that differ in
// their quotas have sets of their own.
type flightKey struct {
	set *LimitSet
	tag Tag
}

// A flight is what waits behind the calls under way for a key.
type flight struct {
	waiting []*waiter // in the order in which they came
	spare   []*waiter // the array of the last batch, for the next one
}

func newMerger() *merger {
	m := &merger{seed: maphash.MakeSeed()}
	for i := range m.stripes {
		m.stripes[i].flights = map[flightKey]*flight{}
	}
	return m
}

func (m *merger) stripe(key flightKey) *stripe {
	return &m.stripes[maphash.Comparable(m.seed, key)%stripes]
}

// LimitTakeMerged is LimitTake of a call that may be sent together with others for its
// key; merged reports whether it was. Calls with another cost than 1, and those of a set
// that is sticky or has a calendar, are sent by themselves. The reply of a merged call is
// written to room, if it has the capacity.
//
// Merged calls are decided as if they came one after the other at one instant, but for
// their stamps: those of a batch of n are the same, where single calls would have n
// different ones. So RetryAfter and ResetAfter are up to n-1 µs shorter, and as exact.
//
// The errors are those of LimitTake. When the reply of a batch is lost, each of its calls
// gets [ErrUnknownOutcome]. A call whose time is up before its batch is sent is not
// charged, and gets no such error.
func (s *Store) LimitTakeMerged(ctx context.Context, call LimitCall, room LimitReply) (reply LimitReply, merged bool, err error) {
	if call.Cost != 1 || call.Costs != nil || call.Set.sticky || call.Set.Calendars() {
		reply, err = s.LimitTake(ctx, call)
		return reply, false, err
	}
	key := flightKey{call.Set, call.Tag}
	t := s.merger.stripe(key)
	if w := t.join(ctx, s, key); w != nil {
		reply, err = w.wait(room)
		return reply, true, err
	}
	defer s.land(t, key)
	reply, err = s.LimitTake(ctx, call)
	return reply, false, err
}

// join lets a call wait in the flight of its key. It returns nil to the first call for
// the key, which is to be sent at once.
func (t *stripe) join(ctx context.Context, s *Store, key flightKey) *waiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, busy := t.flights[key]
	if !busy {
		t.flights[key] = nil
		return nil
	}
	if f == nil {
		f = &flight{}
		t.flights[key] = f
	}
	w := s.newWaiter(ctx)
	f.waiting = append(f.waiting, w)
	return w
}

// land ends the call that went alone. It runs also when a hook of the client panics.
func (s *Store) land(t *stripe, key flightKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flights[key] == nil {
		delete(t.flights, key)
		return
	}
	go s.drain(t, key)
}

// drain sends batch after batch until nobody waits for the key.
func (s *Store) drain(t *stripe, key flightKey) {
	over := false
	defer func() {
		if !over { // a hook of the client called runtime.Goexit
			go s.drain(t, key)
		}
	}()
	for b := t.draft(key); b != nil; b = t.draft(key) {
		s.sendBatch(key, b)
		// Those who got their reply and ask again at once can be in the next batch.
		runtime.Gosched()
	}
	over = true
}

// draft makes a batch of those who wait, and ends the flight if nobody does.
func (t *stripe) draft(key flightKey) *batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flights[key]
	for len(f.waiting) > 0 {
		if members := f.take(); len(members) > 0 {
			return &batch{members: members}
		}
	}
	delete(t.flights, key)
	return nil
}

// take takes the first who wait, and returns those of them who have not left.
func (f *flight) take() []*waiter {
	all, n := f.waiting, min(len(f.waiting), mostMembers)
	f.waiting, f.spare = append(f.spare[:0], all[n:]...), all
	members, now := all[:0], time.Now()
	for _, w := range all[:n] {
		if w.draft(len(members), now) {
			members = append(members, w)
		}
	}
	return members
}
