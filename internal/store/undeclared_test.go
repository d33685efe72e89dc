package store

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// TestUndeclaredKeys watches what every script does. Those that use a key which is not in
// KEYS say so in their first line, the only one in which Dragonfly looks for it; all
// others don't, because there the flag takes the whole server.
func TestUndeclaredKeys(t *testing.T) {
	srv := redistest.NewSingle(t)
	store, err := New(srv.Client(t), Options{Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	lines := monitor(t, srv.Nodes()[0].Addr())
	runEveryScript(t, store)
	store.client.Echo(t.Context(), "the end")

	declares, touches := map[string]bool{}, map[string]bool{} // by name: ran, used what is not in KEYS
	var running *script
	var keys []string
	for line := range lines {
		source, words := monitored(line)
		if len(words) > 1 && words[0] == "echo" && words[1] == "the end" {
			break
		}
		if len(words) > 2 && strings.HasPrefix(words[0], "eval") {
			at := slices.IndexFunc(scripts, func(s *script) bool { return words[1] == string(s.sha) || words[1] == s.text })
			n, err := strconv.Atoi(words[2])
			if at < 0 || err != nil {
				t.Fatalf("not understood: %q", line)
			}
			running, keys = scripts[at], words[3:3+n]
			declares[running.name] = true
		}
		if source == "lua" {
			for _, key := range keysOf(words) {
				touches[running.name] = touches[running.name] || !slices.Contains(keys, key)
			}
		}
	}
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			if !declares[s.name] {
				t.Errorf("%s was not run", s.name)
			}
			if flagged := strings.HasPrefix(s.text, undeclared); flagged != touches[s.name] {
				t.Errorf("%s uses keys that are not in KEYS: %t; says so: %t", s.name, touches[s.name], flagged)
			}
		})
	}
}

// monitor returns what the server is asked from now on, one line a command; those of
// scripts come after their script's.
func monitor(t *testing.T, addr string) func(yield func(string) bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	fmt.Fprint(conn, "MONITOR\r\n")
	if !lines.Scan() || lines.Text() != "+OK" {
		t.Fatalf("MONITOR: %q, %v", lines.Text(), lines.Err())
	}
	return func(yield func(string) bool) {
		for lines.Scan() {
			if !yield(lines.Text()) {
				return
			}
		}
		t.Errorf("the monitor ended early: %v", lines.Err())
	}
}

// monitored reads a line like
//
//	+1700000000.123456 [0 127.0.0.1:4711] "evalsha" "..." or [0 lua] "hget" "..."
func monitored(line string) (source string, words []string) {
	_, rest, _ := strings.Cut(line, "[0 ")
	source, rest, _ = strings.Cut(rest, "] ")
	for rest != "" {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return source, nil
		}
		word, _ := strconv.Unquote(quoted)
		words, rest = append(words, word), strings.TrimPrefix(rest[len(quoted):], " ")
	}
	if len(words) > 0 {
		words[0] = strings.ToLower(words[0])
	}
	return source, words
}

// keysOf lists the keys of a command that the scripts use.
func keysOf(words []string) []string {
	switch {
	case len(words) < 2, words[0] == "publish":
		return nil
	case words[0] == "del", words[0] == "unlink":
		return words[1:]
	}
	return words[1:2]
}

// runEveryScript runs each script so that it meets what it can meet.
func runEveryScript(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range contractCalls() {
		call := LimitCall{Set: NewLimitSet(specs(c.letters)...), Tag: MakeTag("undeclared", fmt.Sprint(i)), Cost: 1, Name: "call"}
		check(c.do(s, call.Set, call))
	}
	for _, c := range slotCalls() {
		check(c.do(s, c.call))
	}
	for _, groups := range takeAllCalls() {
		_, err := s.LimitTakeAll(ctx, groups)
		check(err)
	}
	user := func(n int) SessionKeys {
		return SessionKeys{Tag: "aa", Member: fmt.Sprintf("%032d", n), User: "alice"}
	}
	create := func(n int, modify ...func(*SessionCreate)) {
		t.Helper()
		create := SessionCreate{
			Keys: user(n), PublicID: fmt.Sprintf("%022d", n), TokenHash: "current", Idle: time.Hour, Life: time.Hour,
			Cap: 2, From: SessionKeys{Tag: "bb", Member: fmt.Sprintf("%032d", 99)}, Authenticated: time.Now().Add(time.Hour),
		}
		for _, f := range modify {
			f(&create)
		}
		reply, err := s.SessionCreate(ctx, create)
		check(err)
		if reply.Status != SessionOK {
			t.Fatalf("create: %+v", reply)
		}
	}
	for n := range 3 {
		create(n)
	}
	l := user(3)
	create(3)
	one := func(_ any, err error) { t.Helper(); check(err) }
	one(s.SessionSettle(ctx, l, SessionKeys{Tag: "bb", Member: fmt.Sprintf("%032d", 99)}))
	create(10)
	one(s.SessionTouch(ctx, SessionTouch{Keys: l}))
	one(s.SessionCommit(ctx, SessionCommit{Keys: l, Set: []Field{{"a", "1"}}, Delete: []string{"b"}, Add: []Delta{{"c", 1}}}))
	one(s.SessionRotate(ctx, SessionRotate{Keys: l, TokenHash: "current", Nonce: 1, NextHash: "next"}))
	one(s.SessionConfirm(ctx, SessionConfirm{Keys: l, TokenHash: "next"}))
	one(s.SessionElevate(ctx, SessionElevate{Keys: l, TokenHash: "next", NextHash: "third", Level: 2}))
	one(s.SessionSetNX(ctx, l, 0, "d", "1"))
	one(s.SessionCompareAndSet(ctx, SessionSwap{Keys: l, Name: "d", Present: true, Old: "1", New: "2"}))
	one(s.SessionPop(ctx, l, 0, "d"))
	_, _, err := s.SessionList(ctx, l, 0, "", 100)
	check(err)
	one(s.SessionRevoke(ctx, l, fmt.Sprintf("%022d", 2)))
	_, _, err = s.SessionRevokePage(ctx, l, 1, "")
	check(err)
	one(s.SessionDrop(ctx, l, true, "logout"))
	for n := range 3 { // the last evicts
		create(20 + n)
		one(s.SessionSettle(ctx, user(20+n), SessionKeys{Tag: "bb", Member: fmt.Sprintf("%032d", 99)}))
	}
	create(30, func(c *SessionCreate) { c.Old, c.OldLife = "old", time.Hour })                       // evicts too
	create(31, func(c *SessionCreate) { c.Keys.User, c.Keys.Tag, c.From = "", "bb", SessionKeys{} }) // a guest
	create(32, func(c *SessionCreate) { c.Keys.User, c.Keys.Tag, c.Old, c.OldLife = "", "bb", "other", 2*time.Hour })
	one(s.SessionEpoch(ctx, user(4), nil, 0, time.Hour))

	blob := BlobKey{}
	_, _, err = s.BlobFind(ctx, blob)
	check(err)
	one(s.BlobCommit(ctx, BlobCommit{Key: blob, Life: time.Minute}))
	one(s.BlobDelete(ctx, blob))
}
