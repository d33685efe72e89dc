package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// pipelineAbove is up to how many calls of a store go out each by itself. From there on
// callers wait for connections and processors rather than for the network, and sharing
// both pays; below, it would only make a lone caller wait.
const pipelineAbove = 16

// pipelineRest is how long calls go out by themselves after the deadline of a shared one.
const pipelineRest = time.Second

// autoPipeline sends calls to Redis: few at a time directly, each on a connection of its
// own, and what comes on top together, by the client's auto-pipeline.
type autoPipeline struct {
	client   Client
	auto     func() *redis.AutoPipeliner // nil result: the client has none
	above    int64
	began    time.Time
	underWay atomic.Int64 // calls, of both kinds
	rest     atomic.Int64 // until when the auto-pipeline is left alone, ns since began
	silent   atomic.Int64 // since when it has answered nobody, ns since began; 0: it has
	alone    func(c *run, cmd redis.Cmder) error
}

// newAutoPipeline asks the client for its auto-pipeline, which has goroutines, only when
// it is needed.
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
	if auto == nil || auto.IsClosed() { // perhaps by the program, which shares it
		return p.alone(c, cmd)
	}
	// WaitContext is the one form that ends at a deadline. After that the auto-pipeline
	// still owns the command, and nobody else may read it.
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
// connection may have gone silent, and until the client's ReadTimeout all would wait
// behind it. That it was too slow for a caller in a hurry proves nothing, but that it
// answered nobody for as long as a budget does.
func (p *autoPipeline) late(c *run) {
	now := time.Since(p.began)
	if c.hurried && (p.silent.CompareAndSwap(0, int64(now)) || now-time.Duration(p.silent.Load()) < DefaultBudget) {
		return
	}
	p.rest.Store(int64(now + pipelineRest))
}
