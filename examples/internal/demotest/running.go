package demotest

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/gatekit/gatekit/examples/internal/demo"
	"github.com/gatekit/gatekit/internal/redistest"
)

// Running is a program that runs.
type Running struct {
	URL string // where it listens, as its first line says

	mu      sync.Mutex // guards the fields below
	changed *sync.Cond
	printed bytes.Buffer
	ended   bool
}

var firstLine = regexp.MustCompile(`^listening on (http://127\.0\.0\.1:[1-9][0-9]*)\n`)

// Start runs a program on a free port until the test ends. It fails the test if the first
// line that the program prints is not where it listens, or if it ends with an error. An
// empty redisURL is an environment without REDIS_URL.
func Start(t *testing.T, run demo.Program, redisURL string, args ...string) *Running {
	t.Helper()
	p := &Running{}
	p.changed = sync.NewCond(&p.mu)
	ctx, interrupt := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), func(name string) string {
			if name != "REDIS_URL" {
				t.Errorf("the program asked for the environment's %s", name)
			}
			return redisURL
		}, p)
		p.end()
		ended <- err
	}()
	t.Cleanup(func() {
		interrupt()
		if err := <-ended; err != nil {
			t.Errorf("interrupted, the program ended with %v", err)
		}
	})
	match := firstLine.FindStringSubmatch(p.Until(t, "\n"))
	if match == nil {
		t.Fatalf("first line: got %q, want listening on http://127.0.0.1:PORT", p.Printed())
	}
	p.URL = match[1]
	return p
}

// Until waits until the program has printed text, and returns all that it printed so far.
func (p *Running) Until(t *testing.T, text string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !strings.Contains(p.printed.String(), text) {
		if p.ended {
			t.Fatalf("the program ended without %q; it printed %q", text, p.printed.String())
		}
		p.changed.Wait()
	}
	return p.printed.String()
}

// Printed returns the output of the program so far.
func (p *Running) Printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.printed.String()
}

// Write takes the output of the program.
func (p *Running) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
	return p.printed.Write(b)
}

func (p *Running) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.changed.Broadcast()
}

// OnEachRedis runs a test with each kind of Redis that a program can use: inside its
// process, and a server that nothing else uses, since all requests of all tests come from
// one address.
func OnEachRedis(t *testing.T, test func(t *testing.T, redisURL string)) {
	t.Run("embedded", func(t *testing.T) { t.Parallel(); test(t, "") })
	t.Run("REDIS_URL", func(t *testing.T) { t.Parallel(); test(t, redistest.NewSingle(t).URL()) })
}

// RefusesWrongStarts checks that a program refuses to start with the wrong settings that
// every program should refuse.
func RefusesWrongStarts(t *testing.T, run demo.Program) {
	t.Helper()
	Refuses(t, run, "REDIS_URL", "nonsense", "-addr", "127.0.0.1:0")
	Refuses(t, run, "REDIS_URL", "http://x", "-addr", "127.0.0.1:0")
	Refuses(t, run, "-nonsense", "", "-nonsense")
	Refuses(t, run, "nonsense", "", "-addr", "127.0.0.1:nonsense")
	Refuses(t, run, "99999", "", "-addr", "127.0.0.1:99999")
}

// Refuses checks that a program ends with an error that names the mistake.
func Refuses(t *testing.T, run demo.Program, about, redisURL string, args ...string) {
	t.Helper()
	err := run(t.Context(), args, func(string) string { return redisURL }, io.Discard)
	if err == nil || !strings.Contains(err.Error(), about) {
		t.Errorf("REDIS_URL=%s and %q: got error %v, want one about %s", redisURL, args, err, about)
	}
}
