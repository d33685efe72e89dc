package session

import (
	"context"
	"errors"
	"testing"
	"time"
)

// asked returns an epoch with a fetch under way. The test decides how the fetch ends.
func asked(t *testing.T, e *epoch) (end func(f func() (int64, error)), died <-chan any) {
	t.Helper()
	how, began, over := make(chan func() (int64, error)), make(chan bool), make(chan any, 1)
	e.failed = func(error) {}
	e.fetch = func(context.Context) (int64, error) {
		began <- true
		return (<-how)()
	}
	go func() {
		defer func() { over <- recover() }()
		_, _ = e.get(context.Background())
	}()
	<-began
	return func(f func() (int64, error)) { how <- f }, over
}

type answer struct {
	value int64
	err   error
}

func waitFor(ctx context.Context, e *epoch) <-chan answer {
	got := make(chan answer, 1)
	go func() {
		v, err := e.get(ctx)
		got <- answer{v, err}
	}()
	return got
}

func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for ever")
	}
	return v
}

// If the request that reads the global epoch panics, the requests that wait for it go on,
// and so do later ones.
func TestEpochOutlivesAPanic(t *testing.T) {
	long := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name string
		at   time.Time
		want answer
	}{
		{"never read", time.Time{}, answer{0, ErrUnavailable}},
		{"read long ago", long, answer{7, nil}},
	} {
		e := &epoch{patience: time.Minute, at: c.at}
		if !c.at.IsZero() {
			e.value = 7
		}
		end, died := asked(t, e)
		e.mu.Lock()
		q := e.asked
		e.mu.Unlock()
		waiting := make(chan answer, 1)
		go func() {
			v, err := e.wait(t.Context(), q)
			waiting <- answer{v, err}
		}()
		end(func() (int64, error) { panic("a hook") })
		if cause := receive(t, died); cause != "a hook" {
			t.Errorf("%s: the one who asked got %v, want the panic", c.name, cause)
		}
		if got := receive[answer](t, waiting); got.value != c.want.value || !errors.Is(got.err, c.want.err) {
			t.Errorf("%s: the one who waited got %v, want %v", c.name, got, c.want)
		}
		e.fetch, e.at = func(context.Context) (int64, error) { return 9, nil }, c.at
		if got := receive(t, waitFor(t.Context(), e)); got != (answer{9, nil}) {
			t.Errorf("%s: the next one got %v, want 9", c.name, got)
		}
	}
}

// A request stops waiting when its context ends or the budget is over.
func TestEpochIsNotWaitedForForEver(t *testing.T) {
	for _, known := range []bool{false, true} {
		e := &epoch{patience: time.Millisecond}
		wanted := answer{0, ErrUnavailable}
		if known {
			e.value, e.at, wanted = 7, time.Now().Add(-time.Hour), answer{7, nil}
		}
		end, died := asked(t, e)
		if got := receive(t, waitFor(t.Context(), e)); got.value != wanted.value || !errors.Is(got.err, wanted.err) {
			t.Errorf("known %v: at the budget %v, want %v", known, got, wanted)
		}
		e.patience = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if got := receive(t, waitFor(ctx, e)); got.value != wanted.value || !errors.Is(got.err, wanted.err) {
			t.Errorf("known %v: at the end of the context %v, want %v", known, got, wanted)
		}
		end(func() (int64, error) { return 9, nil })
		receive(t, died)
	}
}
