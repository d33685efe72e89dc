package redistest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// TestChild is what the tests below run in a process of its own; here it does nothing.
func TestChild(t *testing.T) {
	switch os.Getenv("REDISTEST_CHILD") {
	case "":
		t.Skip("only for child processes of other tests")
	case "single":
		redistest.Single(t)
	case "leak":
		go func() { select {} }()
	case "late":
		go time.Sleep(2 * time.Second) // goleak by itself waits for half a second
	case "servers":
		s, _ := redistest.NewSingleWithClock(t)
		pids := []any{redistest.Single(t).Nodes()[0].PID(), s.Nodes()[0].PID()}
		for _, node := range redistest.NewSentinel(t).Nodes() {
			pids = append(pids, node.PID())
		}
		s.Freeze(t) // a stopped process must die too
		fmt.Println(append([]any{"pids:"}, pids...)...)
		time.Sleep(time.Minute)
	}
}

func child(t *testing.T, what string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), append(env, "REDISTEST_CHILD="+what)...)
	return cmd
}

func TestNoServerOutlivesAKilledTestProcess(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	redistest.Single(t) // skips where there is no Redis
	temp := t.TempDir()
	cmd := child(t, "servers", "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	for lines := bufio.NewScanner(out); pids == nil && lines.Scan(); {
		if list, ok := strings.CutPrefix(lines.Text(), "pids: "); ok {
			for word := range strings.FieldsSeq(list) {
				var pid int
				fmt.Sscan(word, &pid)
				pids = append(pids, pid)
			}
		}
	}
	for _, pid := range pids {
		if !running(pid) {
			t.Fatalf("process %d is not running to begin with", pid)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if len(pids) != 7 {
		t.Fatalf("child told %d pids, want 7", len(pids))
	}
	for _, pid := range pids {
		eventually(t, time.Minute, func() error {
			if running(pid) {
				return fmt.Errorf("redis-server %d still runs", pid)
			}
			return nil
		})
	}
	// Its files are still there, and the next process removes them.
	if left, _ := filepath.Glob(filepath.Join(temp, "gatekit-redistest-*")); len(left) != 1 {
		t.Errorf("the killed process left %q, want one directory", left)
	}
	if out, err := child(t, "single", "TMPDIR="+temp).CombinedOutput(); err != nil {
		t.Fatalf("next process: %v\n%s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "gatekit-redistest-*")); len(left) != 0 {
		t.Errorf("after the next process there are still %q", left)
	}
}

// running reports whether a process exists and is no zombie: where nobody reaps orphans,
// a dead one stays listed.
func running(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil || p.Signal(syscall.Signal(0)) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func TestMissingRedisSkipsOrFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		env  []string
		ok   bool
	}{
		{"laptop", []string{"CI=", "GATEKIT_REQUIRE_REDIS="}, true},
		{"continuous integration", []string{"CI=true", "GATEKIT_REQUIRE_REDIS="}, false},
		{"required", []string{"CI=", "GATEKIT_REQUIRE_REDIS=1"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := child(t, "single", append(test.env, "PATH=/nonexistent")...).CombinedOutput()
			if ok := err == nil; ok != test.ok {
				t.Errorf("passed = %v, want %v\n%s", ok, test.ok, out)
			}
			if !strings.Contains(string(out), "redis-server is not installed: apt-get install redis-server") {
				t.Errorf("no advice in:\n%s", out)
			}
		})
	}
}

func TestMainFailsOnALeakedGoroutine(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	out, err := child(t, "leak").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "goroutines are left over") {
		t.Errorf("err = %v\n%s", err, out)
	}
}

// A goroutine that ends by itself is no leak, however late the machine lets it run.
func TestMainWaitsForGoroutinesToEnd(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	if out, err := child(t, "late").CombinedOutput(); err != nil {
		t.Errorf("err = %v\n%s", err, out)
	}
}
