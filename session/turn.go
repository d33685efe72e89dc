package session

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
)

// A turn is held by one caller at a time, in the order in which they asked. Unlike those
// of a mutex, callers wait for a limited time. The zero turn is free.
type turn struct {
	mu    sync.Mutex // guards what follows
	had   bool
	queue []chan struct{} // one for each caller that waits; closed when it gets the turn
}

// take waits for the turn until ctx ends or the time is over, and reports whether the
// caller has it. If so, the caller must give it back.
func (t *turn) take(ctx context.Context, atMost time.Duration) bool {
	mine, ok := t.join()
	if ok {
		return true
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return !t.leave(mine)
}

// join takes a free turn, or else a place in the queue.
func (t *turn) join() (mine chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.had {
		t.had = true
		return nil, true
	}
	mine = make(chan struct{})
	t.queue = append(t.queue, mine)
	return mine, false
}

// leave gives up the place in the queue. It reports false if the caller got the turn
// meanwhile.
func (t *turn) leave(mine chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.queue, mine)
	if i < 0 {
		return false
	}
	t.queue = slices.Delete(t.queue, i, i+1)
	return true
}

// give passes the turn to the next caller in the queue, or frees it.
func (t *turn) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.had = false
		return
	}
	close(t.queue[0])
	t.queue = slices.Delete(t.queue, 0, 1)
}

// turns has a turn for each value that is being updated, and only for those.
type turns struct {
	mu sync.Mutex // guards what follows
	of map[valueName]*sharedTurn
}

type valueName struct{ member, name string }

type sharedTurn struct {
	turn
	users int // callers that have it or wait for it
}

// take waits as [turn.take] does. It returns a function that gives the turn back, or nil
// if the turn did not come.
func (ts *turns) take(ctx context.Context, v valueName, atMost time.Duration) (give func()) {
	t := ts.use(v)
	if !t.take(ctx, atMost) {
		ts.unuse(v, t)
		return nil
	}
	return func() {
		t.give()
		ts.unuse(v, t)
	}
}

func (ts *turns) use(v valueName) *sharedTurn {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.of == nil {
		ts.of = map[valueName]*sharedTurn{}
	}
	t := ts.of[v]
	if t == nil {
		t = &sharedTurn{}
		ts.of[v] = t
	}
	t.users++
	return t
}

func (ts *turns) unuse(v valueName, t *sharedTurn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(ts.of, v)
	}
}

// mostCalls is the most calls to Redis that one operation of a session makes, except for
// rare repetitions.
const mostCalls = 8

// take waits until no other operation of this request is under way. The caller then gives
// the turn back by [Session.give].
func (s *Session) take(ctx context.Context) error {
	wait := time.Duration(0)
	if s.m != nil {
		wait = mostCalls * s.m.store.Budget()
	}
	if s.ops.take(ctx, wait) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return errtext.Errorf("session", "waited for another call of this request, until the context ended: %w: %w", ErrUnavailable, err)
	}
	return errtext.Errorf("session", "waited %v for another call of this request, perhaps the one inside which this one is: %w", wait, ErrUnavailable)
}

func (s *Session) give() { s.ops.give() }
