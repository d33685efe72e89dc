package store_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/calendar"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// aclLine returns the ACL line of SECURITY.md, with its addition for a cluster.
func aclLine(t *testing.T) (rules, cluster []string) {
	t.Helper()
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ +user gatekit (on >PASSWORD .*)$`).FindSubmatch(text)
	more := regexp.MustCompile("On\\s+a\\s+cluster\\s+add\\s+`([^`]*)`").FindSubmatch(text)
	if line == nil || more == nil {
		t.Fatal("SECURITY.md has no ACL line")
	}
	return strings.Fields(string(line[1])), strings.Fields(string(more[1]))
}

// TestLeastPrivilege: the ACL line of SECURITY.md allows all that the kit does, and
// nothing else.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	single, cluster := redistest.NewSingle(t), redistest.NewCluster(t)
	for _, server := range []*redistest.Server{single, cluster} {
		t.Run(server.Name(), func(t *testing.T) {
			rules, more := aclLine(t)
			if server == cluster {
				rules = append(rules, more...)
			}
			for _, node := range server.Nodes() {
				admin := redistest.NewClient(t, node.Addr())
				user := []any{"ACL", "SETUSER", "gatekit"}
				for _, rule := range rules {
					user = append(user, rule)
				}
				if err := admin.Do(t.Context(), user...).Err(); err != nil {
					t.Fatal(err)
				}
				// Known from 7.2 on, and sent by the client to each server.
				_ = admin.Do(t.Context(), "ACL", "SETUSER", "gatekit", "+client|setinfo").Err()
				admin.Do(t.Context(), "ACL", "LOG", "RESET")
			}
			client := server.Client(t, func(o *redis.UniversalOptions) {
				if o.Username, o.Password = "gatekit", "PASSWORD"; server == single {
					o.DB = 3 // which a cluster does not have
				}
			})
			kv := newStore(t, client, "gk")
			everyPath(t, kv)
			slotPaths(t, kv)
			if _, errs := kv.LimitTakeMany(t.Context(), manyCalls(pairSet, "acl", 20)); errs[0] != nil {
				t.Errorf("many: %v", errs[0])
			}
			// The log of denied commands also shows errors that a client swallows.
			for _, node := range server.Nodes() {
				denied, err := redistest.NewClient(t, node.Addr()).Do(t.Context(), "ACL", "LOG").Slice()
				if err != nil || len(denied) != 0 {
					t.Errorf("%s denied: %v, %v", node.Addr(), denied, err)
				}
			}
			for _, forbidden := range [][]any{{"KEYS", "*"}, {"SET", "other", "1"}, {"FLUSHALL"}, {"SCRIPT", "FLUSH"}, {"CONFIG", "GET", "*"},
				{"EVAL", "return redis.call('LLEN', 'other')", "0"}, {"EVAL", "return redis.call('DEL', KEYS[1])", "1", "other"}} {
				t.Run(fmt.Sprint(forbidden), func(t *testing.T) {
					if err := client.Do(t.Context(), forbidden...).Err(); !redis.HasErrorPrefix(err, "NOPERM") && !strings.Contains(fmt.Sprint(err), "can't access") && !strings.Contains(fmt.Sprint(err), "permission") {
						t.Errorf("%v: %v, want NOPERM", forbidden, err)
					}
				})
			}
		})
	}
}

// everyPath runs the scripts through all states of a limit.
func everyPath(t *testing.T, kv *store.Store) {
	t.Helper()
	now := time.Now().UnixMicro()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, letters := range []string{"w", "b", "l", "wbl", "lw", "k", "wk"} {
		var specs []store.LimitSpec
		for i, letter := range letters {
			spec := store.LimitSpec{Name: fmt.Sprint("n", i), Algorithm: byte(letter), Quota: 40, Window: time.Minute}
			if letter == 'k' {
				spec.Window, spec.Calendar = 0, calendar.Calendar{Unit: calendar.Day, Zone: time.UTC}
			}
			specs = append(specs, spec)
		}
		set := store.NewLimitSet(specs...)
		call := store.LimitCall{Set: set, Tag: store.MakeTag("acl", letters), Cost: 1, Repeatable: true}
		var first store.LimitReply
		at := int64(0)
		steps := []time.Duration{0, 0, 0, 10 * time.Second, 52 * time.Second, time.Hour, -2 * time.Hour, time.Hour}
		for round := range 60 { // admitted, denied, with a dead tail, all dead, the clock set back
			if round >= 50 {
				at += steps[round%len(steps)].Microseconds()
			} else {
				at += time.Millisecond.Microseconds()
			}
			call.Now, call.Name = now+at, fmt.Sprint(round)
			reply, err := kv.LimitTake(t.Context(), call)
			check("take", err)
			if round == 0 {
				first = reply
			}
			if round == 20 {
				stamps := make([]int64, set.Len())
				for i := range stamps {
					stamps[i] = first.Stamp(i)
				}
				back := call
				back.Name = "0"
				_, err = kv.LimitRefund(t.Context(), back, stamps)
				check("refund", err)
			}
			_, err = kv.LimitPeek(t.Context(), call)
			check("peek", err)
		}
		call.Now = 0
		_, err := kv.LimitTake(t.Context(), call)
		check("take by the server's clock", err)
		check("reset", kv.LimitReset(t.Context(), call))
	}
}

// slotPaths acquires and releases slots, and has a process wait for one and be woken.
func slotPaths(t *testing.T, kv *store.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	listens, woken, ended := make(chan struct{}), make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		_ = kv.SlotWatch(ctx, "waiter", time.Minute, func(key string) { woken <- key }, func() { close(listens) })
	}()
	defer func() { cancel(); <-ended }()
	<-listens
	limit := store.NewSlotLimit(store.SlotSpec{Name: "n", Slots: 1, Length: time.Minute})
	call := store.SlotCall{Limit: limit, Rates: windowSet, Tag: store.MakeTag("acl", "slots"), Cost: 1, ID: "one"}
	waiting := call
	waiting.ID, waiting.Process = "two", "waiter"
	held := []store.SlotHolders{{Limit: limit, Tag: call.Tag, IDs: []string{"one"}}}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := kv.SlotAcquire(t.Context(), call)
	check("acquire", err)
	_, err = kv.SlotAcquire(t.Context(), waiting)
	check("wait", err)
	_, errs := kv.SlotBeat(t.Context(), held)
	check("beat", errs[0])
	_, errs = kv.SlotRelease(t.Context(), held)
	check("release", errs[0])
	if key := <-woken; key != kv.SlotKey(limit, call.Tag) {
		t.Errorf("woken for %q, want %q", key, kv.SlotKey(limit, call.Tag))
	}
	check("leave", kv.SlotLeave(t.Context(), waiting))
}

// TestNoPermission: the Redis user may not run the commands of the scripts.
func TestNoPermission(t *testing.T) {
	server := redistest.NewSingle(t)
	admin := server.Client(t)
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "poor", "on", "nopass", "~*", "+@all", "-rpush").Err(); err != nil {
		t.Fatal(err)
	}
	kv := newStore(t, recommended(t, server.URL(), func(o *redis.UniversalOptions) { o.Username, o.Password = "poor", "x" }), redistest.Prefix(t))
	expectTake(t, "NOPERM", "refused", kv, windowSet, store.MakeTag("test"))
	if got := spent(t, kv, windowSet, store.MakeTag("test"))[0]; got != 0 {
		t.Errorf("%d permits spent by a refused take", got)
	}
	stranger := newStore(t, recommended(t, server.URL(), func(o *redis.UniversalOptions) { o.Username, o.Password = "nobody", "x" }), redistest.Prefix(t))
	expectTake(t, "WRONGPASS", "refused", stranger, windowSet, store.MakeTag("test"))
}
