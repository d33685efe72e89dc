package luatest_test

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/lua/luatest"
	"github.com/redis/go-redis/v9"
)

func TestClockSteps(t *testing.T) {
	s, clock := luatest.NewSingleWithClock(t)
	client := s.Client(t)
	inScript := redis.NewScript(`return redis.call('TIME')[1]`)
	check := func(want time.Duration) {
		t.Helper()
		if clock.Offset() != want {
			t.Errorf("Offset() = %v, want %v", clock.Offset(), want)
		}
		now, err := client.Time(t.Context()).Result()
		if off := time.Until(now) - want; err != nil || off.Abs() > 2*time.Second {
			t.Errorf("TIME is off by %v, %v", off, err)
		}
		seconds, err := inScript.Run(t.Context(), client, nil).Int64()
		if off := time.Until(time.Unix(seconds, 0)) - want; err != nil || off.Abs() > 2*time.Second {
			t.Errorf("TIME in a script is off by %v, %v", off, err)
		}
	}
	ttl := func(key string, want time.Duration) {
		t.Helper()
		if got := client.PTTL(t.Context(), key).Val(); (got - want).Abs() > 2*time.Second {
			t.Errorf("PTTL %s = %v, want %v", key, got, want)
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

func TestClockStepsBySmallAmounts(t *testing.T) {
	s, clock := luatest.NewSingleWithClock(t)
	client := s.Client(t)
	before := client.Time(t.Context()).Val()
	clock.Step(-250 * time.Millisecond)
	after := client.Time(t.Context()).Val()
	if moved := after.Sub(before); moved < -250*time.Millisecond || moved > -100*time.Millisecond {
		t.Errorf("clock moved by %v, want -250 ms and the time between two calls", moved)
	}
}
