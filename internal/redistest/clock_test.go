package redistest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/redis/go-redis/v9"
)

func TestClockSteps(t *testing.T) {
	start := time.Now()
	s, clock := redistest.NewSingleWithClock(t)
	client := s.Client(t)
	inScript := redis.NewScript(`return redis.call('TIME')[1]`)
	check := func(want time.Duration) {
		t.Helper()
		if clock.Offset() != want {
			t.Errorf("Offset() = %v, want %v", clock.Offset(), want)
		}
		before := time.Now().Add(want - time.Second) // TIME in the script is cut to a second
		now, err := client.Time(t.Context()).Result()
		if after := time.Now().Add(want); err != nil || now.Before(before) || now.After(after) {
			t.Errorf("TIME is %v, %v; want %v to %v", now, err, before, after)
		}
		seconds, err := inScript.Run(t.Context(), client, nil).Int64()
		now = time.Unix(seconds, 0)
		if after := time.Now().Add(want); err != nil || now.Before(before) || now.After(after) {
			t.Errorf("TIME in a script is %v, %v; want %v to %v", now, err, before, after)
		}
	}
	ttl := func(key string, want time.Duration) {
		t.Helper()
		got := client.PTTL(t.Context(), key).Val()
		if least := want - time.Since(start); got > want || got < least {
			t.Errorf("PTTL %s = %v, want %v to %v", key, got, least, want)
		}
	}
	check(0)
	client.Set(t.Context(), "minute", "", time.Minute)
	client.Set(t.Context(), "day", "", 24*time.Hour)
	clock.Step(-time.Hour)
	check(-time.Hour)
	ttl("minute", time.Hour+time.Minute)
	clock.Step(2 * time.Hour)
	check(time.Hour)
	ttl("day", 23*time.Hour)
	if n := client.Exists(t.Context(), "minute").Val(); n != 0 {
		t.Error("a key of one minute outlived an hour")
	}
	clock.Step(-clock.Offset())
	check(0)
	clock.Step(-time.Hour)
	s.Restart(t)
	check(-time.Hour)
}

// A server may hold on to its last reading of the clock, as Valkey 9 does for a
// millisecond: a command that is sent right after a step sees the step nevertheless.
// Nothing here depends on how long a call takes: the server's answer lies between the
// instants before and after it.
func TestClockStepsAreSeenAtOnce(t *testing.T) {
	for _, hold := range []time.Duration{0, time.Millisecond, 4 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(hold.String(), func(t *testing.T) {
			t.Parallel()
			s, clock := redistest.NewSingleWithHeldClock(t, hold, nil)
			client := s.Client(t)
			steps := []time.Duration{-time.Hour, time.Hour, -250 * time.Millisecond, 60 * time.Millisecond}
			if hold < 5*time.Millisecond { // what no server exceeds
				steps = append(steps, -2*time.Millisecond, 2*time.Millisecond)
			}
			for _, step := range slices.Repeat(steps, 10) {
				client.Time(t.Context()) // a reading that the server may hold on to
				before := time.Now()     // the server may look at its clock as soon as it is stepped
				clock.Step(step)
				told, err := client.Time(t.Context()).Result()
				after := time.Now()
				told = told.Add(-clock.Offset())
				// The server's two clocks are read within 20 µs of each other.
				const apart = 25 * time.Microsecond
				if err != nil || told.Before(before.Add(-apart)) || told.After(after.Add(apart)) {
					t.Fatalf("after a step of %v TIME is %v, %v; want %v to %v and the offset",
						step, told, err, before, after)
				}
			}
		})
	}
}

// A step while the server is down is seen when it is up again.
func TestClockStepsOfAServerThatIsDown(t *testing.T) {
	t.Parallel()
	s, clock := redistest.NewSingleWithClock(t)
	s.Kill(t)
	clock.Step(-time.Hour)
	s.Restart(t)
	now, err := s.Client(t).Time(t.Context()).Result()
	if off := time.Until(now); err != nil || off > -59*time.Minute {
		t.Errorf("TIME is off by %v, %v; want -1h", off, err)
	}
}
