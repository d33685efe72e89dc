package session_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// watcher collects events.
type watcher struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error

	mu     sync.Mutex // guards events
	events []session.Event
}

// watch begins a watch, and returns when it is subscribed.
func watch(t *testing.T, m *session.Manager) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{t: t, cancel: cancel, done: make(chan error, 1)}
	go func() {
		w.done <- m.Watch(ctx, func(e session.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		})
	}()
	t.Cleanup(w.stop)
	w.until("the beginning", func(es []session.Event) bool { return len(es) > 0 })
	if first := w.all()[0]; first.Kind != session.Missed {
		t.Errorf("first event %v, want Missed", first.Kind)
	}
	return w
}

func (w *watcher) stop() {
	w.cancel()
	select {
	case err := <-w.done:
		if !errors.Is(err, context.Canceled) {
			w.t.Errorf("Watch: %v, want context.Canceled", err)
		}
	case <-time.After(time.Minute):
		w.t.Error("Watch does not end with its context")
	}
	w.done <- context.Canceled
}

func (w *watcher) all() []session.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// until waits for events that satisfy the test.
func (w *watcher) until(what string, ok func([]session.Event) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(w.all()); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited for %s in vain: %v", what, w.all())
		}
	}
}

func TestWatch(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv, func(c *settings) { c.Cap = 1 })
		w := watch(t, newSiteOn(t, st.client, st.prefix).m) // another process
		b := st.browser()
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		want(t, b.Do("POST", "/login?user=alice"), 200, "")
		id := ""
		st.request(b, func(ctx context.Context, s *session.Session) { id = s.ID(); st.check(s.Rotate(ctx)) })
		want(t, b.Do("GET", "/who"), 200, "alice")
		c := st.login("alice") // the cap is 1
		want(t, c.Do("POST", "/logout"), 200, "")
		_, err := st.m.RevokeUser(t.Context(), "alice")
		st.check(err)
		st.check(st.m.RevokeAll(t.Context()))
		kinds := func(es []session.Event) (names []string) {
			for _, e := range es[1:] {
				names = append(names, e.Kind.String()+" "+e.Reason)
			}
			return names
		}
		wanted := []string{
			"Created guest", "Created login", "Revoked login", "Rotated confirmed", "Evicted cap", "Created login",
			"Revoked logout", "Revoked user", "Revoked everyone",
		}
		w.until("all events", func(es []session.Event) bool { return len(es) > len(wanted) })
		events := w.all()
		got := kinds(events)
		// On a cluster events of different nodes come in no order.
		slices.Sort(got)
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("got  %q\nwant %q", got, wanted)
		}
		for _, e := range events {
			if time.Since(e.At).Abs() > time.Minute {
				t.Errorf("%v at %v", e.Kind, e.At)
			}
			switch e.Kind {
			case session.Rotated, session.Evicted:
				if e.ID != id || !e.Of("alice") || e.Of("bob") {
					t.Errorf("event %+v is not about alice's session %s", e, id)
				}
			}
		}
	})
}

func TestWatchTellsOfGaps(t *testing.T) {
	redistest.Long(t)
	t.Parallel() // it waits for heartbeats
	srv := redistest.NewSingle(t)
	proxy := redistest.NewProxy(t, srv.Nodes()[0].Addr())
	st := newSite(t, srv)
	other := newSiteOn(t, redistest.NewClient(t, proxy.Addr()), st.prefix)
	w := watch(t, other.m)
	missed := func(n int) func([]session.Event) bool {
		return func(es []session.Event) bool {
			found := 0
			for _, e := range es {
				if e.Kind == session.Missed {
					found++
				}
			}
			return found >= n
		}
	}
	proxy.Reset() // the connection ends
	w.until("the first gap", missed(2))
	st.login("alice")
	w.until("an event after the gap", func(es []session.Event) bool { return es[len(es)-1].Kind == session.Created })
	// A connection that is silent for ever looks like one without events, so it is
	// replaced.
	proxy.BlackHole(true)
	st.login("alice")
	conns := proxy.Traffic().Conns
	for giveUp := time.Now().Add(time.Minute); proxy.Traffic().Conns == conns; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatal("the silent connection is not replaced")
		}
	}
	proxy.Heal()
	w.until("the second gap", missed(3))
	st.login("bob")
	w.until("an event after the gap", func(es []session.Event) bool { return es[len(es)-1].Of("bob") })
	// A quiet time is no gap. If the machine stood still for long there may be a gap, but
	// not every time.
	for tries := 1; ; tries++ {
		n := len(w.all())
		time.Sleep(4 * time.Second) // more than a heartbeat
		got := len(w.all())
		if got == n {
			return
		}
		t.Logf("%d events on a quiet connection: %v", got-n, w.all()[n:])
		if tries == 10 {
			t.Fatal("events on a quiet connection, each time")
		}
	}
}

func TestWatchEndsWithoutAServer(t *testing.T) {
	client := redistest.NewClient(t, "127.0.0.1:1", func(o *redis.UniversalOptions) { o.MaxRetries = -1 })
	st := newSiteOn(t, client, "x")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := st.m.Watch(ctx, func(e session.Event) { t.Errorf("event %v", e) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch: %v", err)
	}
}

// Logins work for a user of Redis without the permission to publish: PUBLISH comes last,
// and its error is ignored.
func TestPublishIsNotNeeded(t *testing.T) {
	srv := redistest.NewSingle(t)
	admin := srv.Client(t)
	prefix := redistest.Prefix(t)
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">pw", "~"+prefix+":*", "resetchannels", "+@all", "-publish").Err(); err != nil {
		t.Fatal(err)
	}
	st := newSiteOn(t, srv.Client(t, func(o *redis.UniversalOptions) { o.Username, o.Password = "app", "pw" }), prefix)
	b := st.login("alice")
	want(t, b.Do("GET", "/who"), 200, "alice")
	want(t, b.Do("POST", "/logout"), 200, "")
	want(t, b.Do("GET", "/who"), 200, "")
}

func TestEventKindsHaveNames(t *testing.T) {
	for k := session.Missed; k <= session.Replayed; k++ {
		if strings.Contains(k.String(), "(") {
			t.Errorf("kind %d has no name", k)
		}
	}
	if session.EventKind(99).String() != "EventKind(99)" {
		t.Error("unknown kind")
	}
}
