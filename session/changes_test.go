package session

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
)

// newUnstored returns a session that is not stored yet, of a manager that can do nothing
// else.
func newUnstored(maxBytes int) *Session {
	s := &Session{}
	s.begin(&Manager{cfg: Options{MaxBytes: maxBytes}, values: newValues(nil)}, httptest.NewRequest("GET", "/", nil))
	return s
}

// Setting many values looks at each of them only a few times. The test counts the entries
// that were looked at.
func TestManySetsAreLinear(t *testing.T) {
	for _, n := range []int{100, 400, 1200} {
		s := newUnstored(1 << 20)
		for i := range n {
			if err := (Key[int]{fmt.Sprintf("k%d", i)}).Set(s, i); err != nil {
				t.Fatal(err)
			}
		}
		if most := 32 * n; s.changes.looked > most {
			t.Errorf("%d values: looked at %d entries, want at most %d", n, s.changes.looked, most)
		}
	}
}

// The noted size always equals the sum of all sizes, whatever changes the values.
func TestSumOfSizes(t *testing.T) {
	s := newUnstored(1 << 20)
	for step := range 5000 {
		name := fmt.Sprintf("k%d", rand.N(30))
		s.mu.Lock()
		switch rand.N(7) {
		case 0, 1:
			_ = s.setLocked(name, make([]byte, rand.N(50)))
		case 2:
			s.deleteLocked(name)
		case 3:
			s.learnLocked(name, make([]byte, rand.N(50)), rand.N(2) == 0)
		case 4:
			s.changeLocked(name, func(f *field) { f.change, f.delta = added, 1 })
		case 5:
			if step%50 == 0 {
				s.changes.forget()
			}
		case 6:
			if step%50 == 0 {
				s.discardLocked()
			}
		}
		_ = s.roomLocked("other", 1)
		kept := s.changes.size
		s.changes.sized = false
		if _ = s.roomLocked("other", 1); s.changes.size != kept {
			t.Fatalf("step %d: the sum is %d, want %d", step, kept, s.changes.size)
		}
		s.mu.Unlock()
	}
}
