//go:build unix

package ratelimit_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// slotTask is the task of one of several processes. The process reads it as JSON from its
// environment.
type slotTask struct {
	Addrs   []string
	Cluster bool
	Prefix  string
	Slots   int64
	Length  time.Duration
	Callers int // that wait for slots until Total were had by all processes; 0: hold one
	Total   int64
}

const slotTaskEnv = "GATEKIT_TEST_SLOTS"

func (task slotTask) policy() *ratelimit.Policy {
	return ratelimit.ShortSlots(ratelimit.MustPolicy("processes", ratelimit.Slots(task.Slots)), task.Length).OnFailure(ratelimit.FailClosed)
}

func (task slotTask) open(t *testing.T) (redis.UniversalClient, *ratelimit.Limiter) {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: task.Addrs, IsClusterMode: task.Cluster, ContextTimeoutEnabled: true, PoolSize: 16})
	t.Cleanup(func() { _ = client.Close() })
	return client, slotLimiter(t, kvtest.Open(t, client, gatekit.Options{Budget: 10 * time.Second, Prefix: task.Prefix}), ratelimit.Options{})
}

// TestSlotProcess does the task of the environment.
func TestSlotProcess(t *testing.T) {
	text, ok := os.LookupEnv(slotTaskEnv)
	if !ok {
		return
	}
	var task slotTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		t.Fatal(err)
	}
	client, l := task.open(t)
	if task.Callers == 0 {
		slot := acquired(t, l, task.policy(), "k")
		fmt.Printf("\nfence %d\n", slot.Fence())
		<-slot.Context().Done()
		fmt.Printf("\nended %v\n", context.Cause(slot.Context()) == ratelimit.ErrSlotLost)
		return
	}
	// All begin together: whoever starts early would be served while it is alone.
	ready := client.Incr(t.Context(), task.Prefix+":ready").Val()
	for ; ready < 4; ready = client.IncrBy(t.Context(), task.Prefix+":ready", 0).Val() {
		time.Sleep(10 * time.Millisecond)
	}
	var had atomic.Int64
	var wg sync.WaitGroup
	for range task.Callers {
		wg.Go(func() {
			for client.IncrBy(t.Context(), task.Prefix+":had", 0).Val() < task.Total {
				slot, err := l.AcquireWait(t.Context(), task.policy(), "k")
				if err != nil {
					t.Error(err)
					return
				}
				if live := client.Incr(t.Context(), task.Prefix+":live").Val(); live > task.Slots && slot.Context().Err() == nil {
					t.Errorf("%d of %d under way", live, task.Slots)
				}
				client.Incr(t.Context(), task.Prefix+":had")
				had.Add(1)
				time.Sleep(5 * time.Millisecond)
				client.Decr(t.Context(), task.Prefix+":live")
				slot.Release()
			}
		})
	}
	wg.Wait()
	fmt.Printf("\nhad %d\n", had.Load())
}

// start starts a process of the task and returns what it prints.
func (task slotTask) start(t *testing.T) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	text, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSlotProcess$")
	cmd.Env = append(os.Environ(), slotTaskEnv+"="+string(text))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _, _ = io.Copy(io.Discard, out); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

// said waits for a line that begins with the word, and returns its rest.
func said(t *testing.T, out *bufio.Scanner, word string) string {
	t.Helper()
	var all []string
	for out.Scan() {
		if rest, ok := strings.CutPrefix(out.Text(), word+" "); ok {
			return rest
		}
		all = append(all, out.Text())
	}
	t.Fatalf("the process does not say %q:\n%s", word, strings.Join(all, "\n"))
	return ""
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// serverTime returns the clock of the server, unix µs, by which fences are given.
func serverTime(t *testing.T, client redis.UniversalClient) int64 {
	t.Helper()
	at, err := client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMicro()
}

// runsOut returns when the slot of the only holder runs out by the server's clock.
func (task slotTask) runsOut(t *testing.T, client redis.UniversalClient) int64 {
	t.Helper()
	for _, key := range redistest.Keys(t, client, task.Prefix) {
		if strings.HasPrefix(key, task.Prefix+":h:") {
			holders, err := client.ZRangeWithScores(t.Context(), key, 0, -1).Result()
			if err != nil || len(holders) != 1 {
				t.Fatalf("%v, %v; want one holder", holders, err)
			}
			return int64(holders[0].Score)
		}
	}
	t.Fatal("nobody holds a slot")
	return 0
}

// TestKilledProcessGivesItsSlotBack: after kill -9 the slot is free within its length,
// and not before it has run out. All instants are the server's.
func TestKilledProcessGivesItsSlotBack(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	srv := redistest.Single(t)
	task := slotTask{Addrs: srv.Addrs(), Prefix: redistest.Prefix(t), Slots: 1, Length: 3 * time.Second}
	client, l := task.open(t)
	cmd, out := task.start(t)
	fence := number(t, said(t, out, "fence"))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	killed := serverTime(t, client)
	over := task.runsOut(t, client)
	if over > killed+task.Length.Microseconds() {
		t.Errorf("the dead holder blocks for %d µs, want at most %v", over-killed, task.Length)
	}
	slot, err := l.AcquireWait(t.Context(), task.policy(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if slot.Fence() <= fence || int64(slot.Fence()) < over {
		t.Errorf("acquired at %d, fence %d before; want when it ran out, %d, or later", slot.Fence(), fence, over)
	}
}

// TestFrozenProcessLosesItsSlot: another gets the slot of a process that is stopped, and
// the stopped one learns it when it wakes up.
func TestFrozenProcessLosesItsSlot(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	srv := redistest.Single(t)
	task := slotTask{Addrs: srv.Addrs(), Prefix: redistest.Prefix(t), Slots: 1, Length: 3 * time.Second}
	_, l := task.open(t)
	cmd, out := task.start(t)
	fence := number(t, said(t, out, "fence"))
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	slot, err := l.AcquireWait(t.Context(), task.policy(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if slot.Fence() <= fence {
		t.Errorf("fence %d after %d", slot.Fence(), fence)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if lost := said(t, out, "ended"); lost != "true" {
		t.Errorf("ended with ErrSlotLost: %s", lost)
	}
}

// TestProcessesShareTheSlots: four processes with many callers each are served alike, and
// never more than the slots are under way.
func TestProcessesShareTheSlots(t *testing.T) {
	redistest.Long(t)
	for _, srv := range []*redistest.Server{redistest.Single(t), redistest.Cluster(t)} {
		t.Run(srv.Name(), func(t *testing.T) {
			task := slotTask{
				Addrs: srv.Addrs(), Cluster: srv.Name() == "cluster", Prefix: redistest.Prefix(t),
				Slots: 5, Length: 30 * time.Second, Callers: 16, Total: 400,
			}
			var outs []*bufio.Scanner
			var processes []*exec.Cmd
			for range 4 {
				cmd, out := task.start(t)
				processes, outs = append(processes, cmd), append(outs, out)
			}
			var had []uint64
			for _, out := range outs {
				had = append(had, number(t, said(t, out, "had")))
			}
			for i, cmd := range processes {
				var rest []string
				for outs[i].Scan() {
					rest = append(rest, outs[i].Text())
				}
				if err := cmd.Wait(); err != nil {
					t.Errorf("a process failed: %v\n%s", err, strings.Join(rest, "\n"))
				}
			}
			t.Logf("acquired by process: %v", had)
			for _, n := range had {
				if n < uint64(task.Total)/4/3 {
					t.Errorf("acquired by process: %v; one got less than a third of its share", had)
				}
			}
		})
	}
}
