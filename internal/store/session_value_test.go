package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

func TestCommitChangesOnlyItsFields(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice", func(c *store.SessionCreate) {
			c.Values = []store.Field{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}, {Name: "n", Value: "-7"}}
		})
		ttl := r.pttl(r.recordKey(l))
		want(t, "commit", r.commit(l, set("a", "9"), remove("b"), add("n", 10), add("new", 4), set("c", ""), func(c *store.SessionCommit) {
			c.Nonce = "nonce"
		}), store.SessionOK)
		got := r.load(l)
		for name, expected := range map[string]string{"a": "9", "b": "(none)", "n": "3", "new": "4", "c": "", "!n": "nonce"} {
			t.Run(name, func(t *testing.T) {
				want(t, name, value(got, name), expected)
			})
		}
		if after := r.pttl(r.recordKey(l)); after > ttl {
			t.Errorf("commit moved the TTL from %v to %v", ttl, after)
		}
		nonce, err := r.store.SessionNonce(t.Context(), l.keys)
		if nonce != "nonce" || err != nil {
			t.Errorf("nonce = %q, %v", nonce, err)
		}
		// Add works on what the same commit leaves.
		want(t, "commit", r.commit(l, remove("a"), add("a", 5), set("c", "40"), add("c", 2)), store.SessionOK)
		want(t, "a", value(r.load(l), "a"), "5")
		want(t, "c", value(r.load(l), "c"), "42")
	})
}

func TestCommitOfManyFields(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice")
		var many []func(*store.SessionCommit)
		for i := range 1500 {
			many = append(many, set(fmt.Sprint("f", i), "v"))
		}
		want(t, "set", r.commit(l, many...), store.SessionOK)
		for i := range many {
			many[i] = remove(fmt.Sprint("f", i))
		}
		record := r.load(l)
		n := 0
		for range record.Values() {
			n++
		}
		want(t, "fields", n, 1500)
		want(t, "delete", r.commit(l, many...), store.SessionOK)
		record = r.load(l)
		for name := range record.Values() {
			t.Fatalf("%s is still there", name)
		}
	})
}

func TestCommitValidatesBeforeItWrites(t *testing.T) {
	const limit = 1 << 53
	for _, c := range []struct {
		name, value string
		add         int64
		want        store.SessionStatus
	}{
		{"json", `{"a":1}`, 1, store.SessionBadType},
		{"fraction", "1.5", 1, store.SessionBadType},
		{"exponent", "1e3", 1, store.SessionBadType},
		{"hex", "0x10", 1, store.SessionBadType},
		{"empty", "", 1, store.SessionBadType},
		{"space", " 1", 1, store.SessionBadType},
		{"too long", "99999999999999999999", -1, store.SessionBadType},
		{"sum too big", fmt.Sprint(limit - 1), 1, store.SessionBadType},
		{"sum too small", fmt.Sprint(-limit + 1), -1, store.SessionBadType},
		{"delta too big", "0", limit + 1, store.SessionBadType},
		{"biggest", fmt.Sprint(limit - 2), 1, store.SessionOK},
		{"smallest", fmt.Sprint(-limit + 2), -1, store.SessionOK},
		{"to zero", "-5", 5, store.SessionOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, r *rig) {
				l := r.login("alice", func(create *store.SessionCreate) {
					create.Values = []store.Field{{Name: "x", Value: c.value}, {Name: "del", Value: "1"}}
				})
				want(t, "status", r.commit(l, set("other", "1"), remove("del"), add("first", 1), add("x", c.add)), c.want)
				got := r.load(l)
				if c.want == store.SessionOK {
					n := int64(0)
					_, _ = fmt.Sscan(c.value, &n)
					want(t, "x", value(got, "x"), fmt.Sprint(n+c.add))
					return
				}
				for name, expected := range map[string]string{"x": c.value, "other": "(none)", "first": "(none)", "del": "1", "!n": "(none)"} {
					want(t, name+" after a refused commit", value(got, name), expected)
				}
			})
		})
	}
}

func TestPopSetNXCompareAndSet(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		l := r.login("alice", func(c *store.SessionCreate) { c.Values = []store.Field{{Name: "a", Value: "\x00\r\n"}} })
		show := func(v store.SessionValue, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			want(t, "now", v.Now, time.UnixMilli(r.now))
			return fmt.Sprintf("%d %v %q", v.Status, v.Found, v.Value)
		}
		ctx := t.Context()
		swap := func(present bool, old, new string) string {
			t.Helper()
			return show(r.store.SessionCompareAndSet(ctx, store.SessionSwap{Keys: l.keys, Name: "b", Present: present, Old: old, New: new}))
		}
		want(t, "pop", show(r.store.SessionPop(ctx, l.keys, 0, "a")), `1 true "\x00\r\n"`)
		want(t, "pop again", show(r.store.SessionPop(ctx, l.keys, 0, "a")), `1 false ""`)
		want(t, "setnx", show(r.store.SessionSetNX(ctx, l.keys, 0, "b", "one")), `1 false ""`)
		want(t, "setnx again", show(r.store.SessionSetNX(ctx, l.keys, 0, "b", "two")), `1 true "one"`)
		want(t, "swap of another value", swap(true, "zero", "three"), `8 true "one"`)
		want(t, "swap of none", swap(false, "", "three"), `8 true "one"`)
		want(t, "swap", swap(true, "one", "three"), `1 true "one"`)
		want(t, "b", value(r.load(l), "b"), "three")
		want(t, "pop", show(r.store.SessionPop(ctx, l.keys, 0, "b")), `1 true "three"`)
		want(t, "swap of a value that is gone", swap(true, "three", "four"), `8 false ""`)
		want(t, "swap of none", swap(false, "", ""), `1 false ""`)
		want(t, "swap of an empty value", swap(true, "", "five"), `1 true ""`)
		r.drop(l, false)
		want(t, "pop of the dead", show(r.store.SessionPop(ctx, l.keys, 0, "b")), `2 false ""`)
		want(t, "setnx of the dead", show(r.store.SessionSetNX(ctx, l.keys, 0, "b", "")), `2 false ""`)
		want(t, "swap of the dead", swap(false, "", ""), `2 false ""`)
	})
}
