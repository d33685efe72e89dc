package store

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/calendar"
	"github.com/gatekit/gatekit/internal/redistest"
)

// costLine reads "w: 4 to 7 commands admitted, 2 denied" of a COST line: the fewest and
// most commands of a script that is called for one limit, TIME included.
var costLine = regexp.MustCompile(`\b([wblk])(?: and ([wblk]))?: (\d+)(?: to (\d+))? commands?(?: admitted, (\d+)(?: to (\d+))? denied)?`)

type costs struct{ admitted, denied [2]int }

func readCosts(t *testing.T, script, letter string) (c costs, ok bool) {
	t.Helper()
	for _, m := range costLine.FindAllStringSubmatch(readContract(t, script+".lua").lines["COST"], -1) {
		if m[1] != letter && m[2] != letter {
			continue
		}
		number := func(text, otherwise string) int {
			if text == "" {
				text = otherwise
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("%s: COST: %v", script, err)
			}
			return n
		}
		low, high := number(m[3], ""), number(m[4], m[3])
		c.admitted, c.denied = [2]int{low, high}, [2]int{low, high}
		if m[5] != "" {
			c.denied = [2]int{number(m[5], ""), number(m[6], m[5])}
		}
		return c, true
	}
	return c, false
}

// TestCost counts the commands inside the scripts, over the whole life of a limit: empty,
// filling, full and denying, full of dead permits, and again. However large the quota,
// they stay as many as COST says; and a denial writes nothing.
func TestCost(t *testing.T) {
	client := redistest.NewSingle(t).Client(t)
	store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	count := func(f func()) int { return int(redistest.Commands(t, client, f).Total()) - 1 }
	for _, letter := range []string{"w", "b", "l"} {
		t.Run(letter, func(t *testing.T) {
			script := "limit_take"
			if letter == "l" {
				script = "limit_take_once"
			}
			want, ok := readCosts(t, script, letter)
			if !ok {
				t.Errorf("%s: COST says nothing of %s", script, letter)
				return
			}
			seen := costs{admitted: [2]int{1000, 0}, denied: [2]int{1000, 0}}
			for _, quota := range []int64{1, 20, 1000} {
				set := NewLimitSet(LimitSpec{Name: "n", Algorithm: letter[0], Quota: quota, Window: time.Minute})
				call := LimitCall{Set: set, Tag: MakeTag("cost", letter, strconv.FormatInt(quota, 10)), Cost: 1, Now: 1_700_000_000_000_000}
				take := func(step time.Duration) (admitted bool, commands int) {
					call.Now += step.Microseconds()
					call.Name = strconv.FormatInt(call.Now, 10)
					commands = 1 + count(func() { // the tests' clock saves TIME
						reply, err := store.LimitTake(t.Context(), call)
						if err != nil {
							t.Fatal(err)
						}
						admitted = reply.Verdict() == Allowed
					})
					return admitted, commands
				}
				check := func(step time.Duration) bool {
					admitted, commands := take(step)
					limits, most := want.denied, &seen.denied
					if admitted {
						limits, most = want.admitted, &seen.admitted
					}
					most[0], most[1] = min(most[0], commands), max(most[1], commands)
					if commands < limits[0] || commands > limits[1] {
						t.Errorf("%s, quota %d, admitted %v: %d commands, COST says %d to %d", letter, quota, admitted, commands, limits[0], limits[1])
					}
					return admitted
				}
				take(0) // loads the script
				for range min(quota-2, 18) {
					check(time.Millisecond)
				}
				if quota > 20 { // fill it up at once
					fill := call
					fill.Name, fill.Cost = "fill", quota-21
					for fill.Cost > 0 {
						part := fill
						part.Cost = min(fill.Cost, 100)
						part.Name += strconv.FormatInt(fill.Cost, 10)
						part.Now++
						if _, err := store.LimitTake(t.Context(), part); err != nil {
							t.Fatal(err)
						}
						fill.Cost -= part.Cost
					}
				}
				for check(time.Millisecond) {
				}
				if n := redistest.Changes(t, client, func() { check(time.Millisecond) }); n != 0 {
					t.Errorf("%s, quota %d: a denial changed %d keys", letter, quota, n)
				}
				for _, step := range []time.Duration{time.Minute - 10*time.Millisecond, 2 * time.Millisecond, 10 * time.Millisecond} {
					if quota <= 20 {
						check(step)
					} else if _, commands := take(step); commands > 20 {
						t.Errorf("%s, quota %d: %d commands with a long dead tail", letter, quota, commands)
					}
				}
				for range 5 {
					check(time.Millisecond) // the last ones die
				}
				check(time.Hour) // all are dead
			}
			if seen != want {
				t.Errorf("seen %+v, COST says %+v", seen, want)
			}
		})
	}
}

