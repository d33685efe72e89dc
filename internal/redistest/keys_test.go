package redistest_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

func TestPrefixesDiffer(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9-]{3,16}$`)
	seen := map[string]bool{}
	for range 1000 {
		prefix := redistest.Prefix(silent{t})
		if seen[prefix] || !form.MatchString(prefix) {
			t.Fatalf("prefix %q is not new or not of the form %s", prefix, form)
		}
		seen[prefix] = true
	}
}

// silent keeps a thousand prefixes out of the log.
type silent struct{ testing.TB }

func (silent) Logf(string, ...any) {}

func TestKeys(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		client, prefix := s.Client(t), redistest.Prefix(t)
		// The prefix is taken literally, though SCAN knows patterns.
		odd := prefix + `*?[a]\:`
		for i := range 20 {
			client.Set(t.Context(), fmt.Sprint(odd, i), i, time.Minute)
		}
		client.Set(t.Context(), prefix+`xya\:`, 1, time.Minute)
		got := redistest.Keys(t, client, odd)
		if len(got) != 20 || !slices.IsSorted(got) || !strings.HasPrefix(got[0], odd) {
			t.Errorf("Keys = %q", got)
		}
		if got := redistest.Keys(t, client, prefix); len(got) != 21 {
			t.Errorf("%d keys under the prefix, want 21", len(got))
		}
	})
}

func TestNoImmortalKeys(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		client, prefix := s.Client(t), redistest.Prefix(t)
		client.Set(t.Context(), prefix+":mortal", 1, time.Minute)
		redistest.NoImmortalKeys(t, client, prefix)
		client.Set(t.Context(), prefix+":immortal", 1, 0)
		tb := &complaining{TB: t}
		redistest.NoImmortalKeys(tb, client, prefix)
		if len(tb.errors) != 1 || !strings.Contains(tb.errors[0], prefix+":immortal") {
			t.Errorf("complaints = %q, want one about the immortal key", tb.errors)
		}
		client.Del(t.Context(), prefix+":immortal")
	})
}

// complaining records errors instead of failing.
type complaining struct {
	testing.TB
	errors []string
}

func (c *complaining) Errorf(format string, args ...any) {
	c.errors = append(c.errors, fmt.Sprintf(format, args...))
}
