package store

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// readiness sets connections up in the background, beyond the budget of a call.
//
// go-redis sets a connection up in the call that will use it. That takes a round trip
// each for TCP, perhaps TLS, HELLO, and the commands that the options add. All of it must
// fit into the call's budget; a connection that is not finished by then is thrown away.
// So a Redis with a round trip of 80 ms is never reached within 150 ms, however often the
// program tries. Therefore, for some time after a call that ran out of time, calls go on
// in the background after their callers leave. The connection is set up, the call sends a
// script that does nothing (see [word]), and the connection is ready for the next call.
//
// The alternative was to send a PING in the background, which works with any client. But
// the PING competes with the callers for the connections that it sets up.
type readiness struct {
	began time.Time
	until atomic.Int64  // until then calls may go on in the background, ns since began; 0: never yet
	room  chan struct{} // bounds the calls in the background by the size of the pool

	within time.Duration // how long such a call goes on
}

const (
	// readyFor is how long, after a call that ran out of time, calls may go on in the
	// background.
	readyFor = 10 * time.Second
	// A connection may take readyWithin to get ready, or readyBudgets budgets if that is
	// more.
	readyWithin  = 2 * time.Second
	readyBudgets = 8
)

func newReadiness(client Client, budget time.Duration) *readiness {
	size := 0
	switch c := client.(type) {
	case *redis.Client:
		size = c.Options().PoolSize
	case *redis.ClusterClient:
		size = c.Options().PoolSize
	case *redis.Ring:
		size = c.Options().PoolSize
	}
	if size <= 0 {
		size = 10 * runtime.GOMAXPROCS(0) // the default of go-redis
	}
	return &readiness{began: time.Now(), room: make(chan struct{}, size), within: max(readyWithin, readyBudgets*budget)}
}

// note lets calls go on in the background for the next readyFor.
func (r *readiness) note() { r.until.Store(int64(time.Since(r.began) + readyFor)) }

func (r *readiness) needed() bool {
	until := r.until.Load()
	return until != 0 && int64(time.Since(r.began)) < until
}

// process sends one command by itself.
func (s *Store) process(c *run, cmd redis.Cmder) error { return s.processBy(s.client, c, cmd) }

func (s *Store) processBy(client Client, c *run, cmd redis.Cmder) error {
	if !s.ready.needed() {
		return client.Process(c, cmd)
	}
	return s.ready.outlive(&c.deadline, func(ctx context.Context) error { return client.Process(ctx, cmd) })
}

// exec sends a pipeline. Each command has its own error. If exec returns an error, the
// client may still own the commands: do not read them.
func (s *Store) exec(c *deadline, pipe redis.Pipeliner) error {
	if !s.ready.needed() {
		_, _ = pipe.Exec(c)
		return nil
	}
	return s.ready.outlive(c, func(ctx context.Context) error {
		_, _ = pipe.Exec(ctx)
		return nil
	})
}

// outlive calls send. If the deadline comes first, outlive returns and send goes on. A
// panic of send is passed to the caller, unless the caller has left.
func (r *readiness) outlive(c *deadline, send func(ctx context.Context) error) error {
	select {
	case r.room <- struct{}{}:
	default:
		return send(c)
	}
	type outcome struct {
		err      error
		panicked any
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panicked = recover()
			<-r.room
			done <- o
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c), r.within)
		defer cancel()
		o.err = send(ctx)
	}()
	select {
	case o := <-done:
		if o.panicked != nil {
			panic(o.panicked)
		}
		return o.err
	case <-c.Done():
		return context.DeadlineExceeded
	}
}
