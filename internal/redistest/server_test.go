package redistest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

// noRetries shows faults where they happen instead of trying again.
func noRetries(o *redis.UniversalOptions) { o.MaxRetries = -1 }

func TestEachGivesAWorkingServer(t *testing.T) {
	var names []string
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		names = append(names, s.Name())
		writeAndRead(t, s)
	})
	if got := strings.Join(names, " "); got != "embedded single cluster" {
		t.Errorf("Each ran on %q", got)
	}
}

func TestSentinelGivesAWorkingServer(t *testing.T) {
	s := redistest.Sentinel(t)
	writeAndRead(t, s)
	if master := s.Master(t, "any"); master != s.Nodes()[0] {
		t.Errorf("master is %s, want the first node %s", master.Addr(), s.Nodes()[0].Addr())
	}
}

func writeAndRead(t *testing.T, s *redistest.Server) {
	t.Helper()
	client, prefix := s.Client(t), redistest.Prefix(t)
	for _, key := range []string{"a", "b", "c", "d"} {
		t.Run(key, func(t *testing.T) {
			if err := client.Set(t.Context(), prefix+key, key, time.Minute).Err(); err != nil {
				t.Fatalf("SET on %s: %v", s.Name(), err)
			}
			if got, err := client.Get(t.Context(), prefix+key).Result(); got != key {
				t.Fatalf("GET on %s = %q, %v; want %q", s.Name(), got, err, key)
			}
		})
	}
}

func TestSharedServersAreStartedOnce(t *testing.T) {
	for _, test := range []struct {
		name   string
		get    func(testing.TB) *redistest.Server
		shared bool
	}{
		{"Single", redistest.Single, true},
		{"Cluster", redistest.Cluster, true},
		{"Sentinel", redistest.Sentinel, true},
		{"Embedded", redistest.Embedded, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if first, second := test.get(t), test.get(t); (first == second) != test.shared {
				t.Errorf("two calls gave %s and %s; same server wanted: %v", first.URL(), second.URL(), test.shared)
			}
		})
	}
}

func TestURLIsUnderstood(t *testing.T) {
	for _, s := range []*redistest.Server{redistest.Single(t), redistest.Embedded(t)} {
		o, err := redis.ParseURL(s.URL())
		if err != nil || o.Addr != s.Addrs()[0] {
			t.Errorf("%s: ParseURL(%q) = %v, %v", s.Name(), s.URL(), o, err)
		}
	}
	cluster := redistest.Cluster(t)
	if o, err := redis.ParseClusterURL(cluster.URL()); err != nil || len(o.Addrs) != 6 {
		t.Errorf("ParseClusterURL(%q) = %v, %v", cluster.URL(), o, err)
	}
	sentinel := redistest.Sentinel(t)
	if o, err := redis.ParseFailoverURL(sentinel.URL()); err != nil || len(o.SentinelAddrs) != 3 || o.MasterName != "mymaster" {
		t.Errorf("ParseFailoverURL(%q) = %v, %v", sentinel.URL(), o, err)
	}
}

func TestEmbeddedKeysExpireByTheClock(t *testing.T) {
	s := redistest.Embedded(t)
	client := s.Client(t)
	s.Miniredis().SetTime(time.Unix(1_000, 0))
	client.Set(t.Context(), "k", "v", time.Minute)
	s.Miniredis().SetTime(time.Unix(1_059, 0))
	if n := client.Exists(t.Context(), "k").Val(); n != 1 {
		t.Error("key expired 1 s early")
	}
	s.Miniredis().SetTime(time.Unix(1_061, 0))
	if n := client.Exists(t.Context(), "k").Val(); n != 0 {
		t.Error("key outlived its time")
	}
}

func TestFlagsReachTheServer(t *testing.T) {
	client := redistest.NewSingle(t, "--maxmemory", "5mb").Client(t)
	if got := client.ConfigGet(t.Context(), "maxmemory").Val()["maxmemory"]; got != "5242880" {
		t.Errorf("maxmemory = %q, want 5 MiB", got)
	}
}

// timedOut recognizes the end of a deadline, on which go-redis reports the context's
// error or the connection's.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

func TestFreezeAndThaw(t *testing.T) {
	s := redistest.NewSingle(t)
	client := s.Client(t, noRetries)
	client.Set(t.Context(), "k", "v", 0)
	for range 3 {
		s.Freeze(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := client.Get(ctx, "k").Err(); !timedOut(err) {
			t.Fatalf("a frozen server answered: %v", err)
		}
		cancel()
		s.Thaw(t)
		if got := client.Get(t.Context(), "k").Val(); got != "v" {
			t.Fatalf("after thaw, k = %q, want v", got)
		}
	}
}

func TestKillAndRestart(t *testing.T) {
	s := redistest.NewSingle(t)
	client, node := s.Client(t, noRetries), s.Nodes()[0]
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	pid := node.PID()
	s.Kill(t)
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answered")
	}
	if role := node.Role(); role != "down" {
		t.Errorf("role of a killed server = %q", role)
	}
	s.Restart(t)
	if n, err := client.Exists(t.Context(), "k").Result(); n != 0 || err != nil {
		t.Errorf("after restart on the same port: EXISTS = %d, %v; want 0, nil", n, err)
	}
	if node.PID() == pid || node.Role() != "master" {
		t.Errorf("restarted process has pid %d (was %d), role %q", node.PID(), pid, node.Role())
	}
}

// A rig that lets one test break another's server would be found by hours of debugging.
func TestSharedServersCannotBeBroken(t *testing.T) {
	for name, breakIt := range map[string]func(*redistest.Server, testing.TB){
		"Freeze": (*redistest.Server).Freeze, "Kill": (*redistest.Server).Kill, "Restart": (*redistest.Server).Restart,
	} {
		t.Run(name, func(t *testing.T) {
			tb := &failing{TB: t}
			func() {
				defer func() { recover() }()
				breakIt(redistest.Single(t), tb)
			}()
			if !strings.Contains(tb.message, "shared") {
				t.Errorf("%s on a shared server: %q", name, tb.message)
			}
		})
	}
	writeAndRead(t, redistest.Single(t))
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	redistest.Single(t) // skips where there is no Redis
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"port in use", []string{"--port", fmt.Sprint(port)}, "port taken"},
		{"bus port in use", []string{"--cluster-enabled", "yes", "--port", fmt.Sprint(port - 10_000)}, "port taken"},
		{"unknown flag", []string{"--no-such-flag", "1"}, "no-such-flag"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tb := &failing{TB: t}
			func() {
				defer func() { recover() }()
				redistest.NewSingle(tb, test.args...)
			}()
			if !strings.Contains(tb.message, test.want) {
				t.Errorf("message %q does not say %q", tb.message, test.want)
			}
		})
	}
}

// failing records a fatal failure instead of failing, and ends the function that met it
// by a panic.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatal(args ...any) {
	f.message, _ = args[0].(string)
	panic(f)
}

func (f *failing) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }
