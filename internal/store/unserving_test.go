package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// answering is a hook that answers scripts and reads in the server's place.
type answering struct {
	with  atomic.Pointer[string] // the error; nil lets the server answer
	calls atomic.Int64
}

type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

func (a *answering) answer(cmds ...redis.Cmder) error {
	text := a.with.Load()
	if name := cmds[0].Name(); text == nil || name != "evalsha" && name != "eval" && name != "hgetall" && name != "get" {
		return nil
	}
	a.calls.Add(1)
	for _, cmd := range cmds {
		cmd.SetErr(serverError(*text))
	}
	return serverError(*text)
}

func (*answering) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a *answering) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := a.answer(cmd); err != nil {
			return err
		}
		return next(ctx, cmd)
	}
}

func (a *answering) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := a.answer(cmds...); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// during returns how often the server was asked while it answers all that f asks with the
// error.
func (a *answering) during(text string, f func()) int64 {
	a.calls.Store(0)
	a.with.Store(&text)
	f()
	a.with.Store(nil)
	return a.calls.Load()
}

// TestServerThatDoesNotServe: if a server answers for a whole budget that it cannot
// serve, each later call, of every kind, asks it only once. As soon as the server serves,
// that is enough.
func TestServerThatDoesNotServe(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"LOADING x", "READONLY x", "MASTERDOWN x", "CLUSTERDOWN x", "BUSY x", "NOREPLICAS x"} {
		t.Run(text, func(t *testing.T) {
			client, hook := redistest.Single(t).Client(t), &answering{}
			client.AddHook(hook)
			kv, err := store.New(client, store.Options{Prefix: redistest.Prefix(t), Budget: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			kv.RememberUnserving(time.Hour)
			call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
			operations := map[string]func(kv *store.Store) error{
				"take": func(kv *store.Store) error { return take(context.Background(), kv, call, 0) },
				"many": func(kv *store.Store) error {
					_, errs := kv.LimitTakeMany(context.Background(), manyCalls(windowSet, "unserving", 5))
					return errs[4]
				},
				"load": func(kv *store.Store) error {
					_, err := kv.SessionLoad(context.Background(), store.SessionKeys{Tag: "aa", Member: "m"})
					return err
				},
				"epoch": func(kv *store.Store) error { _, err := kv.SessionGlobalEpoch(context.Background()); return err },
			}
			wantUnserved := func(what string, f func(kv *store.Store) error) int64 {
				return hook.during(text, func() {
					if got := is(f(kv)); got != "unavailable" {
						t.Errorf("%s, %s: %s, want unavailable", text, what, got)
					}
				})
			}
			hurried := hook.during(text, func() {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				defer cancel()
				_ = take(ctx, kv, call, 0)
			})
			if n := wantUnserved("the first", operations["take"]); n < 3 {
				t.Errorf("asked %d times by the first call and %d times by a hurried one before, want the first to ask for its budget", n, hurried)
			}
			for name, f := range operations {
				if n := wantUnserved(name, f); n > 2 { // a raw reply is asked for again, parsed
					t.Errorf("%s, %s: asked %d times, want once", text, name, n)
				}
			}
			for name, f := range operations {
				if err := f(kv); err != nil {
					t.Errorf("%s is over, %s: %v", text, name, err)
				}
			}
			kv.RememberUnserving(0)
			if n := wantUnserved("long after", operations["take"]); n < 3 {
				t.Errorf("%s, long after: asked %d times, want for the whole budget", text, n)
			}
		})
	}
}

// TestAnswersAboutAKeyAreNoStandstill: after an answer that is about one key, or about a
// missing script, later calls still wait for the server.
func TestAnswersAboutAKeyAreNoStandstill(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"TRYAGAIN x", "NOSCRIPT x", "MOVED 1 127.0.0.1:1", "ERR max number of clients reached"} {
		t.Run(text, func(t *testing.T) {
			client, hook := redistest.Single(t).Client(t), &answering{}
			client.AddHook(hook)
			kv, err := store.New(client, store.Options{Prefix: redistest.Prefix(t), Budget: 300 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			kv.RememberUnserving(time.Hour)
			call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
			for i := range 2 {
				if n := hook.during(text, func() { _ = take(t.Context(), kv, call, 0) }); n < 3 {
					t.Errorf("%s, call %d: asked %d times, want for the whole budget", text, i, n)
				}
			}
		})
	}
}

// TestShardThatDoesNotServe: of a cluster, each shard is remembered by itself.
func TestShardThatDoesNotServe(t *testing.T) {
	t.Parallel()
	server := redistest.Cluster(t)
	client, hook := server.Client(t), &answering{}
	client.AddHook(hook)
	kv, err := store.New(client, store.Options{Prefix: redistest.Prefix(t), Budget: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	kv.RememberUnserving(time.Hour)
	calls := map[string]store.LimitCall{}
	for i := 0; len(calls) < 3; i++ {
		c := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test", string(rune('a'+i))), Cost: 1}
		if err := take(t.Context(), kv, c, 0); err != nil { // the client knows the map from now on
			t.Fatal(err)
		}
		calls[kv.Node(c.Tag)] = c
	}
	for node, c := range calls {
		for i, most := range []int64{1 << 20, 1} {
			n := hook.during("READONLY x", func() { _ = take(t.Context(), kv, c, 0) })
			if n > most || i == 0 && n < 3 {
				t.Errorf("%s, call %d: asked %d times", node, i, n)
			}
		}
	}
}
