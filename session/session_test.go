package session_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestGuestKeepsValues(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.browser()
		want(t, b.Do("GET", "/get?k=color"), 200, "(none)")
		if b.Cookie(cookieName) != "" {
			t.Error("a visitor who set nothing has a cookie")
		}
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		want(t, st.browser().Do("GET", "/get?k=color"), 200, "(none)")
		redistest.NoImmortalKeys(t, st.client, st.prefix)
	})
}

func TestLoginAndLogout(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.browser()
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		guest := b.Clone()
		want(t, b.Do("POST", "/login?user=alice"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "alice")
		if b.Cookie(cookieName) == guest.Cookie(cookieName) {
			t.Error("login kept the guest's token")
		}
		want(t, b.Do("GET", "/get?k=color"), 200, "(none)") // nothing is carried by default
		want(t, guest.Do("GET", "/who"), 200, "")
		old := b.Clone()
		want(t, b.Do("POST", "/logout"), 200, "")
		if b.Cookie(cookieName) != "" {
			t.Error("logout left the cookie")
		}
		want(t, old.Do("GET", "/who"), 200, "")
		redistest.NoImmortalKeys(t, st.client, st.prefix)
	})
}

func TestCarryByAllowList(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv, func(c *settings) { c.Carry = []string{"cart"} })
		b := st.browser()
		want(t, b.Do("POST", "/set?k=cart&v=book"), 200, "")
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		st.request(b, func(ctx context.Context, s *session.Session) {
			st.check(session.NewKey[string]("step").Set(s, "2"))
			st.check(s.Login(ctx, "alice", session.LoginOptions{}))
		})
		want(t, b.Do("GET", "/get?k=cart"), 200, "book")
		want(t, b.Do("GET", "/get?k=color"), 200, "(none)")
		want(t, b.Do("GET", "/get?k=step"), 200, "2") // set by the request that logged in
		// The same user again: a new session with all that the old one had.
		old := b.Clone()
		want(t, b.Do("POST", "/login?user=alice"), 200, "")
		want(t, b.Do("GET", "/get?k=cart"), 200, "book")
		want(t, old.Do("GET", "/who"), 200, "")
		// Another user: nothing.
		want(t, b.Do("POST", "/login?user=bob"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "bob")
		want(t, b.Do("GET", "/get?k=cart"), 200, "(none)")
		infos, _, err := st.m.List(t.Context(), "alice", "")
		if err != nil || len(infos) != 0 {
			t.Errorf("alice has %d sessions (%v), want 0", len(infos), err)
		}
	})
}

func TestPopSetNXUpdate(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		for _, stored := range []bool{false, true} {
			b := st.browser()
			if stored {
				want(t, b.Do("POST", "/set?k=x&v=y"), 200, "")
			}
			st.request(b, func(ctx context.Context, s *session.Session) {
				v, first, err := color.SetNX(ctx, s, "red")
				if v != "red" || !first || err != nil {
					t.Errorf("first SetNX: %q, %v, %v", v, first, err)
				}
				v, first, err = color.SetNX(ctx, s, "blue")
				if v != "red" || first || err != nil {
					t.Errorf("second SetNX: %q, %v, %v", v, first, err)
				}
				list, err := cart.Update(ctx, s, func(l []string) ([]string, error) { return append(l, "a"), nil })
				if err != nil || !slices.Equal(list, []string{"a"}) {
					t.Errorf("Update: %v, %v", list, err)
				}
			})
			st.request(b, func(ctx context.Context, s *session.Session) {
				list, err := cart.Update(ctx, s, func(l []string) ([]string, error) { return append(l, "b"), nil })
				if err != nil || !slices.Equal(list, []string{"a", "b"}) {
					t.Errorf("second Update: %v, %v", list, err)
				}
				boom := errors.New("boom")
				if _, err := cart.Update(ctx, s, func(l []string) ([]string, error) { return nil, boom }); !errors.Is(err, boom) {
					t.Errorf("Update: error %v, want the function's own", err)
				}
				v, ok, err := color.Pop(ctx, s)
				if v != "red" || !ok || err != nil {
					t.Errorf("Pop: %q, %v, %v", v, ok, err)
				}
				if _, ok, _ := color.Pop(ctx, s); ok {
					t.Error("second Pop found the value again")
				}
				if _, ok, _ := color.Lookup(s); ok {
					t.Error("Lookup finds what was popped")
				}
				st.check(color.Set(s, "green"))
				if v, ok, _ := color.Pop(ctx, s); v != "green" || !ok {
					t.Errorf("Pop of a buffered value: %q, %v", v, ok)
				}
			})
			want(t, b.Do("GET", "/get?k=color"), 200, "(none)")
			st.request(b, func(ctx context.Context, s *session.Session) {
				if list, err := cart.Get(s); err != nil || !slices.Equal(list, []string{"a", "b"}) {
					t.Errorf("cart: %v, %v", list, err)
				}
			})
		}
	})
}

func TestFlashesAreDeliveredOnce(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.browser()
		st.request(b, func(ctx context.Context, s *session.Session) {
			st.check(s.Flash(session.Message{Kind: "done", Text: "one"}))
			st.check(s.Flash(session.Message{Text: "two"}))
		})
		st.request(b, func(ctx context.Context, s *session.Session) {
			msgs, err := s.Flashes(ctx)
			if err != nil || len(msgs) != 2 || msgs[0] != (session.Message{Kind: "done", Text: "one"}) {
				t.Errorf("got %v, %v", msgs, err)
			}
			st.check(s.Flash(session.Message{Text: "three"}))
			if msgs, err := s.Flashes(ctx); err != nil || len(msgs) != 1 {
				t.Errorf("buffered: %v, %v", msgs, err)
			}
		})
		st.request(b, func(ctx context.Context, s *session.Session) {
			if msgs, err := s.Flashes(ctx); err != nil || len(msgs) != 0 {
				t.Errorf("got %v, %v again", msgs, err)
			}
		})
	})
}

func TestClearKeepsTheLogin(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		b := st.login("alice", "remember=1")
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		st.request(b, func(ctx context.Context, s *session.Session) {
			st.check(cart.Set(s, []string{"x"}))
			st.check(s.Clear())
			if _, ok, _ := cart.Lookup(s); ok {
				t.Error("Clear left a buffered value")
			}
		})
		want(t, b.Do("GET", "/get?k=color"), 200, "(none)")
		want(t, b.Do("GET", "/who"), 200, "alice")
	})
}

func TestSumsOfGuestsAreNotCarried(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		login := func(ctx context.Context, s *session.Session) {
			st.check(hits.Add(s, 1))
			st.check(s.Login(ctx, "alice", session.LoginOptions{}))
		}
		b := st.browser()
		st.request(b, login)
		want(t, b.Do("GET", "/hits"), 200, "1") // all of it is this request's
		b = st.browser()
		want(t, b.Do("POST", "/add"), 200, "") // planted
		st.request(b, login)
		want(t, b.Do("GET", "/hits"), 200, "0")
	})
}

func TestGivenAddressIsMasked(t *testing.T) {
	st := newSite(t, redistest.Embedded(t))
	st.request(st.browser(), func(ctx context.Context, s *session.Session) {
		st.check(s.Login(ctx, "alice", session.LoginOptions{Device: session.Device{IP: "198.51.100.9", Label: "x"}}))
	})
	infos, _, err := st.m.List(t.Context(), "alice", "")
	if err != nil || len(infos) != 1 || infos[0].Device.IP != "198.51.100.0" {
		t.Errorf("got %+v, %v", infos, err)
	}
}
