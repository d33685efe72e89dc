package store

import (
	"context"
	"testing"
	"time"
)

// TestExpiredWaiterIsNotDrafted: a call that was told at its deadline that nothing was
// done stays out of a batch, also of one that read the clock before the deadline.
func TestExpiredWaiterIsNotDrafted(t *testing.T) {
	s := &Store{budget: time.Hour}
	w := s.newWaiter(context.Background())
	w.expire()
	if w.draft(0, time.Now()) {
		t.Error("drafted after its deadline")
	}
	if b := <-w.turn; b != nil || w.outcome() != notSent {
		t.Errorf("told %v, outcome %v; want that nothing was sent", b, w.outcome())
	}
}
