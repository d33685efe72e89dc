package session

import (
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
)

func TestTypesAreBounded(t *testing.T) {
	var ts types
	number, text := reflect.TypeFor[int](), reflect.TypeFor[string]()
	for i := range 2 * maxTypes {
		if err := ts.check(fmt.Sprint(i), number); err != nil {
			t.Fatal(err)
		}
		_ = ts.check(flashName(time.Now()), number)
	}
	if n := len(*ts.known.Load()); n != maxTypes {
		t.Errorf("%d names are known, want %d", n, maxTypes)
	}
	if ts.check(fmt.Sprint(maxTypes-1), text) == nil {
		t.Error("the last name that is known has two types")
	}
	if err := ts.check(fmt.Sprint(maxTypes), text); err != nil {
		t.Errorf("a name beyond: %v", err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = ts.check("1", number) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestRevocationsAreBounded(t *testing.T) {
	var r revocations
	for i := range maxRevoked {
		r.note(fmt.Sprint(i), 7)
	}
	later := time.Now().Add(time.Second)
	if r.before("0", later) != 7 || len(r.made) != maxRevoked {
		t.Fatalf("%d users are known, want %d, the first with epoch %d", len(r.made), maxRevoked, r.before("0", later))
	}
	// With 1,024 users, the revocations of the last minute stay.
	for i := range maxRevoked / 2 {
		old := r.made[fmt.Sprint(i)]
		old.at = old.at.Add(-revokedAge - time.Second)
		r.made[fmt.Sprint(i)] = old
	}
	r.note("one more", 8)
	if len(r.made) != maxRevoked/2+1 || r.before("0", later) != 0 || r.before(fmt.Sprint(maxRevoked-1), later) != 7 {
		t.Errorf("%d users are known, want those of the last minute and one", len(r.made))
	}
	for i := range 3 * maxRevoked {
		if r.note(fmt.Sprint("flood", i), 9); len(r.made) > maxRevoked {
			t.Fatalf("%d users are known, want at most %d", len(r.made), maxRevoked)
		}
	}
	if last := fmt.Sprint("flood", 3*maxRevoked-1); r.before(last, later) != 9 {
		t.Error("the last revocation is not known")
	}
}

// TestFlashesOfYesterday: messages that are not shown within a day are dropped, the
// others stay.
func TestFlashesOfYesterday(t *testing.T) {
	m, err := New(kvtest.Open(t, redistest.Embedded(t).Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := new(Session)
	s.begin(m, httptest.NewRequest("GET", "/", nil))
	now := time.Now()
	for _, age := range []time.Duration{flashAge + time.Minute, flashAge - time.Minute, 0} {
		if err := (Key[Message]{flashName(now.Add(-age))}).Set(s, Message{Text: age.String()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flash(Message{Text: "new"}); err != nil {
		t.Fatal(err)
	}
	msgs, err := s.Flashes(t.Context())
	var texts []string
	for _, msg := range msgs {
		texts = append(texts, msg.Text)
	}
	if got := strings.Join(texts, " "); err != nil || got != "23h59m0s 0s new" {
		t.Errorf("got %q, %v, want those of the last day", got, err)
	}
}
