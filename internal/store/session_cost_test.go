package store_test

import (
	"fmt"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

func eightValues(c *store.SessionCreate) {
	for i := range 8 {
		c.Values = append(c.Values, store.Field{Name: fmt.Sprint("field", i), Value: "value-12"})
	}
}

func TestSessionLoadAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	r := newRig(t, redistest.Single(t), nil)
	l := r.login("alice", eightValues)
	ctx := t.Context()
	n := testing.AllocsPerRun(500, func() {
		record, err := r.store.SessionLoad(ctx, l.keys)
		if err != nil || !record.Found {
			t.Fatal(record.Found, err)
		}
	})
	t.Logf("load of 8 values: %v allocations", n)
	// Of these go-redis takes 11 (3 to look whether the connection lives, 7 for the
	// buffer that grows with the reply), the deadline 3.
	if n > 18 {
		t.Errorf("load takes %v allocations, want at most 18", n)
	}
}

func TestSessionMemory(t *testing.T) {
	r := newRig(t, redistest.Single(t), nil)
	usage := func(key string) int64 { return r.client.MemoryUsage(t.Context(), key).Val() }
	encoding := func(key string) string { return r.client.ObjectEncoding(t.Context(), key).Val() }
	l := r.login("user-1234567", eightValues)
	r.commit(l)
	size := usage(r.recordKey(l))
	t.Logf("record of 8 values: %d bytes", size)
	if size > 550 || encoding(r.recordKey(l)) != "listpack" {
		t.Errorf("record takes %d bytes as %s, want at most 550 as a listpack", size, encoding(r.recordKey(l)))
	}
	r.rotate(l, l.token, 1<<52, random(43))
	t.Logf("with a successor on offer: %d bytes", usage(r.recordKey(l)))
	for range 4 {
		r.login("user-1234567", func(c *store.SessionCreate) { c.UserAgent, c.Label, c.IP = random(64), random(64), "2001:db8::" })
	}
	index := r.userKey("u", "user-1234567")
	t.Logf("index of 5 sessions: %d bytes", usage(index))
	if encoding(index) != "listpack" {
		t.Errorf("index of 5 sessions is a %s", encoding(index))
	}
}

// What a script costs is written in its header.
func TestSessionCommands(t *testing.T) {
	s := redistest.NewSingle(t)
	r := newRig(t, s, nil)
	commands := func(what string, f func(), want int64) {
		t.Helper()
		f() // the script is known to the server from now on
		counts := redistest.Commands(t, r.client, f)
		calls := counts.Of("evalsha")
		// EVALSHA itself is counted, TIME is not called because the tests pass it: so
		// this is what a script costs in production.
		if got := counts.Total(); got != want*calls {
			t.Errorf("%s: %d commands by %d scripts, want %d each: %v", what, got, calls, want, counts)
		}
	}
	a := r.login("alice")
	guest := r.login("")
	commands("create", func() { r.login("alice", eightValues) }, 11)
	commands("create of a guest", func() { r.login("", eightValues) }, 6)
	commands("carrying over", func() { r.login("carl", eightValues, carrying(random(9))) }, 13)
	commands("carrying over of a guest", func() { r.login("", eightValues, carrying(random(9))) }, 8)
	commands("commit", func() { r.commit(a, set("a", "1"), set("b", "2")) }, 4)
	commands("commit of a guest", func() { r.commit(guest, set("a", "1")) }, 3)
	commands("touch", func() { r.now += 60_000; r.touch(a) }, 8)
	commands("throttled touch", func() { r.touch(a) }, 3)
	commands("rotate", func() { r.rotate(a, a.token, 1, "n") }, 5)
	commands("confirm of the current", func() { r.confirm(a, a.token) }, 5)
	commands("list of 3", func() { r.list("alice") }, 4+3)
	commands("pop of none", func() { _, _ = r.store.SessionPop(t.Context(), a.keys, 0, "x") }, 4)
	commands("epoch", func() { r.epoch("nobody", nil) }, 6)
	commands("drop", func() { r.drop(guest, true) }, 5)
}
