package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A batch is calls for one key that are sent together.
type batch struct {
	members []*waiter
	reply   BatchReply
	err     error // nil, or for all members; an *ending if each makes its own error of it
}

// A waiter is a call that waits for its batch. Its caller alone reads the turn, and owns
// the waiter again after that.
type waiter struct {
	ctx     context.Context
	at      time.Time // its deadline
	hurried bool      // the caller set the deadline, and it is before the end of the budget
	index   int       // in its batch
	state   atomic.Int32
	turn    chan *batch // gets its batch when that has run, and nil at the deadline
	timer   *time.Timer // ends the wait at the deadline
}

// The states of a waiter.
const (
	queued  int32 = iota
	drafted       // it is in a batch, which may have been sent
	left          // it was not in a batch when its time was up or its caller had canceled
)

var waiters = sync.Pool{New: func() any {
	w := &waiter{turn: make(chan *batch, 2)}
	w.timer = time.AfterFunc(time.Hour, w.expire)
	w.timer.Stop()
	return w
}}

func (s *Store) newWaiter(ctx context.Context) *waiter {
	w := waiters.Get().(*waiter)
	w.ctx, w.at, w.hurried = ctx, time.Now().Add(s.budget), false
	if at, ok := ctx.Deadline(); ok && at.Before(w.at) {
		w.at, w.hurried = at, true
	}
	w.state.Store(queued)
	return w
}

// expire ends the wait at the deadline. A waiter who is in no batch by then stays out.
func (w *waiter) expire() {
	w.state.CompareAndSwap(queued, left)
	w.turn <- nil
}

// draft enters the waiter into a batch, and reports whether it did: not if its time is up
// or its caller has canceled. Nothing is spent for a caller who has left.
func (w *waiter) draft(index int, now time.Time) bool {
	w.index = index
	if w.ctx.Err() != nil || !now.Before(w.at) {
		if w.state.CompareAndSwap(queued, left) {
			w.turn <- nil
		}
		return false
	}
	return w.state.CompareAndSwap(queued, drafted)
}

// wait waits for the reply, at most until the deadline. As everywhere, a cancellation
// does not end the wait for a call that may have been sent.
func (w *waiter) wait(room LimitReply) (LimitReply, error) {
	w.timer.Reset(time.Until(w.at))
	b := <-w.turn
	reply, err := w.answer(b, room)
	if w.timer.Stop() {
		w.ctx = nil
		waiters.Put(w) // else the timer's goroutine still has it
	}
	return reply, err
}

// answer returns what the batch says of this waiter; nil is its own deadline.
func (w *waiter) answer(b *batch, room LimitReply) (LimitReply, error) {
	if b == nil {
		return nil, w.failure(&ending{script: limitBatch, what: w.outcome(), err: errWaited})
	}
	var end *ending
	switch {
	case errors.As(b.err, &end):
		return nil, w.failure(end)
	case b.err != nil:
		return nil, b.err
	}
	return b.reply.Member(int64(w.index), room), nil
}

// errWaited is why a call that waited for others got no answer.
var errWaited = fmt.Errorf("the budget ended while it waited for another call for its key: %w", context.DeadlineExceeded)

// outcome is what is known of the waiter when its deadline has passed.
func (w *waiter) outcome() outcome {
	if w.state.Load() == drafted {
		return unknown
	}
	return notSent
}

// failure returns the waiter's error.
func (w *waiter) failure(end *ending) error {
	if w.state.Load() == left && errors.Is(w.ctx.Err(), context.Canceled) {
		return end.left()
	}
	return end.failure(w.at, w.hurried)
}

// A BatchReply is the reply of [Store.LimitTakeBatch].
type BatchReply []int64

// Allowed returns how many calls were allowed: the first ones.
func (r BatchReply) Allowed() int64 { return r[0] }

// Member returns the reply to the call with the index, from 0 on: what [Store.LimitTake]
// would reply if it decided the calls one after the other. It is written to room, if that
// has the capacity.
func (r BatchReply) Member(index int64, room LimitReply) LimitReply {
	allowed := r.Allowed()
	room = append(room[:0], r...)
	room[0] = int64(Denied)
	if index < allowed {
		room[0] = int64(Allowed)
	}
	for i := 1; i < len(room); i += 4 {
		remaining, wait, stamp := &room[i], &room[i+1], &room[i+3]
		if index < allowed {
			*remaining += allowed - 1 - index
			*wait = 0
		} else {
			*stamp = 0
		}
	}
	return room
}

// LimitTakeBatch decides call.Cost calls of cost 1, at most 1,000, as LimitTake would
// decide them one after the other; the set is not sticky. The error is that of all.
func (s *Store) LimitTakeBatch(ctx context.Context, call LimitCall) (BatchReply, error) {
	return s.do(s.limitCall(ctx, limitBatch, call, false), replyLength(call.Set))
}

// sendBatch sends a batch and tells its members. It ends by the last of their deadlines:
// none is cut short by another, who leaves alone when its own deadline comes.
func (s *Store) sendBatch(key flightKey, b *batch) {
	first := b.members[0]
	c := s.limitCall(first.ctx, limitBatch, LimitCall{Set: key.set, Tag: key.tag, Cost: int64(len(b.members))}, false)
	c.members, c.at, c.hurried = true, first.at, first.hurried
	for _, w := range b.members[1:] {
		if w.at.After(c.at) {
			c.at, c.hurried = w.at, w.hurried
		}
	}
	defer b.tell()
	// A panic in one of the program's hooks becomes an error, because nobody else
	// recovers on this goroutine.
	b.err = errors.New("a hook of the client ended the goroutine")
	defer func() {
		if p := recover(); p != nil {
			b.err = fmt.Errorf("panic: %v", p)
		}
		if b.err != nil {
			b.err = c.ended(b.err)
		}
	}()
	b.reply, b.err = s.do(c, replyLength(key.set))
}

// ended returns the ending of a batch whose send did not return.
func (c *run) ended(err error) error {
	var end *ending
	if errors.As(err, &end) || errors.Is(err, ErrUnavailable) {
		return err
	}
	if c.drop() {
		return c.failure(notSent, err)
	}
	return c.failure(unknown, err)
}

// tell gives the batch to its members. After that they may be in another one.
func (b *batch) tell() {
	for _, w := range b.members {
		w.turn <- b
	}
}
