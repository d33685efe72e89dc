package store

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// lanesOfServer is how many pipelines to one server are under way at once. While the
	// server works on one, this process reads and writes the others. Fewer make longer
	// pipelines, more make calls wait less for a distant server.
	lanesOfServer = 4

	// laneCalls is how many calls a pipeline takes at most. The first of them waits until
	// the replies of all are read.
	laneCalls = 128
)

// lanes send the calls of many callers together. A call that finds a lane free goes out
// at once. The calls that come meanwhile wait, and go out together when a lane is free
// again. So pipelines are as long as the load makes them, and no call waits for others to
// come.
//
// A lane is a goroutine and not one of the callers, because a caller would have to wait
// for the deadlines of the others. It ends when no call waits.
type lanes struct {
	store *Store
	seats sync.Pool // of *seat. A store has its own, or bubbles of synctest would share timers

	mu      sync.Mutex        // guards servers and what they hold
	servers map[string]*queue // by address
}

// queue has the calls that wait for a lane of one server.
type queue struct {
	waiting []*seat
	under   int // lanes under way
}

// seat is a call that waits. Seats are used again, with their channels and timers.
type seat struct {
	run   *run
	cmd   redis.Cmder
	err   error         // the outcome, to be read after done
	done  chan struct{} // of capacity 1: a lane does not wait for a caller that left
	timer *time.Timer   // ends at the deadline of the run
}

func newSeat() any {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &seat{done: make(chan struct{}, 1), timer: timer}
}

// send sends a command in a pipeline, and returns at the deadline of its run at the
// latest. After the deadline the client may still own cmd: do not read it.
func (l *lanes) send(c *run, cmd redis.Cmder) error {
	s := l.seats.Get().(*seat)
	s.run, s.cmd = c, cmd
	s.timer.Reset(time.Until(c.at))
	l.enter(s)
	select {
	case <-s.done:
		err := s.err
		s.timer.Stop()
		s.run, s.cmd, s.err = nil, nil, nil
		l.seats.Put(s)
		return err
	case <-s.timer.C:
		return context.DeadlineExceeded // the lane still has the seat
	}
}

// enter lets a call wait for a lane, and opens one if it may.
func (l *lanes) enter(s *seat) {
	server := l.store.node(s.run.names[0])
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.servers[server]
	if q == nil {
		q = &queue{}
		if l.servers == nil {
			l.servers = map[string]*queue{}
		}
		l.servers[server] = q
	}
	q.waiting = append(q.waiting, s)
	if q.under < lanesOfServer {
		q.under++
		go l.run(server, q)
	}
}

// run is a lane. It lets others run before it takes calls: those that its last pipeline
// answered are about to call again, and then go together.
func (l *lanes) run(server string, q *queue) {
	var batch []*seat
	for {
		runtime.Gosched()
		if batch = l.next(server, q, batch[:0]); len(batch) == 0 {
			return
		}
		l.sendAll(batch)
		clear(batch)
	}
}

// next takes the calls that go together, without those whose callers have left. If there
// are none, the lane ends.
func (l *lanes) next(server string, q *queue, batch []*seat) []*seat {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := 0
	for ; taken < len(q.waiting) && len(batch) < laneCalls; taken++ {
		if s := q.waiting[taken]; s.run.state.Load() != dropped {
			batch = append(batch, s)
		}
	}
	q.waiting = slices.Delete(q.waiting, 0, taken)
	if len(batch) == 0 {
		if q.under--; q.under == 0 {
			delete(l.servers, server)
		}
	}
	return batch
}

// sendAll sends a pipeline and tells each caller. Its deadline is the last of the calls',
// so that no call is cut short by another.
func (l *lanes) sendAll(batch []*seat) {
	all := &deadline{Context: context.Background()}
	pipe := l.store.client.Pipeline()
	for _, s := range batch {
		if s.run.at.After(all.at) {
			all.at = s.run.at
		}
		_ = pipe.Process(all, s.cmd) // queues
	}
	err := l.exec(all, pipe)
	all.end(context.Canceled)
	for _, s := range batch {
		if s.err = err; err == nil {
			s.err = s.cmd.Err()
		}
		s.done <- struct{}{}
	}
}

// exec turns a panic, of a hook of the client, into an error: there is no caller here who
// could recover it.
func (l *lanes) exec(all *deadline, pipe redis.Pipeliner) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in a pipeline: %v", r)
		}
	}()
	return l.store.exec(all, pipe)
}
