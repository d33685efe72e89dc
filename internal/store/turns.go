package store

import (
	"context"
	"errors"
	"slices"
	"sync"
)

const (
	// chunk is how many runs of one call are sent together. It is so small that the first
	// chunks are answered well within a budget. When the budget ends, the chunks that
	// were not sent are known to be unspent.
	chunk = 256

	// underWayAtOnce is how many runs of all batches may be under way. If there were more
	// than a server answers within a budget, all would be answered too late.
	underWayAtOnce = 2 * chunk
)

// turns bounds how many runs of batches are under way. The newest batch goes first. Under
// overload the oldest have little of their budgets left; if they went first, all would be
// answered too late.
type turns struct {
	mu      sync.Mutex // guards what follows
	room    int
	waiting []*turn // the newest last
}

type turn struct {
	runs    int
	granted chan struct{}
}

// errNoTurn means that nothing of a batch was sent.
var errNoTurn = errors.New("the budget ended before its turn: too many calls are under way")

// take waits for a turn of n runs, until the deadline or until the caller cancels. If it
// returns nil, call [turns.give] afterwards.
func (t *turns) take(all *deadline, n int) error {
	if all.Err() != nil {
		return errNoTurn
	}
	w := t.enter(n)
	if w == nil {
		return nil
	}
	select {
	case <-w.granted:
		return nil
	case <-all.Done():
	case <-all.Context.Done():
	}
	t.leave(w)
	if err := all.Context.Err(); errors.Is(err, context.Canceled) {
		return err
	}
	return errNoTurn
}

// enter returns nil if there is room at once, else the turn to wait for. A small batch
// may overtake a big one that waits.
func (t *turns) enter(n int) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n <= t.room {
		t.room -= n
		return nil
	}
	w := &turn{runs: n, granted: make(chan struct{})}
	t.waiting = append(t.waiting, w)
	return w
}

// leave gives up a turn. If the turn was granted meanwhile, it gives the room back.
func (t *turns) leave(w *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waiting, w); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	} else {
		t.room += w.runs
	}
	t.grantLocked() // the turn that left may have blocked others
}

// give ends a turn of n runs.
func (t *turns) give(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.room += n
	t.grantLocked()
}

func (t *turns) grantLocked() {
	for last := len(t.waiting) - 1; last >= 0 && t.waiting[last].runs <= t.room; last-- {
		t.room -= t.waiting[last].runs
		close(t.waiting[last].granted)
		t.waiting[last] = nil
		t.waiting = t.waiting[:last]
	}
}
