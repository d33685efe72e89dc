package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/calendar"
	"github.com/gatekit/gatekit/internal/redistest"
)

func TestContractsNameWhatTheBodyReads(t *testing.T) {
	for _, s := range limitScripts() {
		c := readContract(t, s.name+".lua")
		if !strings.HasPrefix(c.title, s.name+": ") {
			t.Errorf("%s: opens with %q, want its name and what it does", s.name, c.title)
		}
		keys, argv := used(t, s.text)
		for _, kind := range []struct {
			name             string
			documented, read []position
		}{{"KEYS", c.keys, keys}, {"ARGV", c.argv, argv}} {
			for _, d := range kind.documented {
				if !slices.ContainsFunc(kind.read, func(p position) bool { return p.same(d) }) {
					t.Errorf("%s: %s %v is documented, but not read", s.name, kind.name, d)
				}
			}
			for _, p := range kind.read {
				if p != allKeys && !slices.ContainsFunc(kind.documented, p.same) {
					t.Errorf("%s: %s %v is read, but not documented", s.name, kind.name, p)
				}
			}
		}
	}
}

func TestContractsAreComplete(t *testing.T) {
	for _, s := range limitScripts() {
		c := readContract(t, s.name+".lua")
		for _, word := range []string{"RETURNS", "EXPIRES", "COST", "RETRY"} {
			if c.lines[word] == "" {
				t.Errorf("%s: no %s line", s.name, word)
			}
		}
		want := "unsafe: "
		if s.retry == reads {
			want = "safe: it writes nothing"
		} else if s.retry == safe {
			want = "safe: "
		}
		if !strings.HasPrefix(c.lines["RETRY"], want) {
			t.Errorf("%s: RETRY is %q, but script.go says %q", s.name, c.lines["RETRY"], want)
		}
	}
}

// recorder is a hook that keeps the commands of a client. When offline, it answers them
// itself with redis.ErrClosed.
type recorder struct {
	offline bool
	sent    [][]any
	replies [][]int64
}

func (r *recorder) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *recorder) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *recorder) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name != "evalsha" && name != "eval" {
			return next(ctx, cmd)
		}
		r.sent = append(r.sent, slices.Clone(cmd.Args()))
		if r.offline {
			cmd.SetErr(redis.ErrClosed)
			return redis.ErrClosed
		}
		err := next(ctx, cmd)
		if c, ok := cmd.(command); ok && err == nil {
			r.replies = append(r.replies, c.Val())
		}
		return err
	}
}

// text renders a word of a command as the client writes it to the server.
func text(word any) string {
	if p, ok := word.(*string); ok {
		return *p
	}
	return fmt.Sprint(word)
}

// specs are limits by their letters, with values that tell them apart.
func specs(letters string) (limits []LimitSpec) {
	for i, letter := range letters {
		l := LimitSpec{Name: fmt.Sprintf("n%d", i), Algorithm: byte(letter), Quota: int64(10 + i), Window: time.Duration(60+i) * time.Second}
		if letter == 'k' {
			l.Window, l.Calendar = 0, calendar.Calendar{Unit: calendar.Month, Anchor: 1 + i, Zone: time.UTC}
		}
		limits = append(limits, l)
	}
	return limits
}

// contractCall is one call of a wrapper and the values that it must pass, by the names in
// the contract.
type contractCall struct {
	script     string
	letters    string
	repeatable bool
	do         func(s *Store, set *LimitSet, call LimitCall) error
}

