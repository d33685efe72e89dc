package session

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// Touch notes that the session is used, so that its idle time begins anew: for streams
// that only read, since what changes a value, [Session.Save] and [Session.Reload] do so
// themselves, and so does reading the body of the request. A stream calls it every
// quarter of [Lifetime.IdleTimeout] or more often; Redis is asked no more often than use
// has to be noted. The absolute deadline stays.
//
// A visitor without a session has nothing to note: nil. Errors: [ErrGone] when the
// session is found to have ended, [ErrUnavailable], [ErrTooLate].
func (s *Session) Touch(ctx context.Context) error {
	if err := s.unknown(); err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	return s.noteUse(ctx)
}

// noteUse notes that the session is used, if that is due. The caller has the turn.
func (s *Session) noteUse(ctx context.Context) error {
	s.mu.Lock()
	mt, st, over := s.meta, s.state, s.phase == finished
	s.mu.Unlock()
	switch {
	case over:
		return ErrTooLate
	case st == superseded:
		return ErrGone
	case st != loaded || s.m.now().Sub(mt.Seen) < touchEvery(mt.Idle) && s.m.raised(&mt) == 0:
		return nil
	}
	reply, err := s.m.touch(ctx, &mt)
	if err != nil {
		return s.m.unavailable("note the use", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.endedLocked(reply.Status); err != nil {
		return err
	}
	s.meta.Seen, s.meta.Idle, s.touch = mt.Seen, mt.Idle, false
	return nil
}

// usedBody is the body of a request. An upload may take longer than a session lives
// unused, so reading it is use.
type usedBody struct {
	io.ReadCloser
	s     *Session
	asked time.Time // when use was last noted, or found to be noted already
}

// useBody wraps the body of the request, if it has one.
func (b *usedBody) useBody(r *http.Request, s *Session) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	b.ReadCloser, b.s, b.asked = r.Body, s, s.began
	r.Body = b
}

// Read reads, and notes the use. A session that nobody asked for yet is read when the
// upload is a long one.
func (b *usedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.due() {
		b.s.noteUpload()
	}
	return n, err
}

// noteUpload reads the session if nobody has, and notes its use. The handler learns of an
// error when it uses the session.
func (s *Session) noteUpload() {
	ctx := s.r.Context()
	if s.load(ctx) == nil {
		_ = s.Touch(ctx)
	}
}

// due reports whether use may have to be noted: by Redis's clock, and for a session that
// was not read yet, by ours.
func (b *usedBody) due() bool {
	s := b.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == finished {
		return false
	}
	switch s.state {
	case unread:
		shortest := min(s.m.cfg.Lifetime.IdleTimeout, s.m.cfg.Remember.IdleTimeout, s.m.cfg.Guest.IdleTimeout, guestTrial)
		if time.Since(b.asked) < touchEvery(shortest) {
			return false
		}
		b.asked = time.Now()
		return true
	case loaded:
		return s.m.now().Sub(s.meta.Seen) >= touchEvery(s.meta.Idle)
	}
	return false
}

// touchEvery is how often use is noted, at least every 10 minutes: that is how long a
// session can be read which RevokeUser did not find because the index was lost.
func touchEvery(idle time.Duration) time.Duration {
	return min(max(time.Minute, idle/20), idle/2, 10*time.Minute)
}

// touch notes that the session is used, and learns whether it has ended.
func (m *Manager) touch(ctx context.Context, mt *meta) (store.SessionTouchReply, error) {
	epoch, _ := m.epoch.get(ctx)
	raised := m.raised(mt)
	reply, err := m.store.SessionTouch(ctx, store.SessionTouch{
		Keys: mt.keys, GlobalEpoch: epoch, Every: touchEvery(mt.Idle), Idle: raised,
	})
	if err != nil {
		return reply, err
	}
	m.written(reply.SessionReply)
	if reply.Status == store.SessionOK {
		if reply.Seen.After(mt.Seen) {
			mt.Seen = reply.Seen
		}
		mt.Idle = max(mt.Idle, raised)
	}
	return reply, nil
}

// raised is the idle time that a guest has from its second use on, 0 if nothing is to be
// raised. A session that this request made has no second use yet: the visitor may keep no
// cookies.
func (m *Manager) raised(mt *meta) time.Duration {
	if mt.user != "" || mt.made || mt.Idle >= m.cfg.Guest.IdleTimeout {
		return 0
	}
	return m.cfg.Guest.IdleTimeout
}
