package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
)

// group returns a group of limits by their letters, under a tag of its own.
func group(tag, letters string, change ...func(*LimitGroup)) LimitGroup {
	g := LimitGroup{LimitCall: LimitCall{Set: NewLimitSet(specs(letters)...), Tag: MakeTag("all", tag), Cost: 1}}
	if g.Set.Sticky() {
		g.Name = "id-" + tag
	}
	for _, c := range change {
		c(&g)
	}
	return g
}

func dry(g *LimitGroup)        { g.DryRun = true }
func repeatable(g *LimitGroup) { g.Repeatable = true }

func costing(all ...int64) func(*LimitGroup) { return func(g *LimitGroup) { g.Costs = all } }

// takeAllCalls are calls of limit_take_all that meet all that it can meet.
func takeAllCalls() [][]LimitGroup {
	return [][]LimitGroup{
		{group("1", "w"), group("2", "w")},
		{group("1", "ww"), group("2", "w")},
		{group("3", "wbl", repeatable), group("4", "b", dry), group("5", "wb", costing(0, 7))},
		{group("6", "l", dry), group("7", "lw", repeatable, costing(2, 0))},
		{group("8", "bw", costing(3, 1))},
	}
}

// TestTakeAllPassesWhatItsContractNames compares the words of the command with the lists
// that the contract documents.
func TestTakeAllPassesWhatItsContractNames(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	r := &recorder{offline: true}
	client.AddHook(r)
	s, err := New(client, Options{Prefix: "p"})
	if err != nil {
		t.Fatal(err)
	}
	key := func(tag, suffix string) string { return fmt.Sprintf("p:l:{%s}:%s", MakeTag("all", tag), suffix) }
	refunded := func(tag string) string { return fmt.Sprintf("p:r:{%s}:", MakeTag("all", tag)) }
	for i, want := range []string{
		key("1", "n0:w60000000") + " " + key("2", "n0:w60000000") + " |  w 10 60000000 10 60000000",
		key("1", "n0:w60000000") + " " + key("1", "n1:w61000000") + " " + key("2", "n0:w60000000") + " |  w 10 60000000 11 61000000 10 60000000",
		key("3", "n0:w60000000") + " " + key("3", "n1:c61000000") + " " + key("3", "n2:l62000000") + " " + refunded("3") + " " +
			key("4", "n0:c60000000") + " " + key("5", "n0:w60000000") + " " + key("5", "n1:c61000000") +
			" |  3 3  id-3 1 w 10 60000000 1 b 11 61000000 1 l 12 62000000 1 1 d  0 b 10 60000000 1 2   0 w 10 60000000 0 b 11 61000000 7",
		key("6", "n0:l60000000") + " " + key("7", "n0:l60000000") + " " + key("7", "n1:w61000000") + " " + refunded("7") +
			" |  2 1 d id-6 0 l 10 60000000 1 2  id-7 1 l 10 60000000 2 w 11 61000000 0",
		key("8", "n0:c60000000") + " " + key("8", "n1:w61000000") + " |  1 2   0 b 10 60000000 3 w 11 61000000 1",
	} {
		r.sent = nil
		if _, err := s.LimitTakeAll(context.Background(), takeAllCalls()[i]); err == nil || len(r.sent) != 1 {
			t.Fatalf("%d commands, error %v; want 1, refused", len(r.sent), err)
		}
		var words []string
		for n, word := range r.sent[0] {
			if keys := r.sent[0][2].(int); n == 3+keys {
				words = append(words, "|")
			}
			words = append(words, text(word))
		}
		if got := strings.Join(words[3:], " "); got != want {
			t.Errorf("call %d:\n got %s\nwant %s", i, got, want)
		}
	}
}

