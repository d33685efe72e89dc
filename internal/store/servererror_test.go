package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// budget is the budget of calls that wait until it ends.
const budget = time.Second

func newBudgetStore(t *testing.T, client store.Client, prefix string) *store.Store {
	t.Helper()
	kv, err := store.New(client, store.Options{Prefix: prefix, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// roomy is a budget within which a busy machine answers.
func roomy(o *redis.UniversalOptions) {
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.DialTimeout = patient, patient, patient, patient
}

// recommended returns a client with the options of [store.RecommendedOptions].
func recommended(t *testing.T, url string, modify ...func(*redis.UniversalOptions)) redis.UniversalClient {
	t.Helper()
	options, err := store.RecommendedOptions(url)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range modify {
		f(options)
	}
	client := redis.NewUniversalClient(options)
	t.Cleanup(func() { client.Close() })
	return client
}

// atLast is the outcome of a call that is repeated until the budget ends: unavailable, or
// unknown when it ended while one more reply was on its way.
const atLast = "unavailable at last"

// expect calls the store, and fails the test unless the outcome, in the words of [is],
// comes within the budget.
func expect(t *testing.T, what, want string, do func() error) {
	t.Helper()
	still, start := redistest.WatchStandstill(t), time.Now()
	err := do()
	got := is(err)
	var cut net.Error
	if want == atLast && (got == "unavailable" || got == "unknown" && errors.As(err, &cut) && cut.Timeout()) {
		got = atLast
	}
	if got != want {
		t.Errorf("%s: %s (%v), want %s", what, got, err, want)
	}
	t.Logf("%s: %v in %v", what, err, time.Since(start).Round(100*time.Microsecond))
	still.Within(t, what, start, 2*budget)
}

func expectTake(t *testing.T, what, want string, kv *store.Store, set *store.LimitSet, tag store.Tag) {
	t.Helper()
	call := store.LimitCall{Set: set, Tag: tag, Cost: 1, Name: "this"}
	expect(t, what, want, func() error { return take(t.Context(), kv, call, 0) })
}

func config(t *testing.T, client redis.UniversalClient, name, value string) {
	t.Helper()
	if err := client.ConfigSet(context.Background(), name, value).Err(); err != nil {
		t.Fatalf("CONFIG SET %s %s: %v", name, value, err)
	}
}

// TestRefusedConnection: if Redis is down, a call fails at once, and its error says that
// nothing was spent.
func TestRefusedConnection(t *testing.T) {
	server := redistest.NewSingle(t)
	client := recommended(t, server.URL(), roomy)
	kv := newStore(t, client, redistest.Prefix(t))
	server.Kill(t)
	dials := &dialCounter{}
	client.AddHook(dials)
	still, start := redistest.WatchStandstill(t), time.Now()
	expectTake(t, "first call", "unavailable", kv, windowSet, store.MakeTag("test"))
	still.Within(t, "first call", start, budget/5)
	t.Logf("%d dials", dials.n.Load())
	if n := dials.n.Load(); n == 0 || n > 4 {
		t.Errorf("a refused connection is dialed %d times by one call, want 1 to 4", n)
	}
	_, errs := kv.LimitTakeMany(t.Context(), manyCalls(windowSet, "refused", 5))
	for i, err := range errs {
		if is(err) != "unavailable" {
			t.Errorf("item %d of many: %v", i, err)
		}
	}
	server.Restart(t)
	expectTake(t, "after the restart", "done", kv, windowSet, store.MakeTag("test"))
}

// dialCounter counts how often a client dials.
type dialCounter struct{ n atomic.Int64 }

func (c *dialCounter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c.n.Add(1)
		return next(ctx, network, addr)
	}
}

func (c *dialCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *dialCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestReplicaErrors: the replies of a replica that gets the calls of a master: LOADING,
// READONLY, MASTERDOWN.
func TestReplicaErrors(t *testing.T) {
	t.Parallel()
	master, replica := redistest.NewSingle(t, "--repl-diskless-sync-delay", "0"), redistest.NewSingle(t)
	prefix, tag := redistest.Prefix(t), store.MakeTag("test")
	data := master.Client(t)
	pipe := data.Pipeline()
	for i := range 3000 {
		pipe.Set(t.Context(), fmt.Sprint("fill", i), strings.Repeat("x", 100), time.Hour)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	client := recommended(t, replica.URL(), roomy)
	kv, answered := newBudgetStore(t, client, prefix), newStore(t, client, prefix)
	admin := replica.Client(t)
	config(t, admin, "key-load-delay", "500") // µs a key, as Redis's own tests do
	config(t, admin, "loading-process-events-interval-bytes", "1024")
	host, port, _ := net.SplitHostPort(master.Addrs()[0])
	if err := admin.Do(t.Context(), "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	state := func(field, value string) bool {
		info, _ := admin.Info(t.Context(), "persistence", "replication").Result()
		return strings.Contains(info, field+":"+value+"\r\n")
	}
	await(t, "the replica loads", func() bool { return state("loading", "1") })
	// The server answers now and then. The outcome of a take at the deadline depends on
	// that. A peek never has an unknown outcome.
	expect(t, "LOADING", "unavailable", func() error {
		return peek(t.Context(), kv, store.LimitCall{Set: windowSet, Tag: tag, Cost: 1}, 0)
	})
	config(t, admin, "key-load-delay", "0")
	await(t, "the replica follows", func() bool { return state("master_link_status", "up") })

	expectTake(t, "READONLY", atLast, kv, windowSet, tag)
	expectTake(t, "READONLY, log", atLast, kv, logSet, tag)
	expect(t, "READONLY, peek", "done", func() error {
		return peek(t.Context(), answered, store.LimitCall{Set: windowSet, Tag: tag, Cost: 1}, 0)
	})

	config(t, admin, "replica-serve-stale-data", "no")
	master.Kill(t)
	await(t, "the replica lost its master", func() bool { return state("master_link_status", "down") })
	expectTake(t, "MASTERDOWN", atLast, kv, windowSet, tag)

	if err := admin.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	expectTake(t, "promoted", "done", answered, windowSet, tag)
	if got := spent(t, answered, windowSet, tag)[0]; got != 1 {
		t.Errorf("%d permits spent by one take that went through", got)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestBusy: a script of another program runs for ever.
func TestBusy(t *testing.T) {
	server := redistest.NewSingle(t, "--lua-time-limit", "20")
	client, prefix, tag := recommended(t, server.URL(), roomy), redistest.Prefix(t), store.MakeTag("test")
	kv, answered := newBudgetStore(t, client, prefix), newStore(t, client, prefix)
	expectTake(t, "before", "done", answered, windowSet, tag)
	ended := make(chan error)
	other := server.Client(t, func(o *redis.UniversalOptions) { o.MaxRetries, o.ReadTimeout = -1, time.Minute })
	go func() { ended <- other.Eval(context.Background(), "while true do end", nil).Err() }()
	admin := redistest.NewClient(t, server.Addrs()[0])
	await(t, "the server is busy", func() bool {
		return redis.HasErrorPrefix(admin.Ping(t.Context()).Err(), "BUSY")
	})
	expectTake(t, "BUSY", atLast, kv, windowSet, store.MakeTag("busy"))
	expectTake(t, "BUSY, log", atLast, kv, logSet, store.MakeTag("busy"))
	if err := admin.ScriptKill(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the endless script ended by itself")
	}
	expectTake(t, "after", "done", answered, windowSet, tag)
	if got := spent(t, answered, windowSet, tag)[0]; got != 2 {
		t.Errorf("%d permits spent by two takes that went through", got)
	}
}

// TestOutOfMemory: a full Redis spends from all limits of a call or from none, and still
// denies.
func TestOutOfMemory(t *testing.T) {
	server := redistest.NewSingle(t)
	admin := server.Client(t)
	kv := newStore(t, recommended(t, server.URL(), roomy), redistest.Prefix(t))
	full := store.NewLimitSet(store.LimitSpec{Name: "n", Algorithm: 'w', Quota: 1, Window: time.Hour})
	expectTake(t, "before", "done", kv, full, store.MakeTag("full"))
	config(t, admin, "maxmemory", "1")
	for _, set := range []*store.LimitSet{windowSet, bucketsSet, logSet, pairSet} {
		tag := store.MakeTag("test", fmt.Sprint(set.Len(), set.Sticky(), set == bucketsSet))
		want, permits := "refused", int64(0)
		if set == logSet {
			// The script drops dead permits first, which takes no memory. After the first
			// write of a script Redis lets it finish.
			want, permits = "done", 1
		}
		expectTake(t, "out of memory", want, kv, set, tag)
		for i, n := range spent(t, kv, set, tag) {
			if n != permits {
				t.Errorf("out of memory: limit %d of %d: %d permits spent by a %s take", i, set.Len(), n, want)
			}
		}
	}
	reply, err := kv.LimitTake(t.Context(), store.LimitCall{Set: full, Tag: store.MakeTag("full"), Cost: 1})
	if err != nil || reply.Verdict() != store.Denied {
		t.Errorf("out of memory: a used-up limit answers %v, %v; want denied", reply, err)
	}
	config(t, admin, "maxmemory", "0")
	expectTake(t, "after", "done", kv, pairSet, store.MakeTag("test", "after"))
}

// TestWrongType: the key holds a value of another type.
func TestWrongType(t *testing.T) {
	client, prefix := redistest.Single(t).Client(t), redistest.Prefix(t)
	kv, tag := newStore(t, client, prefix), store.MakeTag("test")
	for set, key := range map[*store.LimitSet]string{
		windowSet:  fmt.Sprintf("%s:l:{%s}:n:w%d", prefix, tag, time.Hour.Microseconds()),
		bucketsSet: fmt.Sprintf("%s:l:{%s}:n:c%d", prefix, tag, time.Hour.Microseconds()),
		logSet:     fmt.Sprintf("%s:l:{%s}:n:l%d", prefix, tag, time.Hour.Microseconds()),
		pairSet:    fmt.Sprintf("%s:l:{%s}:m:c%d", prefix, tag, time.Minute.Microseconds()),
	} {
		if err := client.Set(t.Context(), key, "not ours", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		expectTake(t, key, "refused", kv, set, tag)
		if got := client.Get(t.Context(), key).Val(); got != "not ours" {
			t.Errorf("%s is now %q", key, got)
		}
		client.Del(t.Context(), key)
		for i, n := range spent(t, kv, set, tag) {
			if n != 0 {
				t.Errorf("%s: limit %d: %d permits spent by a refused take", key, i, n)
			}
		}
	}
}

// TestMaxClients: the server accepts no more connections. It sends an error and hangs up.
// A client that writes at that moment may not be able to read the error.
func TestMaxClients(t *testing.T) {
	server := redistest.NewSingle(t)
	admin := server.Client(t)
	if err := admin.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	config(t, admin, "maxclients", "1")
	kv, tag := newStore(t, recommended(t, server.URL(), roomy), redistest.Prefix(t)), store.MakeTag("test")
	err := take(t.Context(), kv, store.LimitCall{Set: windowSet, Tag: tag, Cost: 1}, 0)
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("max clients: %v, want ErrUnavailable", err)
	}
	config(t, admin, "maxclients", "100")
	expectTake(t, "after", "done", kv, windowSet, tag)
	if got := spent(t, kv, windowSet, tag)[0]; got != 1 {
		t.Errorf("%d permits spent by one take that went through", got)
	}
}

// TestPoolTimeout: all connections are taken.
func TestPoolTimeout(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	client := recommended(t, "redis://"+proxy.Addr(), func(o *redis.UniversalOptions) {
		o.PoolSize, o.PoolTimeout, o.ReadTimeout = 1, 10*time.Millisecond, time.Minute
	})
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	proxy.BlackHole(true)
	ended := make(chan error)
	go func() { ended <- client.Ping(context.Background()).Err() }()
	await(t, "the connection is taken", func() bool { return client.PoolStats().IdleConns == 0 })
	expectTake(t, "pool timeout", "unavailable", newBudgetStore(t, client, redistest.Prefix(t)), windowSet, store.MakeTag("test"))
	proxy.Heal() // resets the connection
	<-ended
}

// TestClosedClient: the program shuts down.
func TestClosedClient(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: redistest.Single(t).Addrs()[0]})
	kv := newStore(t, client, redistest.Prefix(t))
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	expectTake(t, "closed client", "unavailable", kv, windowSet, store.MakeTag("test"))
	err := take(t.Context(), kv, store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}, 0)
	if err == nil || !strings.Contains(err.Error(), "the client is closed") {
		t.Errorf("a closed client: %v, want an error that says so", err)
	}
}
