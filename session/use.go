package session

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// Touch notes that the session is used, so that its idle time begins anew. It is for
// streams that only read: changes of values, [Session.Save], [Session.Reload] and reading
// the request's body note the use themselves. A stream calls Touch every quarter of
// [Lifetime.IdleTimeout] or more often. Touch asks Redis only if a note of use is due.
// The absolute deadline stays.
//
// For a visitor without a session Touch returns nil. Errors: [ErrGone] if the session has
// ended, [ErrUnavailable], [ErrTooLate].
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

// noteUse notes that the session is used, if a note is due. The caller holds ops.
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

// usedBody is the body of a request. An upload may take longer than the idle timeout, so
// reading the body counts as use.
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

// Read reads, and notes the use. If the upload is a long one, it reads a session that the
// handler has not asked for yet.
func (b *usedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.due() {
		b.s.noteUpload()
	}
	return n, err
}

// noteUpload reads the session if it was not read yet, and notes its use. The handler
// gets an error when it uses the session.
func (s *Session) noteUpload() {
	ctx := s.r.Context()
	if s.load(ctx) == nil {
		_ = s.Touch(ctx)
	}
}

// due reports whether a note of use may be due: by Redis's clock, or by ours for a
// session that was not read yet.
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

// touchEvery is the time between two notes of use, at most 10 minutes. If RevokeUser did
// not find a session because Redis lost the user's list, requests can read it for that
// long.
func touchEvery(idle time.Duration) time.Duration {
	return min(max(time.Minute, idle/20), idle/2, 10*time.Minute)
}

// touch notes that the session is used. The reply says whether it has ended.
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

// raised returns the idle time that a guest gets at its second use, or 0 if it stays as
// it is. It stays for a session that this request made: it is not known yet whether the
// visitor keeps cookies.
func (m *Manager) raised(mt *meta) time.Duration {
	if mt.user != "" || mt.made || mt.Idle >= m.cfg.Guest.IdleTimeout {
		return 0
	}
	return m.cfg.Guest.IdleTimeout
}
