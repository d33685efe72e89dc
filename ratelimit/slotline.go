package ratelimit

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

const (
	// lineAsks is how often a process in line asks, if nobody wakes it. The script drops
	// a process that it has not heard of for two seconds.
	lineAsks = time.Second

	// lineListens is how long the subscription stays when nobody waits any more.
	lineListens = 10 * time.Second
)

// AcquireWait is [Limiter.Acquire] that waits for its turn until ctx ends. The callers of
// one process are served in the order in which they came. The processes stand in line,
// each with its first caller; a process that was served starts at the end. A caller of
// Acquire comes behind all that wait. While it waits, a process asks once a second, and
// when a slot was released.
//
// The context of the slot is derived from ctx. A deadline that is only for the waiting is
// a timer that cancels ctx, and that the caller stops when it has the slot.
//
// The error is the context's when ctx has ended. A cost that can never pass is an error
// at once. If Redis does not decide, [FailOpen] gives a slot at once, [FailLocal] waits
// for one of this process's share, and [FailClosed] waits for Redis.
func (l *Limiter) AcquireWait(ctx context.Context, p *Policy, key string) (*Slot, error) {
	return l.AcquireWaitN(ctx, p, key, 1)
}

// AcquireWaitN is AcquireWait for a cost of n slots, and of n permits of the other
// limits.
func (l *Limiter) AcquireWaitN(ctx context.Context, p *Policy, key string, n int64) (*Slot, error) {
	asked, err := l.beginSlot(ctx, p, key, n)
	if err != nil {
		return nil, err
	}
	if n > p.minimum {
		return nil, fmt.Errorf("ratelimit: policy %q: cost %d: above the smallest quota, %d: waiting does not help", p.name, n, p.minimum)
	}
	w, err := l.lines.enter(l.store.SlotKey(p.slots.limit, asked.call.Tag))
	if err != nil {
		return nil, err
	}
	slot, d, err := l.waitSlot(ctx, asked, w)
	if l.lines.leave(w) && w.inLine && (slot == nil || slot.call.ID == "") {
		call := asked.call
		l.slots.later(func() { l.lines.quit(l.health, call) })
	}
	if err != nil {
		l.forgetSlot(asked)
		return nil, err
	}
	l.decided(ctx, d)
	return slot, nil
}

// waitSlot waits for the caller's turn in this process, and then asks until it is
// allowed.
func (l *Limiter) waitSlot(ctx context.Context, a *slotAsked, w *slotWaiter) (*Slot, Decision, error) {
	ended := func() error {
		return errtext.Errorf("ratelimit", "policy %q: waiting for a slot: %w", a.policy.name, context.Cause(ctx))
	}
	select {
	case <-w.turn:
	case <-ctx.Done():
		return nil, Decision{}, ended()
	}
	for {
		if l.lines.isClosed() {
			return nil, Decision{}, errLimiterClosed
		}
		slot, d, err := l.askSlot(ctx, a, l.lines.process)
		w.inLine = w.inLine || d.Degraded == nil
		if slot != nil || err != nil {
			return slot, d, err
		}
		l.lines.listen()
		timer := time.NewTimer(l.lines.pause(d))
		select {
		case <-timer.C:
		case <-w.queue.awake:
		case <-ctx.Done():
			err = ended()
		}
		timer.Stop()
		if err != nil {
			return nil, Decision{}, err
		}
		a.again()
	}
}

// slotLines are the callers of this process that wait for slots, a queue for each key.
type slotLines struct {
	store   *store.Store
	process string // the name of this process in the lines
	asks    time.Duration

	listening atomic.Bool // the subscription stands; only tests look

	mu      sync.Mutex // guards what follows
	queues  map[string]*slotQueue
	closed  bool
	stop    context.CancelFunc // ends the subscription; nil while there is none
	idle    *time.Timer        // stops it; nil while somebody waits
	running sync.WaitGroup
}

// slotQueue are the callers that wait for one key, in order. The first asks Redis.
type slotQueue struct {
	key     string
	waiting []*slotWaiter
	awake   chan struct{} // wakes the first
}

type slotWaiter struct {
	queue  *slotQueue
	turn   chan struct{} // closed when it is the first
	inLine bool          // this process may stand in the line of the key
}

func newSlotLines(s *store.Store) *slotLines {
	return &slotLines{store: s, process: newCallName(), asks: lineAsks, queues: map[string]*slotQueue{}}
}

// pause is how long a caller sleeps after a denial, if nobody wakes it.
func (l *slotLines) pause(d Decision) time.Duration {
	if l.asks != lineAsks { // a test
		return l.asks
	}
	return max(min(d.RetryAfter, lineAsks), time.Millisecond)
}

// enter puts a caller at the end of the queue of the key.
func (l *slotLines) enter(key string) (*slotWaiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errLimiterClosed
	}
	q := l.queues[key]
	if q == nil {
		q = &slotQueue{key: key, awake: make(chan struct{}, 1)}
		l.queues[key] = q
	}
	w := &slotWaiter{queue: q, turn: make(chan struct{})}
	q.waiting = append(q.waiting, w)
	if len(q.waiting) == 1 {
		close(w.turn)
	}
	return w, nil
}

// leave takes a caller out of its queue, and reports whether the queue is empty now. If
// the caller was the first, the next asks from then on, in its place in line.
func (l *slotLines) leave(w *slotWaiter) (empty bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := w.queue
	for i, other := range q.waiting {
		if other != w {
			continue
		}
		q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
		if i == 0 && len(q.waiting) > 0 {
			q.waiting[0].inLine = w.inLine
			close(q.waiting[0].turn)
		}
		break
	}
	if len(q.waiting) > 0 {
		return false
	}
	delete(l.queues, q.key)
	if len(l.queues) == 0 && l.stop != nil && l.idle == nil {
		l.idle = time.AfterFunc(lineListens, l.stopIdle)
	}
	return true
}

// quit takes this process out of the line of a key. If that fails, the line drops it when
// it has not asked for two seconds.
func (l *slotLines) quit(h *health, call store.SlotCall) {
	defer func() { _ = recover() }() // of a panic in one of the program's hooks
	call.Process = l.process
	_ = h.call(call.Tag, func() error { return l.store.SlotLeave(context.Background(), call) })
}

// listen starts the subscription of this process, unless it runs.
func (l *slotLines) listen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle != nil {
		l.idle.Stop()
		l.idle = nil
	}
	if l.stop != nil || l.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.stop = cancel
	l.running.Go(func() {
		defer func() { _ = recover() }()
		_ = l.store.SlotWatch(ctx, l.process, lineListens, l.wake, l.wakeAll)
	})
}

func (l *slotLines) stopIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queues) == 0 && l.stop != nil {
		l.stop()
		l.stop, l.idle = nil, nil
	}
}

// wake makes the first caller that waits for the key ask again.
func (l *slotLines) wake(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.queues[key]; q != nil {
		q.wake()
	}
}

// wakeAll makes all ask again, because they may have missed that a slot was released.
func (l *slotLines) wakeAll() {
	l.listening.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.queues {
		q.wake()
	}
}

func (q *slotQueue) wake() {
	select {
	case q.awake <- struct{}{}:
	default:
	}
}

// close wakes all that wait, so that they see that the limiter is closed.
func (l *slotLines) close() {
	l.mu.Lock()
	l.closed = true
	if l.stop != nil {
		l.stop()
	}
	if l.idle != nil {
		l.idle.Stop()
	}
	for _, q := range l.queues {
		q.wake()
	}
	l.mu.Unlock()
	l.running.Wait()
}

func (l *slotLines) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}
