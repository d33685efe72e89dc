package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/calendar"
	"github.com/gatekit/gatekit/internal/redistest"
)

// outsideSet has a limit ahead of its calendars that would write if it were asked.
func outsideSet() *LimitSet {
	return NewLimitSet(
		LimitSpec{Name: "w", Algorithm: 'w', Quota: 5, Window: time.Hour},
		LimitSpec{Name: "day", Algorithm: 'k', Quota: 5, Calendar: calendar.Calendar{Unit: calendar.Day, Zone: time.UTC}},
		LimitSpec{Name: "month", Algorithm: 'k', Quota: 5, Calendar: calendar.Calendar{Unit: calendar.Month, Anchor: 1, Zone: time.UTC}},
	)
}

const outsideNow = 1_790_000_000_000_000

// TestOutside: a process whose clock is off asks twice, once, and then no more. What it
// asked in vain spent nothing.
func TestOutside(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		r := &recorder{}
		client := server.Client(t)
		client.AddHook(r)
		store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		call := LimitCall{Set: outsideSet(), Tag: MakeTag("outside"), Cost: 1, Now: outsideNow, Local: outsideNow - 60*24*time.Hour.Microseconds()}
		for want := int64(4); want >= 2; want-- {
			r.replies = nil
			reply, err := store.LimitTake(t.Context(), call)
			if err != nil || reply.Verdict() != Allowed || reply.Remaining(0) != want || reply.Remaining(1) != want || reply.Remaining(2) != want {
				t.Fatalf("%v, %v; want %d left of each limit", reply, err, want)
			}
			if trips := len(r.replies); trips != 1 && want < 4 || trips != 2 && want == 4 {
				t.Errorf("%d round trips with %d left", trips, want)
			}
		}
		peek := LimitCall{Set: outsideSet(), Tag: call.Tag, Cost: 1, Now: outsideNow, Local: outsideNow + 9*24*time.Hour.Microseconds()}
		if reply, err := store.LimitPeek(t.Context(), peek); err != nil || reply.Verdict() != Allowed || reply.Remaining(2) != 2 {
			t.Errorf("peek: %v, %v; want 2 left", reply, err)
		}
		many := []LimitCall{call, peek, {Set: NewLimitSet(specs("w")...), Tag: call.Tag, Cost: 1, Now: outsideNow}, peek}
		many[1].Tag, many[3].Tag = MakeTag("other"), MakeTag("third")
		replies, errs := store.LimitTakeMany(t.Context(), many)
		for i, want := range []int64{1, 4, 9, 4} {
			if errs[i] != nil || replies[i].Verdict() != Allowed || replies[i].Remaining(0) != want {
				t.Errorf("call %d: %v, %v; want %d left", i, replies[i], errs[i], want)
			}
		}
		redistest.NoImmortalKeys(t, client, store.prefix)
	})
}

// TestOutsideWritesNothing: the answer comes ahead of every read and write.
func TestOutsideWritesNothing(t *testing.T) {
	client := redistest.NewSingle(t).Client(t)
	store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	set := outsideSet()
	call := LimitCall{Set: set, Tag: MakeTag("outside"), Cost: 1, Now: outsideNow}
	if _, err := store.LimitTake(t.Context(), call); err != nil { // the script is loaded and the keys exist
		t.Fatal(err)
	}
	call.Now -= 25 * time.Hour.Microseconds() // the window would be repaired
	words := store.limitCall(t.Context(), limitTakeCal, call, false).words[3:]
	stale := set.calendars[1].calendar.Around(outsideNow - 90*24*time.Hour.Microseconds()).Word()
	words[len(words)-1] = stale
	n := redistest.Commands(t, client, func() {
		if redistest.Changes(t, client, func() {
			got, err := client.Do(t.Context(), append([]any{"evalsha", string(limitTakeCal.sha), 3}, words...)...).Int64Slice()
			if err != nil || len(got) != replyLength(set) || got[0] != -1 || got[1] != call.Now {
				t.Errorf("reply %v, %v; want -1 and %d", got, err, call.Now)
			}
		}) != 0 {
			t.Error("keys changed")
		}
	})
	if inner := n.Total() - n.Of("evalsha", "eval", "info"); inner != 0 {
		t.Errorf("the script ran %d commands: %v", inner, n)
	}
}

// TestOutsideTwice: a server whose clock is in no period is not asked a third time.
func TestOutsideTwice(t *testing.T) {
	server := redistest.NewSingle(t)
	r := &recorder{}
	client := server.Client(t)
	client.AddHook(r)
	store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	call := LimitCall{Set: outsideSet(), Tag: MakeTag("twice"), Cost: 1, Now: 1_000_000}
	checks := func(err error) {
		t.Helper()
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) || !strings.Contains(err.Error(), "1970-01-01") {
			t.Errorf("error %v, want ErrUnavailable with the server's time", err)
		}
	}
	_, err = store.LimitTake(t.Context(), call)
	checks(err)
	if len(r.replies) != 2 {
		t.Errorf("%d round trips, want 2", len(r.replies))
	}
	_, err = store.LimitPeek(t.Context(), call)
	checks(err)
	_, errs := store.LimitTakeMany(t.Context(), []LimitCall{call, call})
	checks(errs[0])
	checks(errs[1])
	if keys := redistest.Keys(t, client, store.prefix); len(keys) != 0 {
		t.Errorf("keys %q", keys)
	}
}

// TestOutsideWithinTheBudget: both round trips have one deadline.
func TestOutsideWithinTheBudget(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	store, err := New(client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	call := LimitCall{Set: outsideSet(), Cost: 1}
	first := store.limitTake(t.Context(), call)
	first.at, first.hurried = time.Now().Add(-time.Second), true
	second := store.limitTake(t.Context(), call)
	if _, err := store.again(first, call, second); err == nil || !second.at.Equal(first.at) || !second.hurried {
		t.Errorf("the second run ends at %v and not at %v, error %v", second.at, first.at, err)
	}
}

// TestLengthOfPeriods: a stamp of either sign names its period.
func TestLengthOfPeriods(t *testing.T) {
	set := outsideSet()
	at := time.Date(2028, 2, 29, 12, 0, 0, 0, time.UTC)
	id, start, end := set.Period(2, at)
	if id != 20280201 || !start.Equal(time.Date(2028, 2, 1, 0, 0, 0, 0, time.UTC)) || end.Sub(start) != 29*24*time.Hour {
		t.Errorf("period %d from %v to %v", id, start, end)
	}
	for stamp, want := range map[int64]time.Duration{
		20280201*256 + 7: 29 * 24 * time.Hour, -20280201: 29 * 24 * time.Hour, -20280101: 31 * 24 * time.Hour, 0: 0, 20200101 * 256: 0,
	} {
		if got := set.Length(2, stamp); got != want {
			t.Errorf("stamp %d: %v, want %v", stamp, got, want)
		}
	}
	if got := set.Length(1, -20280229); got != 0 {
		t.Errorf("before the first call: %v", got)
	}
}
