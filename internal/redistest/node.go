package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Node is one redis-server process of a [Server]. Its address stays the same for life,
// also over a restart. The methods that break it are for dedicated servers. On a shared
// one they fail the test, since other tests use it.
type Node struct {
	addr   string
	port   int
	dir    string
	env    []string
	args   []string
	shared bool

	mu   sync.Mutex // guards proc
	proc *process
}

// nodeConfig is what differs between nodes; flags come last on the command line, so they
// win over ours.
type nodeConfig struct {
	shared bool
	env    []string
	flags  []string
	// config, if set, is written to a file that redis-server reads and, as Sentinel does,
	// rewrites.
	config func(port int, dir string) string
}

// startNode starts a server on a port of its own and waits until it answers.
func startNode(c nodeConfig) (*Node, error) {
	var err error
	for range 10 {
		var n *Node
		if n, err = tryNode(c); err == nil {
			return n, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, err
}

func tryNode(c nodeConfig) (*Node, error) {
	port, err := reservePort()
	if err != nil {
		return nil, err
	}
	n := &Node{addr: loopback(port), port: port, env: c.env, shared: c.shared}
	if n.dir, err = newDir(); err != nil {
		n.remove()
		return nil, err
	}
	if c.config != nil {
		file := n.dir + "/redis.conf"
		if err := os.WriteFile(file, []byte(c.config(port, n.dir)), 0o600); err != nil {
			n.remove()
			return nil, err
		}
		n.args = append(n.args, file)
	}
	n.args = append(n.args, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--protected-mode", "no",
		"--dir", n.dir, "--loglevel", "warning", "--daemonize", "no")
	n.args = append(n.args, c.flags...)
	if err := n.start(); err != nil {
		n.remove()
		return nil, err
	}
	return n, nil
}

func (n *Node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	proc, err := spawn(n.dir, n.env, n.args)
	if err != nil {
		return err
	}
	n.proc = proc
	return proc.awaitReady(n.dir, n.addr)
}

// remove ends the process and gives back all it used.
func (n *Node) remove() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		n.proc.kill()
	}
	releasePort(n.port)
	if n.dir != "" {
		os.RemoveAll(n.dir)
	}
}

// Addr is host:port.
func (n *Node) Addr() string { return n.addr }

// PID is the id of the node's process; a restart changes it.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc.pid()
}

// Role asks the node what it is now: "master", "slave" or "sentinel", in Redis's words. A
// killed or frozen node is "down".
func (n *Node) Role() string {
	reply, err := ask(context.Background(), n.addr, "ROLE")
	if err != nil {
		return "down"
	}
	// An array whose first element is the word: *3 $6 master ...
	if lines := strings.SplitN(reply, "\r\n", 4); len(lines) > 2 {
		return lines[2]
	}
	return "down"
}

// running is false after the node was killed.
func (n *Node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc != nil && n.proc.alive()
}

// time is what the node's TIME says.
func (n *Node) time(ctx context.Context) (time.Time, error) {
	reply, err := ask(ctx, n.addr, "TIME")
	if err != nil {
		return time.Time{}, err
	}
	// An array of two strings: *2 $10 seconds $6 microseconds.
	words := strings.Fields(reply)
	if len(words) != 5 {
		return time.Time{}, fmt.Errorf("TIME on %s: %q", n.addr, reply)
	}
	seconds, err1 := strconv.ParseInt(words[2], 10, 64)
	microseconds, err2 := strconv.ParseInt(words[4], 10, 64)
	return time.UnixMicro(seconds*1_000_000 + microseconds), errors.Join(err1, err2)
}

// Freeze stops the process where it stands (SIGSTOP): connections stay open and new ones
// are accepted by the kernel, but nothing is answered until [Node.Thaw].
func (n *Node) Freeze(tb testing.TB) {
	tb.Helper()
	n.mustOwn(tb)
	n.mu.Lock()
	defer n.mu.Unlock()
	err := n.proc.cmd.Process.Signal(signalStop)
	if err == nil {
		err = awaitStopped(n.proc.pid())
	}
	if err != nil {
		tb.Fatalf("redistest: freeze %s: %v", n.addr, err)
	}
}

// Thaw lets a frozen process go on. It now answers the commands that clients sent
// meanwhile.
func (n *Node) Thaw(tb testing.TB) {
	tb.Helper()
	n.mustOwn(tb)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.proc.cmd.Process.Signal(signalContinue); err != nil {
		tb.Fatalf("redistest: thaw %s: %v", n.addr, err)
	}
}

// Kill ends the process (SIGKILL) and returns when it is gone. Its data is lost, unless
// the test's own flags make the server save.
func (n *Node) Kill(tb testing.TB) {
	tb.Helper()
	n.mustOwn(tb)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proc.kill()
}

// Restart starts the process anew, with the same port, directory and flags, after killing
// it if it runs. It returns when the server answers.
func (n *Node) Restart(tb testing.TB) {
	tb.Helper()
	n.Kill(tb)
	if err := n.start(); err != nil {
		tb.Fatalf("redistest: restart: %v", err)
	}
}

func (n *Node) mustOwn(tb testing.TB) {
	tb.Helper()
	if n.shared {
		tb.Fatal("redistest: this server is shared with other tests; take a NewSingle, NewCluster or NewSentinel to break")
	}
}

// info is the node's INFO section, or an error that names the node.
func (n *Node) info(section string) (string, error) {
	text, err := ask(context.Background(), n.addr, "INFO", section)
	if err != nil {
		return "", fmt.Errorf("INFO %s on %s: %w", section, n.addr, err)
	}
	return text, nil
}
