package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// startTimeout is how long a server may take to answer: 30 ms are usual, but a busy
// machine is not.
const startTimeout = time.Minute

var errPortTaken = errors.New("port taken")

// process is one run of redis-server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and has been reaped
}

func spawn(dir string, env []string, args []string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, "redis.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("redis-server", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel watches the thread that started the child, not the process. So this
		// goroutine keeps its thread to itself until the child has ended; otherwise the
		// runtime might end the thread, and the server with it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	return p, <-started
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process without asking it (there is nothing to save) and waits until it
// is gone, so that its port and its directory are free. A stopped process dies as well.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// awaitReady returns when the process itself answers on addr.
func (p *process) awaitReady(dir, addr string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		if !p.alive() {
			return startError(dir)
		}
		info, err := ask(ctx, addr, "INFO", "server")
		// Another process may have taken the port in this moment and answer in its place;
		// ours is about to end then.
		if err == nil && field(info, "process_id") == strconv.Itoa(p.pid()) {
			return nil
		}
		// A password was set by the test's own flags. That the answer is ours is then a
		// matter of trust.
		if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("redis-server on %s did not answer within %v: %w\n%s", addr, startTimeout, err, logTail(dir))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func startError(dir string) error {
	tail := logTail(dir)
	for _, sign := range []string{"Address already in use", "bind: ", "Failed listening"} {
		if strings.Contains(tail, sign) {
			return fmt.Errorf("%w: %s", errPortTaken, tail)
		}
	}
	return fmt.Errorf("redis-server ended at once: %s", tail)
}

func logTail(dir string) string {
	log, _ := os.ReadFile(filepath.Join(dir, "redis.log"))
	const most = 2000
	if len(log) > most {
		log = log[len(log)-most:]
	}
	return strings.TrimSpace(string(log))
}

// field reads one "name:value" line of an INFO reply, "" if there is none.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == name {
			return value
		}
	}
	return ""
}

// together runs f for 0 <= i < n at the same time and returns the first errors joined.
func together(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