func contractCalls() (calls []contractCall) {
	take := func(s *Store, set *LimitSet, call LimitCall) error {
		_, err := s.LimitTake(context.Background(), call)
		return err
	}
	peek := func(s *Store, set *LimitSet, call LimitCall) error {
		_, err := s.LimitPeek(context.Background(), call)
		return err
	}
	refund := func(s *Store, set *LimitSet, call LimitCall) error {
		stamps := make([]int64, set.Len())
		for i := range stamps {
			stamps[i] = int64(7000 + i)
		}
		_, err := s.LimitRefund(context.Background(), call, stamps)
		return err
	}
	batch := func(s *Store, set *LimitSet, call LimitCall) error {
		_, err := s.LimitTakeBatch(context.Background(), call)
		return err
	}
	settle := func(s *Store, set *LimitSet, call LimitCall) error {
		stamps, actual := make([]int64, set.Len()), make([]int64, set.Len())
		for i := range stamps {
			stamps[i], actual[i] = int64(7000+i), int64(5+i)
		}
		_, err := s.LimitSettle(context.Background(), LimitSettleCall{call, stamps, actual})
		return err
	}
	reset := func(s *Store, set *LimitSet, call LimitCall) error {
		return s.LimitReset(context.Background(), call)
	}
	for _, letters := range []string{"w", "b", "l", "wb", "wl", "lbw", "wwb", "wbwbwbwb", "lwbwbwbl", "k", "wk", "kbk", "lk"} {
		for _, repeatable := range []bool{false, true} {
			name := "limit_take"
			if strings.Contains(letters, "l") {
				name = "limit_take_once"
			} else if strings.Contains(letters, "k") {
				name = "limit_take_calendar"
			}
			calls = append(calls,
				contractCall{name, letters, repeatable, take}, contractCall{"limit_peek", letters, repeatable, peek},
				contractCall{"limit_refund", letters, repeatable, refund}, contractCall{"limit_settle", letters, repeatable, settle},
				contractCall{"limit_reset", letters, repeatable, reset})
			if name == "limit_take" {
				calls = append(calls, contractCall{"limit_take_batch", letters, repeatable, batch})
			}
		}
	}
	return calls
}

// wants returns the value of a documented name for limit i, 0-based.
func (c contractCall) wants(t *testing.T, store *Store, call LimitCall, name string, i int) string {
	t.Helper()
	switch name {
	case "limit":
		return string(store.appendKey(nil, 'l', call.Tag, call.Set.suffixes[i]))
	case "refunded":
		return string(store.appendKey(nil, 'r', call.Tag, ""))
	case "now":
		return fmt.Sprint(call.Now)
	case "cost", "calls":
		return fmt.Sprint(call.Cost)
	case "algorithm":
		return c.letters[i : i+1]
	case "quota":
		return fmt.Sprint(10 + i)
	case "window":
		if c.letters[i] == 'k' {
			if c.script == "limit_refund" || c.script == "limit_reset" {
				return "0"
			}
			return calendar.Calendar{Unit: calendar.Month, Anchor: 1 + i, Zone: time.UTC}.Around(call.Now).Word()
		}
		return fmt.Sprint((60 + i) * 1_000_000)
	case "stamp":
		return fmt.Sprint(7000 + i)
	case "actual":
		return fmt.Sprint(5 + i)
	case "call":
		return call.Name
	case "limits":
		return fmt.Sprint(call.Set.Len())
	}
	t.Fatalf("%s documents %q, which this test does not know", c.script, name)
	return ""
}

// passesRefunded tells whether the key of the refunded calls goes along, as the contracts
// say in words.
func (c contractCall) passesRefunded() bool {
	sticky := strings.Contains(c.letters, "l")
	return sticky && (c.repeatable || c.script == "limit_reset")
}

