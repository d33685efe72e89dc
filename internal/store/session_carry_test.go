package store_test

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// carrying returns a creation that carries over the old session: a guest's, or a user's
// whose time of authentication is unknown.
func carrying(old string) func(*store.SessionCreate) {
	return func(c *store.SessionCreate) {
		c.Old, c.OldLife, c.Authenticated, c.Level = old, 2*c.Life, time.Unix(0, 0), 1
	}
}

// carry carries the old session over, under the keys of before.
func (r *rig) carry(l login, old string) store.SessionStatus {
	r.t.Helper()
	create := r.create(l.keys.User)
	create.Keys, create.PublicID, create.TokenHash = r.at(l.keys), random(22), l.token
	carrying(old)(&create)
	reply, err := r.store.SessionCreate(r.t.Context(), create)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply.Status
}

func TestCarryOverOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, user := range []string{"alice", ""} {
			l := r.login(user, carrying("old"+user))
			if s := r.carry(l, "old"+user); s != store.SessionOK {
				t.Errorf("%q: again: %v, want OK", user, s)
			}
			if got := r.load(l); got.PublicID != l.id || !got.Authenticated.IsZero() || user != "" && got.Level != 1 {
				t.Errorf("%q: id %q, want that of the first run %q; authenticated %v, level %d", user, got.PublicID, l.id, got.Authenticated, got.Level)
			}
			r.drop(l, true)
			if s := r.carry(l, "old"+user); s != store.SessionSuperseded {
				t.Errorf("%q: after a logout: %v, want Superseded", user, s)
			}
			r.drop(l, false)
			if s := r.carry(l, "old"+user); s != store.SessionGone {
				t.Errorf("%q: after its end: %v, want Gone", user, s)
			}
			if s := r.carry(l, "other"+user); s != store.SessionOK {
				t.Errorf("%q: another old session: %v, want OK", user, s)
			}
		}
		for _, key := range redistest.Keys(t, r.client, r.prefix+":o:") {
			if ttl := r.client.PTTL(t.Context(), key).Val(); ttl <= life || ttl > 2*life {
				t.Errorf("%s is kept for %v, want %v", key, ttl, 2*life)
			}
		}
	})
}

// Any epoch counts as later than an authentication at an unknown time, also an epoch that
// is in the future because the clock stepped back.
func TestCarryOverAfterRevocation(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.epoch("alice", nil)
		l := login{keys: store.SessionKeys{Tag: r.tag, Member: random(32), User: "alice"}, token: random(43)}
		for _, step := range []int64{0, 3_600_000, -7_200_000} {
			r.now += step
			if s := r.carry(l, "old"); s != store.SessionStale {
				t.Errorf("clock at %+d ms: %v, want Stale", step, s)
			}
		}
		l.keys.User = "bob"
		if s := r.carry(l, "old"); s != store.SessionOK {
			t.Errorf("another user: %v, want OK", s)
		}
	})
}

func TestCarryOverNeedsALife(t *testing.T) {
	r := newRig(t, redistest.Embedded(t), nil)
	create := r.create("alice")
	carrying("old")(&create)
	create.OldLife = create.Life - time.Millisecond
	if _, err := r.store.SessionCreate(t.Context(), create); err == nil {
		t.Error("what was carried over would be forgotten before it ends")
	}
}

func TestForeignGet(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		check := func(name string, want store.ForeignValue) {
			t.Helper()
			got, err := r.store.ForeignGet(ctx, r.prefix+name)
			near := got.Left <= want.Left && got.Left > want.Left-time.Minute
			if err != nil || got.Found != want.Found || string(got.Data) != string(want.Data) || !near {
				t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
			}
		}
		check("none", store.ForeignValue{})
		for name, life := range map[string]time.Duration{"hour": time.Hour, "ever": 0} {
			if err := r.client.Set(ctx, r.prefix+name, "a\r\nb", life).Err(); err != nil {
				t.Fatal(err)
			}
			check(name, store.ForeignValue{Found: true, Data: []byte("a\r\nb"), Left: life})
		}
		r.client.Del(ctx, r.prefix+"ever")
		if err := r.client.HSet(ctx, r.prefix+"hash", "a", "b").Err(); err != nil {
			t.Fatal(err)
		}
		check("hash", store.ForeignValue{})
		r.client.Del(ctx, r.prefix+"hash")
	})
}
