package store

import (
	"fmt"
	"regexp"
	"testing"
	"time"
)

// TestClockBackIsOneNumber: scripts and this package use the same number to decide that
// the clock stepped back. Otherwise one would shift or refuse what the other accepts.
func TestClockBackIsOneNumber(t *testing.T) {
	name := regexp.MustCompile(`(?m)^local slack = (\d+)$`)
	found := name.FindAllStringSubmatch(code("parts/session.lua"), -1)
	if want := fmt.Sprint(SessionClockBack.Milliseconds()); len(found) != 1 || found[0][1] != want {
		t.Errorf("parts/session.lua says slack %v, want %s once", found, want)
	}
	bare := regexp.MustCompile(`\b5000\b`)
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			if n := len(bare.FindAllString(s.text, -1)); n > 1 {
				t.Errorf("%s has the number %d times, want its name", s.name, n)
			}
		})
	}
}

func TestSessionExpires(t *testing.T) {
	seen := time.UnixMilli(1_000_000)
	for _, c := range []struct {
		name string
		left time.Duration
		want time.Duration
	}{
		{"unused", time.Hour, time.Minute},
		{"at the latest", time.Second, time.Second},
		{"both", time.Minute, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := SessionMeta{Seen: seen, Idle: time.Minute, Absolute: seen.Add(c.left)}
			if got := m.Expires().Sub(seen); got != c.want {
				t.Errorf("expires after %v, want %v", got, c.want)
			}
		})
	}
}