func TestWrappersPassWhatContractsName(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	r := &recorder{offline: true}
	client.AddHook(r)
	store, err := New(client, Options{Prefix: "contract"})
	if err != nil {
		t.Fatal(err)
	}
	exercised := map[string]bool{"limit_take_all": true} // see TestTakeAllPassesWhatItsContractNames
	for _, c := range contractCalls() {
		exercised[c.script] = true
		t.Run(fmt.Sprintf("%s/%s/repeatable=%v", c.script, c.letters, c.repeatable), func(t *testing.T) {
			doc := readContract(t, c.script+".lua")
			set := NewLimitSet(specs(c.letters)...)
			call := LimitCall{Set: set, Tag: MakeTag("test", c.letters), Cost: 3, Name: "id", Repeatable: c.repeatable, Now: 1_700_000_000_123_456}
			r.sent = nil
			if err := c.do(store, set, call); err == nil || len(r.sent) != 1 {
				t.Fatalf("%d commands, error %v; want 1, refused", len(r.sent), err)
			}
			words := r.sent[0]
			sc := scripts[slices.IndexFunc(scripts, func(s *script) bool { return s.name == c.script })]
			if text(words[0]) != "evalsha" || text(words[1]) != string(sc.sha) {
				t.Fatalf("sent %v %v, want evalsha %s", words[0], words[1], sc.sha)
			}
			n := set.Len()
			numkeys, err := strconv.Atoi(text(words[2]))
			if err != nil || numkeys > len(words)-3 {
				t.Fatalf("numkeys %v of %d words", words[2], len(words))
			}
			keys := doc.keys
			if !c.passesRefunded() {
				keys = slices.DeleteFunc(slices.Clone(keys), func(p position) bool { return p.last })
			}
			c.compare(t, store, call, "KEYS", keys, words[3:3+numkeys], n)
			c.compare(t, store, call, "ARGV", doc.argv, words[3+numkeys:], n)
		})
	}
	for _, s := range limitScripts() {
		if !exercised[s.name] && !strings.HasPrefix(s.name, "slot_") { // they are in slot_contract_test.go
			t.Errorf("%s is sent by no call of this test", s.name)
		}
	}
}

// compare compares the passed words with the documented positions: each place must be
// documented once, with the value that it names.
func (c contractCall) compare(t *testing.T, store *Store, call LimitCall, kind string, documented []position, passed []any, n int) {
	t.Helper()
	seen := map[int]string{}
	for _, p := range documented {
		for i, place := range p.at(n) {
			if other, ok := seen[place]; ok {
				t.Errorf("%s[%d] is documented as %s and as %s", kind, place, other, p.name)
			}
			seen[place] = p.name
			if place > len(passed) {
				t.Errorf("%s[%d] %s is documented, but only %d are passed", kind, place, p.name, len(passed))
				continue
			}
			if got, want := text(passed[place-1]), c.wants(t, store, call, p.name, i); got != want {
				t.Errorf("%s[%d] %s is %q, want %q", kind, place, p.name, got, want)
			}
		}
	}
	if len(seen) != len(passed) {
		t.Errorf("%d of %s are passed, %d are documented: %v", len(passed), kind, len(seen), seen)
	}
}

// returned counts the integers that a RETURNS line documents: first those of the call,
// then those of each limit.
func returned(t *testing.T, name string) (once, perLimit int) {
	t.Helper()
	line := readContract(t, name+".lua").lines["RETURNS"]
	inner, ok := strings.CutSuffix(strings.TrimPrefix(line, "{"), "}")
	if !ok || !strings.HasPrefix(line, "{") {
		t.Fatalf("%s: RETURNS %q is no list in braces", name, line)
	}
	if head, other, ok := strings.Cut(inner, ", then as "); ok {
		_, perLimit = returned(t, other)
		return items(head), perLimit
	}
	head, each, _ := strings.Cut(inner, "for each limit: ")
	return items(strings.TrimSuffix(head, ", then ")), items(each)
}

// items counts the words between commas; one with alternatives is a single word whatever
// its commas.
func items(list string) int {
	switch {
	case list == "":
		return 0
	case strings.Contains(list, " | "):
		return 1
	}
	return strings.Count(list, ",") + 1
}

func TestRepliesHaveTheDocumentedLength(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		r := &recorder{}
		client := server.Client(t)
		client.AddHook(r)
		store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range contractCalls() {
			set := NewLimitSet(specs(c.letters)...)
			call := LimitCall{Set: set, Tag: MakeTag("test", c.letters), Cost: 6, Name: fmt.Sprint("id", i), Repeatable: c.repeatable}
			once, perLimit := returned(t, c.script)
			for range 2 { // admitted and denied
				r.replies = nil
				if err := c.do(store, set, call); err != nil || len(r.replies) != 1 {
					t.Fatalf("%s on %q: %d replies, error %v", c.script, c.letters, len(r.replies), err)
				}
				if got, want := len(r.replies[0]), once+perLimit*set.Len(); got != want {
					t.Errorf("%s on %q returns %d integers, RETURNS documents %d", c.script, c.letters, got, want)
				}
			}
		}
		redistest.NoImmortalKeys(t, client, store.prefix)
	})
}
