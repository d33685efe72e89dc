package redistest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

var increment = redis.NewScript(`return redis.call('INCR', KEYS[1])`)

// rig is a client behind a proxy, with the script loaded and a connection open; direct
// goes past the proxy.
type rig struct {
	proxy          *redistest.Proxy
	client, direct redis.UniversalClient
	key            string
}

func newRig(t *testing.T, modify ...func(*redis.UniversalOptions)) rig {
	t.Helper()
	s := redistest.Single(t)
	r := rig{proxy: redistest.NewProxy(t, s.Addrs()[0]), direct: s.Client(t), key: redistest.Prefix(t)}
	r.client = redistest.NewClient(t, r.proxy.Addr(), modify...)
	if err := increment.Load(t.Context(), r.client).Err(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r rig) increment(t *testing.T) (int, error) {
	return increment.Run(t.Context(), r.client, []string{r.key}).Int()
}

// wantExecuted checks how often the server ran the script.
func (r rig) wantExecuted(t *testing.T, want int) {
	t.Helper()
	got, err := r.direct.Get(t.Context(), r.key).Int()
	if err != nil && !errors.Is(err, redis.Nil) || got != want {
		t.Errorf("script ran %d times (%v), want %d", got, err, want)
	}
}

func TestDroppedReplyMeansExecutedOnce(t *testing.T) {
	r := newRig(t, noRetries)
	r.proxy.DropReply(2)
	if n, err := r.increment(t); n != 1 || err != nil {
		t.Fatalf("1st call = %d, %v; only the 2nd reply was to be dropped", n, err)
	}
	if n, err := r.increment(t); !errors.Is(err, io.EOF) {
		t.Errorf("2nd call = %d, %v; want EOF", n, err)
	}
	r.wantExecuted(t, 2)
	if n, err := r.increment(t); n != 3 || err != nil {
		t.Errorf("3rd call = %d, %v; want 3", n, err)
	}
}

// This is why the kit sends scripts without retries.
func TestDroppedReplyWithDefaultRetriesMeansExecutedTwice(t *testing.T) {
	r := newRig(t)
	r.proxy.DropReply(1)
	if n, err := r.increment(t); n != 2 || err != nil {
		t.Errorf("call = %d, %v; go-redis was expected to repeat it and report 2", n, err)
	}
	r.wantExecuted(t, 2)
}

func TestDropReplyEvery(t *testing.T) {
	r := newRig(t, noRetries)
	r.proxy.DropReplyEvery(3)
	var outcome strings.Builder
	for range 9 {
		if _, err := r.increment(t); err != nil {
			outcome.WriteByte('x')
		} else {
			outcome.WriteByte('.')
		}
	}
	if got := outcome.String(); got != "..x..x..x" {
		t.Errorf("outcome %s, want ..x..x..x", got)
	}
	r.wantExecuted(t, 9)
	r.proxy.Heal()
	for range 3 {
		if _, err := r.increment(t); err != nil {
			t.Errorf("after Heal: %v", err)
		}
	}
}

// A script the server does not know was not executed, so losing that reply would prove
// nothing.
func TestDropReplySparesNoScript(t *testing.T) {
	r := newRig(t, noRetries)
	fresh := redis.NewScript(fmt.Sprintf("return redis.call('INCR', KEYS[1]) -- %s", r.key))
	r.proxy.DropReply(1)
	if err := fresh.Run(t.Context(), r.client, []string{r.key}).Err(); !errors.Is(err, io.EOF) {
		t.Errorf("err = %v, want EOF for the EVAL that follows the NOSCRIPT", err)
	}
	r.wantExecuted(t, 1)
}

func TestDropReplyOfANamedCommand(t *testing.T) {
	r := newRig(t, noRetries)
	r.proxy.DropReply(1, "HGETALL")
	if _, err := r.increment(t); err != nil {
		t.Errorf("the script was hit: %v", err)
	}
	if err := r.client.HGetAll(t.Context(), r.key+"h").Err(); !errors.Is(err, io.EOF) {
		t.Errorf("HGETALL: %v, want EOF", err)
	}
}

func TestSwallowedRequestIsNotExecuted(t *testing.T) {
	r := newRig(t, noRetries)
	r.proxy.SwallowRequest(1)
	if _, err := r.increment(t); !errors.Is(err, io.EOF) {
		t.Errorf("err = %v, want EOF", err)
	}
	r.wantExecuted(t, 0)
	if n, err := r.increment(t); n != 1 || err != nil {
		t.Errorf("next call = %d, %v; want 1", n, err)
	}
}

// go-redis fails a whole pipeline when one reply is missing, so this speaks to the proxy
// directly.
func TestPipelineFaultsHitOneCommand(t *testing.T) {
	run := func(t *testing.T, r rig) string {
		conn := dial(t, r.proxy)
		command := fmt.Sprintf("*4\r\n$7\r\nevalsha\r\n$40\r\n%s\r\n$1\r\n1\r\n$%d\r\n%s\r\n", increment.Hash(), len(r.key), r.key)
		if _, err := io.WriteString(conn, strings.Repeat(command, 4)); err != nil {
			t.Fatal(err)
		}
		replies, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		return string(replies)
	}
	t.Run("reply", func(t *testing.T) {
		r := newRig(t)
		r.proxy.DropReply(3)
		if got := run(t, r); got != ":1\r\n:2\r\n" {
			t.Errorf("replies %q, want the first two", got)
		}
		r.wantExecuted(t, 4)
	})
	t.Run("request", func(t *testing.T) {
		r := newRig(t)
		r.proxy.SwallowRequest(3)
		if got := run(t, r); got != ":1\r\n:2\r\n" {
			t.Errorf("replies %q, want the first two", got)
		}
		r.wantExecuted(t, 2)
	})
}

func dial(t *testing.T, p *redistest.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func TestTrafficIsCounted(t *testing.T) {
	r := newRig(t)
	traffic := r.proxy.During(func() {
		r.increment(t)
		r.increment(t)
		pipe := r.client.Pipeline()
		for range 100 {
			pipe.HGetAll(t.Context(), r.key+"h")
		}
		pipe.Exec(t.Context())
	})
	// The pipeline uses a connection of its own, which is set up in one further round
	// trip or two.
	extra := traffic.Commands.Total() - 102
	if traffic.Commands.Of("EVALSHA") != 2 || traffic.Commands.Of("hgetall") != 100 || traffic.Conns != 1 || extra > 3 {
		t.Errorf("traffic = %+v", traffic)
	}
	if setUp := traffic.RoundTrips - 3; setUp < 1 || setUp > 2 {
		t.Errorf("%d round trips, want 3 and the set-up of a connection", traffic.RoundTrips)
	}
	one := r.proxy.During(func() { r.increment(t) })
	want := int64(len("*4\r\n$7\r\nevalsha\r\n$40\r\n\r\n$1\r\n1\r\n\r\n") + 40 + len(fmt.Sprintf("$%d\r\n%s\r\n", len(r.key), r.key)) - 2)
	if one.Sent != want || one.Received != int64(len(":3\r\n")) || one.RoundTrips != 1 || one.Commands.Total() != 1 {
		t.Errorf("one call = %+v, want %d bytes sent and 4 received", one, want)
	}
}

func TestDelayIsPerReplyNotPerPipeline(t *testing.T) {
	const delay = 60 * time.Millisecond
	r := newRig(t, func(o *redis.UniversalOptions) { o.PipelinePoolSize = -1 })
	r.proxy.DelayReplies(delay)
	// If each reply was late after the one before, no attempt could take less than ten
	// delays.
	for giveUp := time.Now().Add(30 * time.Second); ; {
		began := time.Now()
		pipe := r.client.Pipeline()
		for range 10 {
			increment.EvalSha(t.Context(), pipe, []string{r.key})
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if took < delay {
			t.Fatalf("pipeline of 10 took %v, want %v at least", took, delay)
		}
		if took < 5*delay {
			return
		}
		if time.Now().After(giveUp) {
			t.Fatalf("pipeline of 10 took %v each time, want little more than %v", took, delay)
		}
	}
}

func TestBlackHole(t *testing.T) {
	r := newRig(t, noRetries)
	fresh := redistest.NewClient(t, r.proxy.Addr(), noRetries)
	r.proxy.BlackHole(true)
	for name, client := range map[string]redis.UniversalClient{"existing": r.client, "new": fresh} {
		ctx, cancel := context.WithTimeout(t.Context(), 80*time.Millisecond)
		if err := increment.Run(ctx, client, []string{r.key}).Err(); !timedOut(err) {
			t.Errorf("%s connection: %v, want silence until the deadline", name, err)
		}
		cancel()
	}
	r.wantExecuted(t, 0)
	r.proxy.BlackHole(false)
	for name, client := range map[string]redis.UniversalClient{"existing": r.client, "new": fresh} {
		if err := increment.Run(t.Context(), client, []string{r.key}).Err(); err != nil {
			t.Errorf("%s connection, healed: %v", name, err)
		}
	}
}

func TestRefuse(t *testing.T) {
	r := newRig(t, noRetries)
	addr := r.proxy.Addr()
	for range 3 {
		r.proxy.Refuse(true)
		r.client.Ping(t.Context()) // an open connection may still have to notice
		if err := r.client.Ping(t.Context()).Err(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("err = %v, want connection refused", err)
		}
		r.proxy.Refuse(false)
		if err := r.client.Ping(t.Context()).Err(); err != nil || r.proxy.Addr() != addr {
			t.Errorf("open again on %s (was %s): %v", r.proxy.Addr(), addr, err)
		}
	}
}

func TestReset(t *testing.T) {
	r := newRig(t, noRetries)
	// go-redis would report EOF: it asks the connection twice, and a reset is told only
	// once.
	idle, waiting := dial(t, r.proxy), dial(t, r.proxy)
	r.proxy.DelayReplies(time.Minute)
	io.WriteString(waiting, "PING\r\n")
	eventually(t, time.Minute, func() error {
		if r.proxy.Traffic().Commands.Of("ping") == 0 || r.proxy.Traffic().Conns < 3 {
			return errors.New("PING has not arrived")
		}
		return nil
	})
	r.proxy.Reset()
	for name, conn := range map[string]net.Conn{"idle": idle, "waiting": waiting} {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s connection: %v, want connection reset", name, err)
		}
	}
	r.proxy.Heal()
	if err := r.client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("next call: %v", err)
	}
}

// Values, errors, nulls, maps, pushes and messages of all sizes pass unchanged, in either
// protocol.
func TestProxyIsTransparent(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			r := newRig(t, func(o *redis.UniversalOptions) { o.Protocol = protocol })
			ctx, c, key := t.Context(), r.client, r.key
			big := strings.Repeat("x\r\n", 400_000)
			if c.Set(ctx, key+"big", big, time.Minute); c.Get(ctx, key+"big").Val() != big {
				t.Error("1.2 MB value changed")
			}
			if err := c.Get(ctx, key+"none").Err(); !errors.Is(err, redis.Nil) {
				t.Errorf("missing key: %v", err)
			}
			c.HSet(ctx, key+"h", "f", "", "g", "\x00\xff")
			if got := c.HGetAll(ctx, key+"h").Val(); len(got) != 2 || got["g"] != "\x00\xff" {
				t.Errorf("hash = %q", got)
			}
			if err := c.LPush(ctx, key+"h", 1).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE") {
				t.Errorf("LPUSH on a hash: %v", err)
			}
			nested, err := c.Eval(ctx, `return {1, {2, 'x', {}}, false, redis.status_reply('FINE')}`, nil).Result()
			if fmt.Sprint(nested) != "[1 [2 x []] <nil> FINE]" {
				t.Errorf("nested reply = %v, %v", nested, err)
			}
			c.ZAdd(ctx, key+"z", redis.Z{Score: 1.5, Member: "m"})
			if got := c.ZRangeWithScores(ctx, key+"z", 0, -1).Val(); len(got) != 1 || got[0].Score != 1.5 {
				t.Errorf("sorted set = %v", got)
			}
			if n, err := c.Do(ctx, "blpop", key+"l", "0.01").Result(); !errors.Is(err, redis.Nil) {
				t.Errorf("BLPOP = %v, %v", n, err)
			}
			sub := c.Subscribe(ctx, key+"a", key+"b")
			defer sub.Close()
			for range 2 {
				if _, err := sub.Receive(ctx); err != nil {
					t.Fatal(err)
				}
			}
			r.direct.Publish(ctx, key+"b", "hello")
			if msg, err := sub.ReceiveMessage(ctx); err != nil || msg.Payload != "hello" {
				t.Errorf("message = %v, %v", msg, err)
			}
			c.Del(ctx, key+"h", key+"z")
		})
	}
}

