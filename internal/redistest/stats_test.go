package redistest_test

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

func TestCommandsCountsWhatScriptsDo(t *testing.T) {
	for _, s := range []*redistest.Server{redistest.NewSingle(t), redistest.Cluster(t)} {
		client, key := s.Client(t), redistest.Prefix(t)
		script := redis.NewScript(`redis.call('GET', KEYS[1]); redis.call('SET', KEYS[1], 1, 'PX', 60000); return redis.call('GET', KEYS[1])`)
		if err := script.Run(t.Context(), client, []string{key}).Err(); err != nil {
			t.Fatal(err)
		}
		got := redistest.Commands(t, client, func() { script.Run(t.Context(), client, []string{key}) })
		if got.Of("EVALSHA") != 1 || got.Of("get") != 2 || got.Of("set") != 1 || got.Total() != 4 {
			t.Errorf("%s: commands = %v, want evalsha, 2 get, set", s.Name(), got)
		}
		if got := redistest.Commands(t, client, func() {}); got.Total() != 0 {
			t.Errorf("%s: doing nothing took %v", s.Name(), got)
		}
		// A new client sets up its connections; that is not the caller's doing either.
		if got := redistest.Commands(t, client, func() { s.Client(t).Exists(t.Context(), key) }); got.Total() != 1 {
			t.Errorf("%s: a new client's EXISTS took %v", s.Name(), got)
		}
		if stat := redistest.CommandStats(t, client)["evalsha"]; stat.Calls < 1 || stat.Usec < 1 {
			t.Errorf("%s: evalsha = %+v", s.Name(), stat)
		}
	}
}

func TestChangesCountsWrites(t *testing.T) {
	for _, s := range []*redistest.Server{redistest.NewSingle(t), redistest.Cluster(t)} {
		client, key := s.Client(t), redistest.Prefix(t)
		if n := redistest.Changes(t, client, func() { client.Set(t.Context(), key, 1, time.Minute) }); n < 1 {
			t.Errorf("%s: SET made %d changes", s.Name(), n)
		}
		if n := redistest.Changes(t, client, func() {
			client.Get(t.Context(), key)
			client.Del(t.Context(), key+"none")
		}); n != 0 {
			t.Errorf("%s: reading made %d changes", s.Name(), n)
		}
	}
}
