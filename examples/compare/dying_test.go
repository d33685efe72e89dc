package compare

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// dying imitates a client's process that dies. Its first round trips, as many as steps,
// reach the server; the others don't.
type dying struct{ steps int }

var errDead = errors.New("the process is dead")

func (d *dying) next() error {
	if d.steps--; d.steps < 0 {
		return errDead
	}
	return nil
}

func (d *dying) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := d.next(); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (d *dying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := d.next(); err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		return next(ctx, cmds)
	}
}

// diedHalfWay lets the process die after 0, 1, 2, 3 and 4 round trips of a first call, on
// a server of its own. It counts the keys that stay for ever.
func diedHalfWay(t *testing.T, l rateLimiter) (finding, error) {
	server := redistest.NewSingle(t)
	for steps := range 5 {
		client, err := newClient(t, plain, server.Addrs()...)
		if err != nil {
			return finding{}, err
		}
		a, err := l.open(client, perHour)
		if err == nil {
			err = client.Ping(context.Background()).Err() // the connection stands
		}
		if err != nil {
			return finding{}, err
		}
		client.AddHook(&dying{steps})
		if _, err := a.all(redistest.Prefix(t)); err != nil && !errors.Is(err, errDead) {
			return finding{}, err
		}
	}
	client, err := newClient(t, plain, server.Addrs()...)
	if err != nil {
		return finding{}, err
	}
	keys, immortal := redistest.Keys(t, client, ""), 0
	for _, key := range keys {
		ttl, err := client.PTTL(context.Background(), key).Result()
		if err != nil {
			return finding{}, err
		}
		if ttl == -1 {
			immortal++
		}
	}
	if len(keys) == 0 {
		return finding{}, errors.New("it left no key at all")
	}
	return finding{fmt.Sprintf("%d of %d", immortal, len(keys)), immortal == 0}, nil
}