// Such clients learn addresses from the servers, and must still go through the proxies.
func TestThroughProxies(t *testing.T) {
	for _, s := range []*redistest.Server{redistest.Single(t), redistest.Cluster(t), redistest.Sentinel(t)} {
		var proxies []*redistest.Proxy
		for _, node := range s.Nodes() {
			proxies = append(proxies, redistest.NewProxy(t, node.Addr()))
		}
		client, key := s.Client(t, redistest.Through(proxies...)), redistest.Prefix(t)
		if err := increment.Run(t.Context(), client, []string{key}).Err(); err != nil {
			t.Fatal(err)
		}
		for i, node := range s.Nodes() {
			seen := proxies[i].Traffic().Commands.Of("evalsha") > 0
			if owner := node == s.Master(t, key); seen != owner {
				t.Errorf("%s, node %d: script passed its proxy: %v, owns the key: %v", s.Name(), i, seen, owner)
			}
		}
	}
}

// Faults are switched while traffic flows: for the race detector, and to see that no
// connection gets another's reply.
func TestFaultsUnderLoad(t *testing.T) {
	r := newRig(t, func(o *redis.UniversalOptions) { o.ReadTimeout = 200 * time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	right, wrong := 0, 0
	const enough = 50
	few := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return right < enough
	}
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				want := fmt.Sprint(i, "-", n)
				got, err := r.client.Eval(ctx, "return ARGV[1]", nil, want).Text()
				mu.Lock()
				switch {
				case err == nil && got == want:
					right++
				case err == nil:
					wrong++
				}
				mu.Unlock()
			}
		})
	}
	for step := 0; step < 60 || few() && ctx.Err() == nil; step++ {
		switch step % 6 {
		case 0:
			r.proxy.DropReplyEvery(5)
		case 1:
			r.proxy.SwallowRequest(3)
		case 2:
			r.proxy.Reset()
		case 3:
			r.proxy.BlackHole(true)
		case 4:
			r.proxy.Refuse(true)
		case 5:
			r.proxy.Heal()
			r.proxy.DelayReplies(time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	if wrong > 0 || right < enough {
		t.Errorf("%d calls got their own reply and %d another call's; want %d or more and none", right, wrong, enough)
	}
	r.proxy.Heal()
	if err := r.client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("healed: %v", err)
	}
}
