package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// budget is that of calls which end with it.
const budget = time.Second

func newBudgetStore(t *testing.T, client store.Client, prefix string) *store.Store {
	t.Helper()
	kv, err := store.New(client, store.Options{Prefix: prefix, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// roomy lets a busy machine answer.
func roomy(o *redis.UniversalOptions) {
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.DialTimeout = patient, patient, patient, patient
}

// recommended is a client as programs are told to make it.
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

// expect calls the store, and wants an outcome in the words of [is] within the budget.
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

// TestRefusedConnection: the fail mode of a program whose Redis is gone decides at once,
// and knows that nothing was spent.
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

// TestReplicaErrors: what a replica says that takes calls for a master: LOADING,
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
	// It answers now and then. What a take was told by the deadline depends on that; of a
	// peek nothing is unknown.
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

// TestBusy: somebody else's script runs for ever.
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

// TestOutOfMemory: a full Redis spends from all limits of a call or from none, and goes
// on to deny.
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
			// It drops the dead first, which takes no memory; after a script's first
			// write Redis lets it finish.
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

// TestWrongType: the key is something else's.
func TestWrongType(t *testing.T) {
	client, prefix := redistest.Single(t).Client(t), redistest.Prefix(t)
	kv, tag := newStore(t, client, prefix), store.MakeTag("test")
	for set, key := range map[*store.LimitSet]string{
		windowSet:  fmt.Sprintf("%s:l:{%s}:n:w%d", prefix, tag, time.Hour.Microseconds()),
		bucketsSet: fmt.Sprintf("%s:l:{%s}:n:b%d", prefix, tag, time.Hour.Microseconds()),
		logSet:     fmt.Sprintf("%s:l:{%s}:n:l%d", prefix, tag, time.Hour.Microseconds()),
		pairSet:    fmt.Sprintf("%s:l:{%s}:m:b%d", prefix, tag, time.Minute.Microseconds()),
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

// TestMaxClients: the server takes no more connections. It says so and hangs up, and a
// client that writes at that moment may not get to read it.
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

// aclLine is the line of SECURITY.md, and what it adds for a cluster.
func aclLine(t *testing.T) (rules, cluster []string) {
	t.Helper()
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ +user gatekit (on >PASSWORD .*)$`).FindSubmatch(text)
	more := regexp.MustCompile("On a cluster add `([^`]*)`").FindSubmatch(text)
	if line == nil || more == nil {
		t.Fatal("SECURITY.md has no ACL line")
	}
	return strings.Fields(string(line[1])), strings.Fields(string(more[1]))
}

// TestLeastPrivilege: the ACL line of SECURITY.md is enough for all that the kit does,
// and no more than that.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	single, cluster := redistest.NewSingle(t), redistest.NewCluster(t)
	for _, server := range []*redistest.Server{single, cluster} {
		t.Run(server.Name(), func(t *testing.T) {
			rules, more := aclLine(t)
			if server == cluster {
				rules = append(rules, more...)
			}
			for _, node := range server.Nodes() {
				admin := redistest.NewClient(t, node.Addr())
				user := []any{"ACL", "SETUSER", "gatekit"}
				for _, rule := range rules {
					user = append(user, rule)
				}
				if err := admin.Do(t.Context(), user...).Err(); err != nil {
					t.Fatal(err)
				}
				// Known from 7.2 on, and sent by the client to each server.
				_ = admin.Do(t.Context(), "ACL", "SETUSER", "gatekit", "+client|setinfo").Err()
				admin.Do(t.Context(), "ACL", "LOG", "RESET")
			}
			client := server.Client(t, func(o *redis.UniversalOptions) {
				if o.Username, o.Password = "gatekit", "PASSWORD"; server == single {
					o.DB = 3 // which a cluster does not have
				}
			})
			kv := newStore(t, client, "gk")
			everyPath(t, kv)
			if _, errs := kv.LimitTakeMany(t.Context(), manyCalls(pairSet, "acl", 20)); errs[0] != nil {
				t.Errorf("many: %v", errs[0])
			}
			// The log of denied commands also tells what a client swallows.
			for _, node := range server.Nodes() {
				denied, err := redistest.NewClient(t, node.Addr()).Do(t.Context(), "ACL", "LOG").Slice()
				if err != nil || len(denied) != 0 {
					t.Errorf("%s denied: %v, %v", node.Addr(), denied, err)
				}
			}
			for _, forbidden := range [][]any{{"KEYS", "*"}, {"SET", "other", "1"}, {"FLUSHALL"}, {"SCRIPT", "FLUSH"}, {"CONFIG", "GET", "*"},
				{"EVAL", "return redis.call('LLEN', 'other')", "0"}, {"EVAL", "return redis.call('DEL', KEYS[1])", "1", "other"}} {
				if err := client.Do(t.Context(), forbidden...).Err(); !redis.HasErrorPrefix(err, "NOPERM") && !strings.Contains(fmt.Sprint(err), "can't access") && !strings.Contains(fmt.Sprint(err), "permission") {
					t.Errorf("%v: %v, want NOPERM", forbidden, err)
				}
			}
		})
	}
}

// everyPath takes the scripts through a limit's life.
func everyPath(t *testing.T, kv *store.Store) {
	t.Helper()
	now := time.Now().UnixMicro()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, letters := range []string{"w", "b", "l", "wbl", "lw"} {
		var specs []store.LimitSpec
		for i, letter := range letters {
			specs = append(specs, store.LimitSpec{Name: fmt.Sprint("n", i), Algorithm: byte(letter), Quota: 40, Window: time.Minute})
		}
		set := store.NewLimitSet(specs...)
		call := store.LimitCall{Set: set, Tag: store.MakeTag("acl", letters), Cost: 1, Repeatable: true}
		var first store.LimitReply
		at := int64(0)
		steps := []time.Duration{0, 0, 0, 10 * time.Second, 52 * time.Second, time.Hour, -2 * time.Hour, time.Hour}
		for round := range 60 { // admitted, denied, with a dead tail, all dead, the clock set back
			if round >= 50 {
				at += steps[round%len(steps)].Microseconds()
			} else {
				at += time.Millisecond.Microseconds()
			}
			call.Now, call.Name = now+at, fmt.Sprint(round)
			reply, err := kv.LimitTake(t.Context(), call)
			check("take", err)
			if round == 0 {
				first = reply
			}
			if round == 20 {
				stamps := make([]int64, set.Len())
				for i := range stamps {
					stamps[i] = first.Stamp(i)
				}
				back := call
				back.Name = "0"
				_, err = kv.LimitRefund(t.Context(), back, stamps)
				check("refund", err)
			}
			_, err = kv.LimitPeek(t.Context(), call)
			check("peek", err)
		}
		call.Now = 0
		_, err := kv.LimitTake(t.Context(), call)
		check("take by the server's clock", err)
		check("reset", kv.LimitReset(t.Context(), call))
	}
}

// TestNoPermission: a user that may not do what the scripts do.
func TestNoPermission(t *testing.T) {
	server := redistest.NewSingle(t)
	admin := server.Client(t)
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "poor", "on", "nopass", "~*", "+@all", "-rpush").Err(); err != nil {
		t.Fatal(err)
	}
	kv := newStore(t, recommended(t, server.URL(), func(o *redis.UniversalOptions) { o.Username, o.Password = "poor", "x" }), redistest.Prefix(t))
	expectTake(t, "NOPERM", "refused", kv, windowSet, store.MakeTag("test"))
	if got := spent(t, kv, windowSet, store.MakeTag("test"))[0]; got != 0 {
		t.Errorf("%d permits spent by a refused take", got)
	}
	stranger := newStore(t, recommended(t, server.URL(), func(o *redis.UniversalOptions) { o.Username, o.Password = "nobody", "x" }), redistest.Prefix(t))
	expectTake(t, "WRONGPASS", "refused", stranger, windowSet, store.MakeTag("test"))
}

// fakeServer answers each script with reply and everything else with an error, and counts
// the scripts. An empty reply hangs up.
func fakeServer(t testing.TB, reply string) (addr string, scripts *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	scripts = &atomic.Int64{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn, reply, reply == "", scripts)
			}()
		}
	}()
	return l.Addr().String(), scripts
}

// answer serves one connection, until the client hangs up, or once when that is asked
// for.
func answer(conn net.Conn, reply string, once bool, scripts *atomic.Int64) {
	r := bufio.NewReader(conn)
	for {
		words, err := readCommand(r)
		if err != nil {
			return
		}
		isScript, answer := slices.Contains([]string{"evalsha", "eval"}, strings.ToLower(words[0])), "-ERR unknown command\r\n"
		if isScript {
			scripts.Add(1)
			answer = reply
		}
		if _, err := conn.Write([]byte(answer)); err != nil || isScript && once {
			return
		}
	}
}

func readCommand(r *bufio.Reader) (words []string, err error) {
	var n int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil || n < 1 {
		return nil, fmt.Errorf("no command: %w", err)
	}
	for range n {
		var size int
		if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		for read := 0; read < len(word); {
			m, err := r.Read(word[read:])
			if err != nil {
				return nil, err
			}
			read += m
		}
		words = append(words, string(word[:size]))
	}
	return words, nil
}

// TestOtherServer: what is at the address is no Redis, or not one that runs our scripts.
func TestOtherServer(t *testing.T) {
	for _, c := range []struct{ name, reply, want string }{
		{"the reply", "*5\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n", "done"},
		{"too short", "*1\r\n:1\r\n", "malformed"},
		{"too long", "*6\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n:7\r\n", "malformed"},
		{"empty array", "*0\r\n", "malformed"},
		{"null array", "*-1\r\n", "refused"},
		{"null", "$-1\r\n", "refused"},
		{"status", "+OK\r\n", "unknown"},
		{"integer", ":1\r\n", "unknown"},
		{"words", "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n", "unknown"},
		{"nested", "*5\r\n*1\r\n:1\r\n:9\r\n:0\r\n:1\r\n:7\r\n", "unknown"},
		{"cut off", "*5\r\n:1\r\n:9\r\n", "unknown"},
		{"a number too large", "*5\r\n:99999999999999999999\r\n:9\r\n:0\r\n:1\r\n:7\r\n", "unknown"},
		{"a wrong length", "*x\r\n", "unknown"},
		{"a negative length", "*-7\r\n", "unknown"},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "unknown"},
		{"noise", "\x00\xff\r\n\r\n", "unknown"},
		{"an error of its own", "-WHAT is this\r\n", "refused"},
		{"an error with our words", "-ERR NOSCRIPT\r\n", "unavailable"},
		{"no script, ever", "-NOSCRIPT No matching script\r\n", atLast},
		{"loading, for ever", "-LOADING Redis is loading the dataset in memory\r\n", atLast},
		{"moving, for ever", "-TRYAGAIN Multiple keys request during rehashing of slot\r\n", atLast},
		{"end of file", "", "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr, scripts := fakeServer(t, c.reply)
			client := recommended(t, "redis://"+addr, roomy)
			kv := newStore(t, client, "gk")
			if c.want == atLast || c.want == "unavailable" || c.name == "cut off" { // these wait for it
				kv = newBudgetStore(t, client, "gk")
			}
			expectTake(t, "take", c.want, kv, windowSet, store.MakeTag("test"))
			if n := scripts.Load(); c.want == "unknown" && n != 1 {
				t.Errorf("sent %d times although the outcome is unknown", n)
			}
			still, start := redistest.WatchStandstill(t), time.Now()
			replies, errs := kv.LimitTakeMany(t.Context(), manyCalls(windowSet, "other", 2))
			for i, err := range errs {
				if (err == nil) != (c.want == "done") || err == nil && len(replies[i]) != 5 {
					t.Errorf("many, item %d: %v, %v", i, replies[i], err)
				}
			}
			still.Within(t, "many", start, 2*budget)
		})
	}
}
