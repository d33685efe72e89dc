package store

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// readiness gets connections ready outside of the budget of a call.
//
// go-redis sets a connection up in the call that is to use it: TCP, perhaps TLS, HELLO,
// and what the options add, a round trip each. All of it has to fit into the call's
// budget, and what is not finished by then is thrown away, so a Redis 80 ms away is never
// reached within 150 ms, however often one tries. So after a call that ran out of time,
// the calls go on in the background when their callers leave: the connection is set up,
// what was given up sends a script that does nothing (see [word]), and the connection is
// ready for the next call.
//
// A PING in the background, which any client lets one do, was the alternative. It
// competes with the callers for the very connections it makes.
type readiness struct {
	began time.Time
	until atomic.Int64  // calls go on in the background until then, ns since began; 0: never yet
	room  chan struct{} // one for each of them: a pool has no use for more

	within time.Duration // how long they go on
}

const (
	// readyFor is how long calls go on in the background after the last one that needed
	// to.
	readyFor = 10 * time.Second
	// readyWithin is how long a connection may take to get ready, and so many budgets if
	// that is more.
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
		size = 10 * runtime.GOMAXPROCS(0) // go-redis's own
	}
	return &readiness{began: time.Now(), room: make(chan struct{}, size), within: max(readyWithin, readyBudgets*budget)}
}

// note starts it, or goes on.
func (r *readiness) note() { r.until.Store(int64(time.Since(r.began) + readyFor)) }

func (r *readiness) needed() bool {
	until := r.until.Load()
	return until != 0 && int64(time.Since(r.began)) < until
}

// process has the client send one command by itself.
func (s *Store) process(c *run, cmd redis.Cmder) error { return s.processBy(s.client, c, cmd) }

func (s *Store) processBy(client Client, c *run, cmd redis.Cmder) error {
	if !s.ready.needed() {
		return client.Process(c, cmd)
	}
	return s.ready.outlive(&c.deadline, func(ctx context.Context) error { return client.Process(ctx, cmd) })
}

// exec has the client send a pipeline. Each command bears its own error, unless exec
// returns one: then they may still be the client's.
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

// outlive calls send, and returns at the deadline while send goes on. A panic of send is
// the caller's, as long as he is there.
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
