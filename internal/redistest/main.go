package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

// Main runs the tests of a package with go-redis's log switched off, stops every shared
// server, fails the run if goroutines are left over, and exits. Call it from TestMain. A
// package that does not may still use everything here: then the servers die with the
// process, and leaks go unnoticed.
//
// Main looks for leaks only after the tests passed: a failed test often leaves some, and
// they would hide its message.
func Main(m *testing.M) {
	// go-redis logs every failed dial and every change of master, which tests provoke by
	// the hundred.
	logging.Disable()
	code := m.Run()
	stopShared()
	if code == 0 {
		// Nothing is exempt: clients, proxies and servers of this package end with the
		// test that asked for them.
		if err := leaks(); err != nil {
			fmt.Fprintf(os.Stderr, "redistest: tests passed, but goroutines are left over: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// leakPatience is how long goroutines may take to end after the tests. A client of
// go-redis that lost its server looks every second whether it was closed, and first
// finishes a dial.
const leakPatience = 15 * time.Second

// leaks returns an error that lists the goroutines that are left over after leakPatience.
func leaks() error {
	for end := time.Now().Add(leakPatience); ; {
		err := goleak.Find() // tries for almost half a second
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// Long marks a test that takes seconds: with -short, as `make quick` runs the tests, it
// is skipped.
func Long(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("redistest: takes long, left out by -short")
	}
}

// require skips the test when a program is not installed. In CI it fails the test, since
// nobody would see the skip.
func require(tb testing.TB, hint string, programs ...string) {
	tb.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			unavailable(tb, program+" is not installed: "+hint)
		}
	}
}

func requireRedis(tb testing.TB) {
	tb.Helper()
	require(tb, "apt-get install redis-server redis-tools, or brew install redis; version 6.2 or newer",
		"redis-server", "redis-cli")
}

func unavailable(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv("CI") != "" || os.Getenv("GATEKIT_REQUIRE_REDIS") == "1" {
		tb.Fatal("redistest: " + reason)
	}
	tb.Skip("redistest: " + reason)
}
