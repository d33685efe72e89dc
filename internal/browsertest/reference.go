package browsertest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/gatekit/gatekit/session"
)

// reference is what a visitor's session should hold. It is kept in plain Go, without
// records, scripts or deltas.
type reference struct {
	user    string
	values  map[string]string
	counts  map[string]int64
	flashes []string
}

func (r *reference) clone() *reference {
	return &reference{r.user, maps.Clone(r.values), maps.Clone(r.counts), slices.Clone(r.flashes)}
}

func newReference() *reference {
	return &reference{values: map[string]string{}, counts: map[string]int64{}}
}

// carried is the value that Options.Carry must name.
const carried = "kept"

var (
	names    = []string{"a", "b", carried}
	counters = []string{"n", "m"}
	users    = []string{"alice", "bob"}
)

// Random sends random requests of three browsers to a handler that does random steps.
// After each request it compares the session with the reference. The manager must have
// Carry "kept" and no Cap. wrap is the adapter's middleware, like [Middleware].
func Random(t *testing.T, m *session.Manager, wrap func(*session.Manager, http.Handler) http.Handler, seed uint64, requests int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	type visitor struct {
		browser *Browser
		ref     *reference
	}
	var trace []string
	var do func(context.Context, *session.Session)
	handler := wrap(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err != nil {
			t.Errorf("From: %v", err)
			return
		}
		do(r.Context(), s)
		w.WriteHeader(map[bool]int{false: 200, true: 500}[r.URL.Path == "/fails"])
	}))
	visitors := make([]visitor, 3)
	for i := range visitors {
		visitors[i] = visitor{NewBrowser(handler), newReference()}
	}
	for range requests {
		i := rng.IntN(len(visitors))
		v := &visitors[i]
		path := "/"
		if rng.IntN(10) == 0 {
			path = "/fails"
		}
		trace = append(trace, fmt.Sprintf("visitor %d %s:", i, path))
		before := v.ref.clone() // a request that fails keeps only the steps that do not wait for the commit
		do = func(ctx context.Context, s *session.Session) {
			for range 1 + rng.IntN(4) {
				trace = append(trace, step(ctx, t, rng, s, v.ref, before))
			}
		}
		v.browser.Do("POST", path)
		if path == "/fails" {
			v.ref = before
		}
		trace = append(trace, "look")
		do = func(_ context.Context, s *session.Session) { compare(t, s, v.ref) }
		v.browser.Do("GET", "/")
		if t.Failed() {
			t.Fatalf("seed %d: %q", seed, trace[max(0, len(trace)-25):])
		}
	}
}

// step does one step to the session and to the reference. If the step does not wait for
// the commit, it is done to atOnce too.
func step(ctx context.Context, t *testing.T, rng *rand.Rand, s *session.Session, ref, atOnce *reference) string {
	name, value := names[rng.IntN(len(names))], fmt.Sprint("v", rng.IntN(1000))
	key := session.NewKey[string](name)
	saved := s.ID() != "" // an unsaved guest's changes all wait for the commit
	pending := ref.values[name] != atOnce.values[name]
	check := func(err error) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	now := func(change func(*reference)) {
		change(ref)
		if saved && !pending {
			change(atOnce)
		}
	}
	switch kind := rng.IntN(14); kind {
	case 0, 1, 2:
		check(key.Set(s, value))
		ref.values[name] = value
		return "set " + name + "=" + value
	case 3:
		check(key.Delete(s))
		delete(ref.values, name)
		return "delete " + name
	case 4, 5:
		c := counters[rng.IntN(len(counters))]
		n := int64(rng.IntN(7)) - 3
		check(session.NewCounter(c).Add(s, n))
		ref.counts[c] += n
		return fmt.Sprintf("add %s %d", c, n)
	case 6:
		got, ok, err := key.Pop(ctx, s)
		check(err)
		if was, had := ref.values[name]; ok != had || got != was {
			t.Errorf("Pop %s: %q, %v, want %q, %v", name, got, ok, was, had)
		}
		now(func(r *reference) { delete(r.values, name) })
		return "pop " + name
	case 7:
		got, first, err := key.SetNX(ctx, s, value)
		check(err)
		was, had := ref.values[name]
		if !had {
			was = value
			now(func(r *reference) { r.values[name] = value })
		}
		if got != was || first == had {
			t.Errorf("SetNX %s: %q, %v, want %q, %v", name, got, first, was, !had)
		}
		return "setnx " + name
	case 8:
		got, err := key.Update(ctx, s, func(v string) (string, error) { return v + "+", nil })
		check(err)
		if got != ref.values[name]+"+" {
			t.Errorf("Update %s: %q, want %q", name, got, ref.values[name]+"+")
		}
		now(func(r *reference) { r.values[name] = got })
		return "update " + name
	case 9:
		check(s.Flash(session.Message{Text: value}))
		ref.flashes = append(ref.flashes, value)
		return "flash " + value
	case 10:
		if saved && len(atOnce.flashes) != len(ref.flashes) {
			// Some are buffered, and the reference does not model which of them a failed
			// request gives back.
			return ""
		}
		msgs, err := s.Flashes(ctx)
		check(err)
		var texts []string
		for _, m := range msgs {
			texts = append(texts, m.Text)
		}
		if !slices.Equal(texts, ref.flashes) {
			t.Errorf("Flashes: %q, want %q", texts, ref.flashes)
		}
		ref.flashes = nil
		if saved {
			atOnce.flashes = nil
		}
		return "flashes"
	case 11:
		check(s.Save(ctx))
		*atOnce = *ref.clone()
		return "save"
	case 12:
		check(s.Logout(ctx))
		*ref, *atOnce = *newReference(), *newReference()
		return "logout"
	}
	check(s.Save(ctx)) // another test covers whether a login keeps unsaved changes
	user := users[rng.IntN(len(users))]
	check(s.Login(ctx, user, session.LoginOptions{}))
	next := newReference()
	next.user = user
	if ref.user == user {
		next = ref.clone()
	} else if kept, ok := ref.values[carried]; ok && ref.user == "" {
		next.values[carried] = kept
	}
	*ref, *atOnce = *next.clone(), *next
	return "login " + user
}

func compare(t *testing.T, s *session.Session, ref *reference) {
	if s.UserID() != ref.user {
		t.Errorf("user %q, want %q", s.UserID(), ref.user)
	}
	for _, name := range names {
		got, ok, err := session.NewKey[string](name).Lookup(s)
		if want, had := ref.values[name]; err != nil || ok != had || got != want {
			t.Errorf("%s: %q, %v, %v, want %q, %v", name, got, ok, err, want, had)
		}
	}
	for _, name := range counters {
		if got, err := session.NewCounter(name).Get(s); err != nil || got != ref.counts[name] {
			t.Errorf("%s: %d, %v, want %d", name, got, err, ref.counts[name])
		}
	}
}
