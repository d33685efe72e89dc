package redistest

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed clockshim/clock.c
var clockSource []byte

// Clock moves the wall clock of one server: TIME, also inside scripts, and the expiry of
// keys. Its timers (replication, cluster, slow log) run on another clock and go on as if
// nothing had happened.
type Clock struct {
	tb   testing.TB
	file *os.File // 8 bytes, mapped by the server
	node *Node    // nil until it was started

	mu     sync.Mutex // guards offset
	offset time.Duration
}

// NewSingleWithClock starts a single server for this test alone, like [NewSingle], whose
// clock the test moves. It needs Linux and a C compiler (cc): without one the test skips,
// or fails where Redis is required.
func NewSingleWithClock(tb testing.TB, flags ...string) (*Server, *Clock) {
	tb.Helper()
	return newSingleWithClock(tb, valkeyHold, flags)
}

// valkeyHold is how long Valkey 9 uses one reading of the clock. Redis reads it with each
// command. The servers of all tests do as Valkey does, so that a test that passes on one
// passes on both.
const valkeyHold = time.Millisecond

// newSingleWithClock starts a server that asks for the time at most once in each span of
// hold, and in between adds to its last reading what has passed since.
func newSingleWithClock(tb testing.TB, hold time.Duration, flags []string) (*Server, *Clock) {
	tb.Helper()
	if runtime.GOOS != "linux" {
		tb.Skip("redistest: moving a server's clock needs Linux")
	}
	require(tb, "apt-get install gcc libc6-dev", "cc")
	shim, err := clockShim()
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	dir, err := newDir()
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	file, err := os.Create(filepath.Join(dir, "offset"))
	if err != nil {
		tb.Fatalf("redistest: %v", err)
	}
	tb.Cleanup(func() { file.Close() })
	clock := &Clock{tb: tb, file: file}
	clock.Step(0) // the server cannot map an empty file
	env := []string{
		"LD_PRELOAD=" + shim,
		"REDISTEST_CLOCK=" + file.Name(),
		fmt.Sprintf("REDISTEST_CLOCK_HOLD=%d", hold.Nanoseconds()),
	}
	server := dedicated(tb, func() (*Server, error) { return startSingle(nodeConfig{flags: flags, env: env}) })
	clock.node = server.nodes[0]
	return server, clock
}

// Step moves the clock by d, forwards or backwards, from where it is. Each step is a
// jump; between them the clock runs at its usual pace. When Step returns the server tells
// the new time. A server that is not running tells it once it is started, and a restarted
// one keeps the offset. Step fails the test on a frozen server.
func (c *Clock) Step(d time.Duration) {
	c.tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	raw := binary.NativeEndian.AppendUint64(nil, uint64(c.offset.Nanoseconds()))
	// One write of 8 aligned bytes: the server never reads half of it.
	if _, err := c.file.WriteAt(raw, 0); err != nil {
		c.tb.Errorf("redistest: step clock: %v", err)
	}
	if err := c.await(); err != nil {
		c.tb.Errorf("redistest: after a step of %v: %v", d, err)
	}
}

// held is how old a server's reading of the clock may be at most.
const held = 5 * valkeyHold

// await returns when the server tells our time plus the offset. After a step smaller than
// held its answer proves nothing, so await first waits until the server's old reading is
// too old.
func (c *Clock) await() error {
	if c.node == nil || !c.node.running() {
		return nil
	}
	time.Sleep(held)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return until(ctx, func() error {
		earliest := time.Now().Add(c.offset - held)
		told, err := c.node.time(ctx)
		switch {
		case err != nil && strings.HasPrefix(err.Error(), "NOAUTH"):
			return nil // the test's own flags set a password
		case err != nil:
			return err
		}
		if latest := time.Now().Add(c.offset); told.Before(earliest) || told.After(latest) {
			return fmt.Errorf("the server says it is %v, and it is %v", told, latest)
		}
		return nil
	})
}

// Offset is how far the server's clock is ahead of the machine's: the sum of all steps.
func (c *Clock) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// clockShim compiles the library that is preloaded into the server, once for this
// process.
var clockShim = sync.OnceValues(func() (string, error) {
	dir, err := newDir()
	if err != nil {
		return "", err
	}
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile clock.c: %w\n%s", err, out)
	}
	return library, nil
})