// TestCostOfBatches counts the commands of batches that are admitted in full, in part and
// not at all, and of one that meets dead permits.
func TestCostOfBatches(t *testing.T) {
	client := redistest.NewSingle(t).Client(t)
	store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range []string{"w", "b"} {
		t.Run(letter, func(t *testing.T) {
			want, ok := readCosts(t, "limit_take_batch", letter)
			if !ok {
				t.Fatal("COST says nothing of it")
			}
			set := NewLimitSet(LimitSpec{Name: "n", Algorithm: letter[0], Quota: 1000, Window: time.Minute})
			call := LimitCall{Set: set, Tag: MakeTag("cost", letter), Now: 1_700_000_000_000_000}
			seen := [2]int{1000, 0}
			other := call // loads the script
			other.Tag, other.Cost = MakeTag("other"), 1
			if _, err := store.LimitTakeBatch(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				after time.Duration
				calls int64
			}{{0, 3}, {time.Second, 300}, {time.Second, 600}, {time.Second, 500}, {time.Second, 500}, {56500 * time.Millisecond, 500}, {time.Hour, 1000}} {
				call.Now, call.Cost = call.Now+step.after.Microseconds(), step.calls
				var reply BatchReply
				n := redistest.Commands(t, client, func() {
					if reply, err = store.LimitTakeBatch(t.Context(), call); err != nil {
						t.Fatal(err)
					}
				})
				commands, limits := 1+int(n.Total()-n.Of("evalsha", "eval")), want.admitted // the tests' clock saves TIME
				if reply.Allowed() == 0 {
					limits = want.denied
				} else {
					seen[0], seen[1] = min(seen[0], commands), max(seen[1], commands)
				}
				if commands < limits[0] || commands > limits[1] {
					t.Errorf("%d calls, %d admitted: %d commands (%v), COST says %d to %d", step.calls, reply.Allowed(), commands, n, limits[0], limits[1])
				}
			}
			if seen != want.admitted {
				t.Errorf("admitted: %d commands, COST says %d", seen, want.admitted)
			}
		})
	}
}

