package session_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
)

const day = 24 * time.Hour

// A guest whose cookie does not come back ends soon; the first request that brings it,
// though it only reads, gives the guest the lifetime of guests.
func TestGuestsLastOnceTheyComeBack(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv, func(c *settings) {
			c.Guest = session.Lifetime{IdleTimeout: 7 * day, AbsoluteTimeout: 30 * day, Persistent: true}
		})
		st.on("/busy", func(_ http.ResponseWriter, r *http.Request, s *session.Session) {
			st.check(color.Set(s, "red"))
			st.check(s.Save(r.Context()))
			st.check(s.Reload(r.Context()))
			st.check(s.Touch(r.Context()))
		})
		once, busy, twice := st.browser(), st.browser(), st.browser()
		resp := once.Do("POST", "/set?k=color&v=red")
		if len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge != int((30*day).Seconds()) {
			t.Errorf("got the cookies %v, want one that lasts 30 days", resp.Cookies())
		}
		want(t, busy.Do("POST", "/busy"), 200, "")
		want(t, twice.Do("POST", "/set?k=color&v=red"), 200, "")
		step(9 * time.Minute)
		want(t, twice.Do("GET", "/get?k=color"), 200, "red")
		step(2 * time.Minute)
		want(t, once.Do("GET", "/get?k=color"), 200, "(none)")
		want(t, busy.Do("GET", "/get?k=color"), 200, "(none)")
		for range 4 {
			step(6*day + 23*time.Hour)
			want(t, st.browser().Do("POST", "/add"), 200, "") // by its reply the manager learns the time
			want(t, twice.Do("GET", "/get?k=color"), 200, "red")
		}
		step(3 * day)
		want(t, twice.Do("GET", "/get?k=color"), 200, "(none)")
	})
}

// A guest that comes back at once is raised by that request, not when use is noted the
// next time.
func TestTheSecondUseOfAGuestIsNotedAtOnce(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.browser()
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		step(29 * time.Minute) // the default is that of logins, 30 min
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
		step(31 * time.Minute)
		want(t, b.Do("GET", "/get?k=color"), 200, "(none)")
	})
}

// The second use may be a stream's.
func TestTouchOfAGuestThatCameBack(t *testing.T) {
	withClock(t, func(t *testing.T, srv *redistest.Server, step func(time.Duration)) {
		st := newSite(t, srv)
		b := st.browser()
		want(t, b.Do("POST", "/set?k=color&v=red"), 200, "")
		st.request(b, func(ctx context.Context, s *session.Session) {
			st.check(s.Touch(ctx))
			step(25 * time.Minute)
			st.check(s.Reload(ctx))
		})
		want(t, b.Do("GET", "/get?k=color"), 200, "red")
	})
}

func TestGuestsArePersistentAsLoginsAre(t *testing.T) {
	st := newSite(t, redistest.Embedded(t), func(c *settings) {
		c.Lifetime = session.Lifetime{AbsoluteTimeout: day, Rotate: time.Hour, Persistent: true}
	})
	resp := st.browser().Do("POST", "/set?k=color&v=red")
	if len(resp.Cookies()) != 1 || resp.Cookies()[0].MaxAge != int(day.Seconds()) {
		t.Errorf("got the cookies %v, want one that lasts a day", resp.Cookies())
	}
}
