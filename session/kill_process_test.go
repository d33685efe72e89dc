package session_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session"
)

// killed has the orders of a process that will be killed. The process gets them as JSON
// in its environment.
type killed struct {
	Addrs   []string
	Cluster bool
	Prefix  string
	Cookie  string   // cookie of the browser whose requests it answers; "" for none
	Cap     int      // of [session.Options]; 0 is none
	Paths   []string // the requests, one after the other
	Stop    stop     // the moment at which it stands still
}

func (k killed) config(c *settings) { c.Cap, c.Carry = cmp.Or(k.Cap, -1), []string{"color"} }

const killedEnv = "GATEKIT_TEST_KILLED"

// processSite answers the requests of the stories, in both processes.
func processSite(st *site) {
	st.on("/login", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		st.check(s.Login(r.Context(), "alice", session.LoginOptions{}))
	})
	// It writes too: an epoch may have ended sessions that no page has removed yet. The
	// scripts notice that, and a read does not.
	st.on("/look", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
		if s.ID() == "" {
			return
		}
		if err := session.NewKey[bool]("looked").Set(s, true); err != nil {
			st.m.Refuse(w, r, err)
			return
		}
		n, err := hits.Get(s)
		st.check(err)
		c, err := color.Get(s)
		st.check(err)
		fmt.Fprintf(w, "%s %s %d", s.UserID(), c, n)
	})
	st.on("/paint", func(_ http.ResponseWriter, _ *http.Request, s *session.Session) {
		st.check(color.Set(s, "blue"))
		st.check(hits.Add(s, 1))
	})
	for path, do := range map[string]func(context.Context, *session.Session) error{
		"/rotate":     func(ctx context.Context, s *session.Session) error { return s.Rotate(ctx) },
		"/elevate":    func(ctx context.Context, s *session.Session) error { return s.Elevate(ctx, 2) },
		"/logout":     func(ctx context.Context, s *session.Session) error { return s.Logout(ctx) },
		"/revoke-one": func(ctx context.Context, s *session.Session) error { return st.m.Revoke(ctx, "alice", s.ID()) },
		"/revoke-all": func(ctx context.Context, _ *session.Session) error { return st.m.RevokeAll(ctx) },
		"/revoke-others": func(ctx context.Context, s *session.Session) error {
			_, err := s.RevokeOthers(ctx)
			return err
		},
		"/revoke-user": func(ctx context.Context, _ *session.Session) error {
			_, err := st.m.RevokeUser(ctx, "alice")
			return err
		},
	} {
		st.on(path, func(_ http.ResponseWriter, r *http.Request, s *session.Session) { st.check(do(r.Context(), s)) })
	}
}

// TestKilledProcess is no test of its own: the processes of [TestKillAnywhere] run it.
func TestKilledProcess(t *testing.T) {
	text, ok := os.LookupEnv(killedEnv)
	if !ok {
		return
	}
	var k killed
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	client := k.Stop.client(t, k.Addrs, k.Cluster)
	st := newSiteOn(t, client, k.Prefix, k.config)
	processSite(st)
	b := st.browser()
	if k.Cookie != "" {
		b.SetCookie(cookieName, k.Cookie)
	}
	for _, path := range k.Paths {
		r := b.Request("POST", path, nil)
		w := &announcer{discard: discard{http.Header{}}, status: http.StatusOK}
		st.handler.ServeHTTP(w, r)
		w.Flush()
		b.Keep(&http.Response{Header: w.header})
	}
	fmt.Println("\ndone")
}

// announcer reports to the parent what the browser gets, when it gets it: as net/http
// does it, a short response goes out when it is flushed, or when all handlers have
// returned.
type announcer struct {
	discard
	status int
	out    bool
}

func (a *announcer) WriteHeader(code int) { a.status = code }

func (a *announcer) Flush() {
	if a.out {
		return
	}
	a.out = true
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.MaxAge >= 0 {
			fmt.Printf("\ncookie=%s\n", c.Value)
		}
	}
	fmt.Printf("\nstatus=%d\n", a.status)
}

// kill runs the process until it stands still, and kills it there. It returns the cookie
// that the process sent before, and whether it answered. done is true if the process
// ended before it came to that point.
func (k killed) kill(t *testing.T) (cookie string, answered, done bool) {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), killedEnv+"="+string(text))
	stdin, err := cmd.StdinPipe() // if this process dies first, the pipe ends, and that ends the other one
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	stands := false
	for lines := bufio.NewScanner(stdout); !stands && !done && lines.Scan(); {
		line := lines.Text()
		said = append(said, line)
		switch value, isCookie := strings.CutPrefix(line, "cookie="); {
		case isCookie:
			cookie = value
		case line == "status=200":
			answered = true
		case line == standing:
			stands = true
		case line == "done":
			done = true
		}
	}
	if !stands && !done {
		t.Errorf("the process ended by itself:\n%s", strings.Join(said, "\n"))
	}
	if stands {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !(stands && errors.As(err, &exit)) {
		t.Errorf("process: %v\n%s", err, strings.Join(said, "\n"))
	}
	return cookie, answered, done
}

// stop is a moment of a process: before it sends its n-th command, or when the reply has
// arrived but the process has not read it.
type stop struct {
	Command int // from 1; commands that set up connections don't count
	Replied bool
}

const standing = "stands"

// client returns a client that stands still at that moment, for good.
func (at stop) client(t *testing.T, addrs []string, cluster bool) gatekit.Client {
	var commands atomic.Int64
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: addrs, IsClusterMode: cluster, ContextTimeoutEnabled: true,
		DialTimeout: 20 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return &stopConn{Conn: conn, at: at, commands: &commands}, err
		},
	})
	t.Cleanup(func() { client.Close() })
	return client
}

type stopConn struct {
	net.Conn
	at       stop
	commands *atomic.Int64 // of all connections
	last     atomic.Bool   // the next reply is the one
}

func (c *stopConn) Write(b []byte) (int, error) {
	if setsUp(b) || c.commands.Add(1) != int64(c.at.Command) {
		return c.Conn.Write(b)
	}
	if !c.at.Replied {
		stand()
	}
	c.last.Store(true)
	return c.Conn.Write(b)
}

func (c *stopConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.last.Load() {
		stand()
	}
	return n, err
}

// setsUp reports whether the client sends the command to set up a connection. All other
// commands go out one at a time.
func setsUp(b []byte) bool {
	words := strings.SplitN(string(b), "\r\n", 4) // *2 $3 GET ...
	switch strings.ToLower(words[min(2, len(words)-1)]) {
	case "hello", "client", "cluster", "command", "readonly", "ping":
		return true
	}
	return false
}

// stand reports to the parent, which kills this process. If the parent dies, this process
// ends too.
func stand() {
	fmt.Println("\n" + standing)
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(1)
}
