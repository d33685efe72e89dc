package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type contextKey struct{}

func newDeadline(parent context.Context, d time.Duration) *deadline {
	return &deadline{Context: parent, at: time.Now().Add(d)}
}

func isOpen(done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func TestDeadlineExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, asked := range []bool{true, false} { // for Done before the end
			d := newDeadline(context.Background(), time.Second)
			if at, ok := d.Deadline(); !ok || !at.Equal(d.at) {
				t.Errorf("Deadline() = %v, %v; want %v", at, ok, d.at)
			}
			var done <-chan struct{}
			if asked {
				done = d.Done()
			}
			time.Sleep(time.Second - time.Nanosecond)
			synctest.Wait()
			if d.Err() != nil || asked && !isOpen(done) {
				t.Errorf("ended 1 ns early: %v", d.Err())
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if asked && isOpen(done) {
				t.Error("Done is open at the deadline")
			}
			if !errors.Is(d.Err(), context.DeadlineExceeded) || isOpen(d.Done()) {
				t.Errorf("at the deadline: %v, Done open %v", d.Err(), isOpen(d.Done()))
			}
			d.end(context.Canceled)
			if !errors.Is(d.Err(), context.DeadlineExceeded) {
				t.Errorf("end changed the error to %v", d.Err())
			}
		}
	})
}

func TestDeadlineEndsWithItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, asked := range []bool{true, false} {
			d := newDeadline(context.Background(), time.Second)
			var done <-chan struct{}
			if asked {
				done = d.Done()
			}
			d.end(context.Canceled)
			d.end(context.DeadlineExceeded) // twice is once
			if asked && isOpen(done) {
				t.Error("Done is open after the end")
			}
			if isOpen(d.Done()) || !errors.Is(d.Err(), context.Canceled) {
				t.Errorf("after the end: %v, Done open %v", d.Err(), isOpen(d.Done()))
			}
			if d.timer != nil && d.timer.Stop() {
				t.Error("the timer runs on after the end")
			}
		}
	})
}

// TestDeadlineIgnoresCancel: a deadline has its parent's values, and does not end with
// it.
func TestDeadlineIgnoresCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(context.WithValue(context.Background(), contextKey{}, "value"))
		d := newDeadline(parent, time.Second)
		done := d.Done()
		child, stop := context.WithCancel(d) // as the client does where it dials
		defer stop()
		cancel()
		synctest.Wait()
		if d.Err() != nil || !isOpen(done) || child.Err() != nil {
			t.Errorf("after the parent's cancel: %v, Done open %v, child %v", d.Err(), isOpen(done), child.Err())
		}
		if d.Value(contextKey{}) != "value" {
			t.Error("the parent's value is lost")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("child at the deadline: %v", child.Err())
		}
	})
}

// TestDeadlineIsTheEarlier of the budget and the caller's.
func TestDeadlineIsTheEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{budget: time.Second}
		for _, c := range []struct{ callers, want time.Duration }{
			{0, time.Second}, {time.Hour, time.Second}, {time.Millisecond, time.Millisecond}, {-time.Second, -time.Second},
		} {
			ctx := context.Background()
			if c.callers != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(ctx, time.Now().Add(c.callers))
				defer cancel()
			}
			if got := time.Until(s.begin(ctx, limitTake, 1).at); got != c.want {
				t.Errorf("caller's %v, budget 1s: ends in %v, want %v", c.callers, got, c.want)
			}
		}
	})
}
