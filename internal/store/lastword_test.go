package store_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// refuser refuses the next dials.
type refuser struct{ left atomic.Int64 }

func (r *refuser) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if r.left.Add(-1) >= 0 {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return next(ctx, network, addr)
	}
}

func (*refuser) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (*refuser) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestNoScriptAfterRefusedDials: a master that was just promoted refuses connections at
// first, and then does not know the script. That answer proves that it is up, so a call
// that has time must go on and send the text.
func TestNoScriptAfterRefusedDials(t *testing.T) {
	server := redistest.NewSingle(t)
	for _, c := range []struct {
		name string
		call func(kv *store.Store) error
	}{
		{"alone", func(kv *store.Store) error {
			return take(context.Background(), kv, store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}, 0)
		}},
		{"many", func(kv *store.Store) error {
			_, errs := kv.LimitTakeMany(context.Background(), append(manyCalls(windowSet, "after", 5), manyCalls(bucketsSet, "after", 5)...))
			return errors.Join(errs...)
		}},
	} {
		client := redis.NewClient(&redis.Options{Addr: server.Addrs()[0], ContextTimeoutEnabled: true, DialerRetries: 1, PipelinePoolSize: -1})
		refuse := &refuser{}
		client.AddHook(refuse)
		refuse.left.Store(2)
		if err := server.Client(t).ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.call(newStore(t, client, redistest.Prefix(t))); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if left := refuse.left.Load(); left > 0 {
			t.Errorf("%s: %d dials were not refused", c.name, left)
		}
		client.Close()
	}
}