// TestTakeAllOfWrongType: a key of another type in the last group is met before anything
// is written in the first.
func TestTakeAllOfWrongType(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		if server.Name() == "cluster" {
			t.Skip("the keys are on several servers")
		}
		client, prefix := server.Client(t), redistest.Prefix(t)
		s, err := New(client, Options{Prefix: prefix, Budget: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for i, groups := range [][]LimitGroup{
			{group("1", "w"), group("2", "w")},
			{group("3", "wbl"), group("4", "b"), group("5", "l")},
			{group("6", "b"), group("7", "w", dry)},
		} {
			last := groups[len(groups)-1]
			wrong := string(s.appendKey(nil, 'l', last.Tag, last.Set.suffixes[0]))
			if err := client.Set(t.Context(), wrong, "x", time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.LimitTakeAll(t.Context(), groups); !errors.Is(err, ErrRefused) {
				t.Errorf("call %d: got error %v, want ErrRefused", i, err)
			}
		}
		held, err := client.Keys(t.Context(), prefix+"*").Result()
		if err != nil || len(held) != 3 {
			t.Errorf("got keys %v, %v, want the 3 of another type alone", held, err)
		}
	})
}

// TestTakeAllOnACluster: the servers refuse keys of several slots, nothing runs, and the
// store knows from then on. One group runs there.
func TestTakeAllOnACluster(t *testing.T) {
	cluster := redistest.Cluster(t)
	many, err := New(cluster.Client(t), Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if !many.Sharded() {
		t.Error("a cluster's client: not sharded")
	}
	replies, err := many.LimitTakeAll(t.Context(), []LimitGroup{group("9", "wb", costing(2, 7))})
	if err != nil || !slices.Equal(replies[0], LimitReply{1, 8, 0, replies[0][3], replies[0].Stamp(0), 4, 0, replies[0][7], replies[0].Stamp(1)}) {
		t.Errorf("one group: got %v, %v, want it spent, 8 and 4 left", replies, err)
	}
	plain := redistest.NewClient(t, cluster.Nodes()[0].Addr())
	one, err := New(plain, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if one.Sharded() {
		t.Error("a plain client, before the first answer: sharded")
	}
	if _, err := one.LimitTakeAll(t.Context(), []LimitGroup{group("1", "w"), group("2", "w"), group("3", "w")}); !errors.Is(err, ErrRefused) || !one.Sharded() {
		t.Errorf("got error %v and sharded %v, want ErrRefused and true", err, one.Sharded())
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	if s, err := New(ring, Options{}); err != nil || !s.Sharded() {
		t.Errorf("a ring: not sharded, %v", err)
	}
}

// TestTakeAllReplies: what each verdict says, in both forms.
func TestTakeAllReplies(t *testing.T) {
	s, err := New(redistest.Embedded(t).Client(t), Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	full := func(tag, letters string) LimitGroup {
		g := group(tag, letters, costing(slices.Repeat([]int64{10}, len(letters))...))
		if replies, err := s.LimitTakeAll(t.Context(), []LimitGroup{g}); err != nil || replies[0].Verdict() != Allowed {
			t.Fatal(replies, err)
		}
		g.Costs = nil
		g.Name = "other-" + g.Name
		return g
	}
	for _, c := range []struct {
		name   string
		groups []LimitGroup
		want   []Verdict
	}{
		{"flat", []LimitGroup{group("a", "w"), group("b", "ww")}, []Verdict{Allowed, Allowed}},
		{"flat, one full", []LimitGroup{full("c", "ww"), group("d", "ww"), group("e", "w")}, []Verdict{Denied, NotSpent, NotSpent}},
		{"one full", []LimitGroup{group("f", "wb"), full("g", "w"), group("h", "l", dry)}, []Verdict{NotSpent, Denied, NotSpent}},
		{"a dry one full", []LimitGroup{group("i", "w"), func() LimitGroup { g := full("j", "w"); g.DryRun = true; return g }()}, []Verdict{Allowed, Denied}},
		{"again", []LimitGroup{group("k", "l", repeatable), group("l", "w")}, []Verdict{Allowed, Allowed}},
		{"again, admitted", []LimitGroup{group("k", "l", repeatable), group("l", "w")}, []Verdict{AllowedBefore, Allowed}},
		{"again, at another cost", []LimitGroup{group("k", "l", repeatable, costing(2)), group("l", "w")}, []Verdict{OtherCost, NotSpent}},
	} {
		t.Run(c.name, func(t *testing.T) {
			replies, err := s.LimitTakeAll(t.Context(), c.groups)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				spent := replies[i].Stamp(0) > 0
				if replies[i].Verdict() != want || spent != (want == Allowed || want == AllowedBefore || want == OtherCost) || len(replies[i]) != replyLength(c.groups[i].Set) {
					t.Errorf("group %d: got %v, want verdict %d", i, replies[i], want)
				}
			}
		})
	}
}

// TestTakeAllOutside: if the server's clock is outside of the periods of one group, no
// group is read or written, and all are asked again.
func TestTakeAllOutside(t *testing.T) {
	r := &recorder{}
	client := redistest.NewSingle(t).Client(t)
	client.AddHook(r)
	s, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	days := group("days", "w")
	days.Set, days.Local = outsideSet(), outsideNow-60*24*time.Hour.Microseconds()
	groups := []LimitGroup{group("plain", "b"), days}
	for i := range groups {
		groups[i].Now = outsideNow
	}
	groups[0].Local = days.Local
	for trips := 2; trips >= 1; trips-- {
		r.replies = nil
		replies, err := s.LimitTakeAll(t.Context(), groups)
		if err != nil || len(r.replies) != trips {
			t.Fatalf("%d round trips, %v, want %d", len(r.replies), err, trips)
		}
		if left := int64(7 + trips); replies[0].Remaining(0) != left || replies[1].Remaining(0) != 2+int64(trips) || replies[1].Remaining(2) != 2+int64(trips) {
			t.Errorf("%v, want each spent once a call", replies)
		}
	}
}
