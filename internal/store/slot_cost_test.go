package store

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// TestSlotCost counts the commands inside the scripts against their COST lines, and that
// a denial of a caller who does not wait writes nothing.
func TestSlotCost(t *testing.T) {
	client := redistest.NewSingle(t).Client(t)
	store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	rig := &slotRig{t: t, store: store, limit: NewSlotLimit(SlotSpec{Name: "s", Slots: 3, Length: time.Minute}), tag: MakeTag("cost", "slots")}
	rig.acquire("warm", "", 1) // load the scripts
	rig.beat("warm", 1)
	rig.release("warm", 1)
	check := func(script, pattern string, each int, f func()) {
		t.Helper()
		line := readContract(t, script+".lua").lines["COST"]
		m := regexp.MustCompile(pattern).FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("%s: COST %q does not say %s", script, line, pattern)
		}
		want, _ := strconv.Atoi(m[1])
		n := redistest.Commands(t, client, f)
		if got := int(n.Total()-n.Of("evalsha")) - each; got != want {
			t.Errorf("%s: %d commands (%v), COST says %d", script, got, n, want)
		}
	}
	rig.acquire("a", "", 1)
	check("slot_acquire", `(\d+) commands acquired`, 0, func() { rig.acquire("b", "", 1) })
	rig.acquire("c", "", 1)
	check("slot_acquire", `(\d+) denied`, 0, func() { rig.acquire("d", "", 1) })
	if n := redistest.Changes(t, client, func() { rig.acquire("d", "", 1) }); n != 0 {
		t.Errorf("a denial changed %d keys", n)
	}
	check("slot_beat", `(\d+) commands, and 2 for each`, 2, func() { rig.beat("a", 1) })
	check("slot_release", `(\d+) commands, 4 for each`, 4, func() { rig.release("a", 1) })
}
