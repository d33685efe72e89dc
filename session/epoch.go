package session

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// epoch caches the global epoch for a second. The first request that finds it older asks
// Redis. Requests that come meanwhile wait for the same answer, as long as their context
// and the budget allow.
type epoch struct {
	fetch  func(context.Context) (int64, error)
	failed func(error)
	// patience is how long a request waits for an answer that another request asked for:
	// the budget plus a quarter of it, because the answer may arrive a little late.
	patience time.Duration

	mu    sync.Mutex // guards the fields below
	value int64
	at    time.Time // when the value was asked for; zero: never
	asked *question // under way, or nil
}

type question struct {
	done   chan struct{} // closed when the other fields are set
	value  int64
	err    error // the epoch is not known
	failed error // it could not be refreshed
}

const epochAge = time.Second

// get returns the epoch. If it can't be refreshed, get returns the last value. It returns
// an error only if this process has none yet.
func (e *epoch) get(ctx context.Context) (int64, error) {
	e.mu.Lock()
	if !e.at.IsZero() && time.Since(e.at) < epochAge {
		defer e.mu.Unlock()
		return e.value, nil
	}
	if q := e.asked; q != nil {
		e.mu.Unlock()
		return e.wait(ctx, q)
	}
	q := &question{done: make(chan struct{})}
	e.asked = q
	e.mu.Unlock()
	return e.ask(ctx, q)
}

// ask asks Redis on behalf of all requests that wait.
func (e *epoch) ask(ctx context.Context, q *question) (int64, error) {
	e.refresh(ctx, q)
	if q.failed != nil {
		e.failed(q.failed)
	}
	return q.value, q.err
}

// refresh answers the question even if the fetch panics, in a hook of the client or in
// the client itself. All requests that wait then get an error.
func (e *epoch) refresh(ctx context.Context, q *question) {
	at, value, err := time.Now(), int64(0), errEpoch
	defer func() { e.answer(q, at, value, err) }()
	// The fetch must not end with the context of the request that asked, because other
	// requests wait for the answer.
	value, err = e.fetch(context.WithoutCancel(ctx))
}

func (e *epoch) answer(q *question, at time.Time, value int64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer close(q.done)
	e.asked = nil
	switch {
	case err == nil:
		e.raiseLocked(value, at)
	case e.at.IsZero():
		q.err = err
	default:
		q.failed = err
		e.at = at // so that not each request asks again
	}
	q.value = e.value
}

// wait waits for the answer that another request asked for.
func (e *epoch) wait(ctx context.Context, q *question) (int64, error) {
	timer := time.NewTimer(e.patience)
	defer timer.Stop()
	select {
	case <-q.done:
		return q.value, q.err
	case <-ctx.Done():
	case <-timer.C:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.at.IsZero() {
		return 0, errEpoch
	}
	return e.value, nil
}

var errEpoch = fmt.Errorf("%w: the reading of the global epoch did not end", ErrUnavailable)

// raise notes an epoch that this process set.
func (e *epoch) raise(value int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.raiseLocked(value, time.Now())
}

func (e *epoch) raiseLocked(value int64, at time.Time) {
	// The epoch never falls: sessions must not come back if Redis lost the key.
	e.value, e.at = max(e.value, value), at
}
