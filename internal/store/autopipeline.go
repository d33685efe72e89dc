package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// pipelineAbove is the number of calls under way up to which a store sends each call by
// itself. Above it, callers wait for processors rather than for the network, so sharing a
// round trip is faster. Below it, sharing would only wake a goroutine for a lone caller.
const pipelineAbove = 4

// pipelineRest is how long each call is sent by itself after a shared one missed its
// deadline.
const pipelineRest = time.Second

// autoPipeline sends calls to Redis. It sends the first pipelineAbove that are under way
// directly, each on a connection of its own. It sends the calls above that number
// together, by [lanes].
type autoPipeline struct {
	lanes    lanes
	above    int64
	began    time.Time
	underWay atomic.Int64 // calls, of both kinds
	rest     atomic.Int64 // all calls go by themselves until then, ns since began
	silent   atomic.Int64 // no shared call was answered since then, ns since began; 0: the last one was
	alone    func(c *run, cmd redis.Cmder) error
}

func newAutoPipeline(s *Store) *autoPipeline {
	return &autoPipeline{lanes: lanes{store: s, seats: sync.Pool{New: newSeat}}, alone: s.process, above: pipelineAbove, began: time.Now()}
}

func (p *autoPipeline) send(c *run, cmd redis.Cmder) error {
	defer p.underWay.Add(-1)
	if p.underWay.Add(1) <= p.above || p.resting() {
		return p.alone(c, cmd)
	}
	err := p.lanes.send(c, cmd)
	if errors.Is(err, context.DeadlineExceeded) {
		p.late(c)
	} else if p.silent.Load() != 0 {
		p.silent.Store(0)
	}
	return err
}

func (p *autoPipeline) resting() bool { return int64(time.Since(p.began)) < p.rest.Load() }

// late notes that a shared call was not answered by its deadline. The connections of the
// lanes may be dead, and all calls would wait for them. If the caller's own deadline
// ended the call, that proves nothing, unless no shared call was answered for
// DefaultBudget.
func (p *autoPipeline) late(c *run) {
	now := time.Since(p.began)
	if c.hurried && (p.silent.CompareAndSwap(0, int64(now)) || now-time.Duration(p.silent.Load()) < DefaultBudget) {
		return
	}
	p.rest.Store(int64(now + pipelineRest))
}
