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
// itself. Above it, callers wait for connections and processors rather than for the
// network, so sharing a connection is faster. Below it, sharing would only make a lone
// caller wait.
const pipelineAbove = 16

// pipelineRest is how long each call is sent by itself after a shared one missed its
// deadline.
const pipelineRest = time.Second

// autoPipeline sends calls to Redis. It sends the first pipelineAbove that are under way
// directly, each on a connection of its own. It sends the calls above that number
// together, by the client's auto-pipeline.
type autoPipeline struct {
	client   Client
	auto     func() *redis.AutoPipeliner // nil result: the client has none
	above    int64
	began    time.Time
	underWay atomic.Int64 // calls, of both kinds
	rest     atomic.Int64 // the auto-pipeline is not used until then, ns since began
	silent   atomic.Int64 // it has answered no call since then, ns since began; 0: it answered the last one
	alone    func(c *run, cmd redis.Cmder) error
}

// newAutoPipeline returns an autoPipeline. It asks the client for its auto-pipeline only
// when that is needed, because it starts goroutines.
func newAutoPipeline(client Client, alone func(c *run, cmd redis.Cmder) error) *autoPipeline {
	return &autoPipeline{client: client, alone: alone, above: pipelineAbove, began: time.Now(), auto: sync.OnceValue(func() *redis.AutoPipeliner {
		auto, err := client.AsyncAutoPipeline()
		if err != nil { // a Ring has none
			return nil
		}
		return auto
	})}
}

func (p *autoPipeline) send(c *run, cmd redis.Cmder) error {
	defer p.underWay.Add(-1)
	if p.underWay.Add(1) <= p.above || p.resting() {
		return p.alone(c, cmd)
	}
	auto := p.auto()
	if auto == nil || auto.IsClosed() { // the program shares it and may have closed it
		return p.alone(c, cmd)
	}
	// Only WaitContext ends at a deadline. After that the auto-pipeline still owns cmd:
	// do not read it.
	err := auto.Submit(c, cmd).WaitContext(c)
	if errors.Is(err, context.DeadlineExceeded) {
		p.late(c)
	} else if p.silent.Load() != 0 {
		p.silent.Store(0)
	}
	return err
}

func (p *autoPipeline) resting() bool { return int64(time.Since(p.began)) < p.rest.Load() }

// late notes that the auto-pipeline did not answer by the deadline of a call. Its one
// connection may be dead, and all calls would wait for it until the client's ReadTimeout.
// If the caller's own deadline ended the call, that proves nothing, unless the
// auto-pipeline has answered no call for DefaultBudget.
func (p *autoPipeline) late(c *run) {
	now := time.Since(p.began)
	if c.hurried && (p.silent.CompareAndSwap(0, int64(now)) || now-time.Duration(p.silent.Load()) < DefaultBudget) {
		return
	}
	p.rest.Store(int64(now + pipelineRest))
}
