package store

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends at an instant, and not with its parent: a decision that
// was sent is finished, also if the request that asked for it was canceled. It is a part
// of the run, which saves half the allocations of context.WithTimeout. go-redis
// interrupts a read only at a deadline, so a cancellation would not end it anyway.
type deadline struct {
	context.Context // the parent, for its values
	at              time.Time

	mu    sync.Mutex // guards what follows
	done  chan struct{}
	timer *time.Timer
	err   error
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil && d.done == nil:
		return closed
	case d.done == nil:
		d.done = make(chan struct{})
		d.timer = time.AfterFunc(time.Until(d.at), d.expire)
	}
	return d.done
}

func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && !time.Now().Before(d.at) {
		d.endLocked(context.DeadlineExceeded)
	}
	return d.err
}

func (d *deadline) expire() { d.end(context.DeadlineExceeded) }

// end ends the context with err and releases the timer.
func (d *deadline) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endLocked(err)
}

func (d *deadline) endLocked(err error) {
	if d.err != nil {
		return
	}
	d.err = err
	if d.done != nil {
		d.timer.Stop()
		close(d.done)
	}
}