// TestCostOfOthers checks the remaining COST lines that name a number.
func TestCostOfOthers(t *testing.T) {
	client := redistest.NewSingle(t).Client(t)
	store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contractCalls() {
		if c.script == "limit_take_calendar" && c.letters == "k" && !c.repeatable {
			costOfCalendar(t, client, store)
			continue
		}
		if len(c.letters) > 1 || !slices.Contains([]string{"limit_peek", "limit_refund"}, c.script) || c.repeatable {
			continue
		}
		want, ok := readCosts(t, c.script, c.letters)
		if !ok {
			if line := readContract(t, c.script+".lua").lines["COST"]; !strings.Contains(line, c.letters+": O(") {
				t.Errorf("%s: COST %q says nothing of %s", c.script, line, c.letters)
			}
			continue
		}
		set := NewLimitSet(specs(c.letters)...)
		call := LimitCall{Set: set, Tag: MakeTag("cost", c.script, c.letters), Cost: 1, Name: "id"}
		taken, err := store.LimitTake(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		do := func() error {
			if c.script == "limit_refund" {
				_, err := store.LimitRefund(t.Context(), call, []int64{taken.Stamp(0)})
				return err
			}
			return c.do(store, set, call)
		}
		if c.script == "limit_peek" {
			_ = do() // loads the script
		}
		n := redistest.Commands(t, client, func() {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		})
		got := int(n.Total() - n.Of("evalsha", "eval"))
		if got < want.admitted[0] || got > want.admitted[1] {
			t.Errorf("%s on %s: %d commands (%v), COST says %v", c.script, c.letters, got, n, want.admitted)
		}
	}
}

// costOfCalendar counts the commands of a calendar quota: on a key that does not exist,
// within a period, denied, in the next period, and in one that makes the script forget an
// old one.
func costOfCalendar(t *testing.T, client redis.UniversalClient, store *Store) {
	t.Helper()
	want, ok := readCosts(t, "limit_take_calendar", "k")
	if !ok {
		t.Fatal("limit_take_calendar: COST says nothing of k")
	}
	set := NewLimitSet(LimitSpec{Name: "n", Algorithm: 'k', Quota: 2, Calendar: calendar.Calendar{Unit: calendar.Day, Zone: time.UTC}})
	call := LimitCall{Set: set, Tag: MakeTag("cost", "k"), Cost: 1, Now: 1_790_000_000_000_000}
	if _, err := store.LimitTake(t.Context(), LimitCall{Set: set, Tag: MakeTag("load"), Cost: 1}); err != nil { // loads the script
		t.Fatal(err)
	}
	seen := costs{admitted: [2]int{1000, 0}, denied: [2]int{1000, 0}}
	for range 4 {
		for range 3 {
			var reply LimitReply
			changes := redistest.Changes(t, client, func() {
				n := redistest.Commands(t, client, func() {
					var err error
					if reply, err = store.LimitTake(t.Context(), call); err != nil {
						t.Fatal(err)
					}
				})
				most := &seen.denied
				if reply.Verdict() == Allowed {
					most = &seen.admitted
				}
				got := int(n.Total()-n.Of("evalsha", "eval")) + 1 // the tests' clock saves TIME
				most[0], most[1] = min(most[0], got), max(most[1], got)
			})
			if reply.Verdict() == Denied && changes != 0 {
				t.Errorf("a denial changed %d keys", changes)
			}
		}
		call.Now += 24 * time.Hour.Microseconds()
	}
	if seen != want {
		t.Errorf("limit_take_calendar: seen %+v, COST says %+v", seen, want)
	}
}

// TestCostOfSettle counts the commands of limit_settle: what was not used is given back,
// and debts are spent from limits whose permits are live, few of them dead, all dead, or
// gone.
func TestCostOfSettle(t *testing.T) {
	client := redistest.NewSingle(t).Client(t)
	store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range []string{"w", "b", "l"} {
		want, ok := readCosts(t, "limit_settle", letter)
		if !ok {
			t.Fatalf("limit_settle: COST says nothing of %s", letter)
		}
		set := NewLimitSet(LimitSpec{Name: "n", Algorithm: letter[0], Quota: 100, Window: time.Minute})
		call := LimitCall{Set: set, Tag: MakeTag("cost of settle", letter), Cost: 5, Now: 1_700_000_000_000_000}
		seen := [2]int{1000, 0}
		for i, step := range []time.Duration{0, time.Second, time.Second, 50 * time.Second, 9 * time.Second, time.Minute, time.Hour} {
			for _, actual := range []int64{3, 9, 0} {
				call.Now, call.Name = call.Now+step.Microseconds()+1, fmt.Sprint("call", i, actual)
				reply, err := store.LimitTake(t.Context(), call)
				if err != nil || reply.Verdict() != Allowed {
					t.Fatal(reply, err)
				}
				later := call
				later.Now += step.Microseconds() / 2
				n := redistest.Commands(t, client, func() {
					settle := LimitSettleCall{Call: later, Stamps: []int64{reply.Stamp(0)}, Actual: []int64{actual}}
					if _, err := store.LimitSettle(t.Context(), settle); err != nil {
						t.Fatal(err)
					}
				})
				commands := int(n.Total()-n.Of("evalsha", "eval")) + 1 // the tests' clock saves TIME
				seen[0], seen[1] = min(seen[0], commands), max(seen[1], commands)
			}
		}
		if seen != want.admitted {
			t.Errorf("%s: seen %v commands, COST says %v", letter, seen, want.admitted)
		}
	}
}
