package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

func TestDevices(t *testing.T) {
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv, func(c *settings) { c.Cap = -1 })
		agent := "Mozilla/5.0 (a very long user agent " + strings.Repeat("x", 100) + ")"
		enter := func(label, addr string) *browsertest.Browser {
			b := st.browser()
			st.on("/in", func(w http.ResponseWriter, r *http.Request, s *session.Session) {
				st.check(s.Login(r.Context(), "alice", session.LoginOptions{Device: session.Device{Label: label}, Level: 2}))
			})
			r := b.Request("POST", "/in", nil)
			r.RemoteAddr = addr
			r.Header.Set("User-Agent", agent)
			b.Keep(b.Send(r))
			return b
		}
		phone, laptop := enter("phone", "203.0.113.77:1234"), enter("laptop", "[2001:db8:1:2:3::4%eth0]:99")
		st.request(laptop, func(ctx context.Context, s *session.Session) {
			infos, next, err := st.m.List(ctx, "alice", "")
			if err != nil || len(infos) != 2 || next != "" {
				t.Fatalf("got %v, %q, %v", infos, next, err)
			}
			for _, i := range infos {
				if i.Current != (i.ID == s.ID()) || len(i.ID) != 22 || i.Level != 2 || len(i.Device.UserAgent) != 64 ||
					time.Since(i.Created).Abs() > time.Minute || time.Since(i.LastSeen).Abs() > time.Minute || time.Until(i.Expires) < 29*time.Minute {
					t.Errorf("odd entry %+v", i)
				}
				wantIP := map[string]string{"phone": "203.0.113.0", "laptop": "2001:db8:1::"}[i.Device.Label]
				if i.Device.IP != wantIP {
					t.Errorf("%s: address %q, want %q", i.Device.Label, i.Device.IP, wantIP)
				}
				if !i.Current {
					// Under another user's id the session is not found.
					if err := st.m.Revoke(ctx, "bob", i.ID); !errors.Is(err, session.ErrGone) {
						t.Errorf("bob revoked alice's session: %v", err)
					}
					st.check(st.m.Revoke(ctx, "alice", i.ID))
					if err := st.m.Revoke(ctx, "alice", i.ID); !errors.Is(err, session.ErrGone) {
						t.Errorf("revoked twice: %v", err)
					}
				}
			}
		})
		want(t, phone.Do("GET", "/who"), 200, "")
		want(t, laptop.Do("GET", "/who"), 200, "alice")
		for range 120 {
			enter("many", "192.0.2.1:1")
		}
		seen := map[string]bool{}
		pages := 0
		for cursor := ""; ; pages++ {
			infos, next, err := st.m.List(t.Context(), "alice", cursor)
			st.check(err)
			for _, i := range infos {
				seen[i.ID] = true
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		if len(seen) != 121 || pages != 1 {
			t.Errorf("%d sessions on %d pages, want 121 on 2", len(seen), pages+1)
		}
		st.request(laptop, func(ctx context.Context, s *session.Session) {
			if n, err := s.RevokeOthers(ctx); n != 120 || err != nil {
				t.Errorf("RevokeOthers: %d, %v, want 120", n, err)
			}
		})
		want(t, laptop.Do("GET", "/who"), 200, "alice")
		want(t, laptop.Do("POST", "/add"), 200, "")
		if n, err := st.m.RevokeUser(t.Context(), "alice"); n != 1 || err != nil {
			t.Errorf("RevokeUser: %d, %v, want 1", n, err)
		}
		want(t, laptop.Do("GET", "/who"), 200, "")
	})
}

// Another process hears of RevokeAll within a second, without events.
func TestRevokeAllReachesOtherProcesses(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	each(t, func(t *testing.T, srv *redistest.Server) {
		st := newSite(t, srv)
		other := newSiteOn(t, st.client, st.prefix)
		b := other.login("alice")
		guest := other.browser()
		want(t, guest.Do("POST", "/set?k=color&v=red"), 200, "")
		st.check(st.m.RevokeAll(t.Context()))
		time.Sleep(1100 * time.Millisecond)
		want(t, b.Do("GET", "/who"), 200, "")
		want(t, guest.Do("GET", "/get?k=color"), 200, "(none)")
		want(t, b.Do("POST", "/login?user=alice"), 200, "")
		want(t, b.Do("GET", "/who"), 200, "alice")
		redistest.NoImmortalKeys(t, st.client, st.prefix)
	})
}
