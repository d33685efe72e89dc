package session

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// The reasons why changes were not made, for the log.
var (
	errDropped = errors.New("the response has a status from 500 on, see Options.SaveOnServerError")
	errUnsaved = errors.New("they were made during the response, and not saved")
)

var (
	errHijack = errors.New("session: a hijacked connection can't carry the cookie of a new session or login")
	errAround = errors.New("session: the response went out around the session's writer, without the cookie of a new session or " +
		"login: mount the sessions where Gin's HandleContext begins again, on the engine")
)

// response is a session with the methods that the writer of its response calls: a
// [respwriter.Session].
type response Session

// Commit writes the pending changes and sets the header fields of the response: a new
// cookie, Vary and Cache-Control. Each response goes through it once, ahead of its first
// byte; later calls return the result of the first. After an error no cookie is set, and
// the response must be an error, see [Manager.Refuse].
//
// From status 500 on, pending changes are dropped, see [Options.SaveOnServerError].
// Changes that were made at once stay. A nil h means that no header of ours goes out.
func (r *response) Commit(status int, h http.Header) error {
	s, ctx := (*Session)(r), r.r.Context()
	// The client may be gone by now. Its changes are still saved.
	if err := s.take(context.Background()); err != nil {
		return err
	}
	defer s.give()
	s.mu.Lock()
	if s.phase != before {
		defer s.mu.Unlock()
		return s.result
	}
	s.phase = committing
	refused := s.refused
	if status >= http.StatusInternalServerError {
		refused = nil // the handler has reported it
		if !s.m.cfg.SaveOnServerError {
			if s.dirtyLocked() {
				s.lost = errDropped
			}
			s.discardLocked()
		}
	}
	idle := refused == nil && !s.dirtyLocked() && s.meta.rotate == 0
	s.mu.Unlock()
	err := refused
	if !idle {
		// If the client goes away, its request must not stay half done.
		ctx = context.WithoutCancel(ctx)
		if err == nil {
			err = s.save(ctx)
		}
		upgrade := s.r.Header.Get("Upgrade") != "" || status == http.StatusSwitchingProtocols
		if err == nil && h != nil && !upgrade {
			s.rotateIfDue(ctx)
		}
		if err != nil {
			s.undoLogin(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.result = started, err
	if s.accessed && h != nil {
		s.varyLocked(h)
	}
	if err != nil {
		s.out = outgoing{}
		s.discardLocked()
		return err
	}
	if h != nil {
		s.cookieLocked(h)
	}
	return nil
}

// Request returns the request that is being answered.
func (r *response) Request() *http.Request { return r.r }

// Committed reports whether a commit was begun.
func (r *response) Committed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase != before
}

// Hijack is Commit for a connection that will carry no header of ours.
func (r *response) Hijack() error {
	s := (*Session)(r)
	s.mu.Lock()
	cookie := !s.out.token.IsZero() && !s.out.again || s.out.clear || s.state != loaded && s.dirtyLocked()
	begun := s.phase != before
	s.mu.Unlock()
	if cookie && !begun {
		return errHijack
	}
	return r.Commit(http.StatusSwitchingProtocols, nil)
}

// GoneAround saves the changes of a response that went out without the session's writer.
// It refuses if they need a cookie.
func (r *response) GoneAround(status int) error {
	if status >= http.StatusInternalServerError {
		return r.Commit(status, nil)
	}
	err := r.Hijack()
	if errors.Is(err, errHijack) { // finish drops the changes, and undoes a login
		err = errAround
	}
	if err != nil {
		r.m.logger.ErrorContext(r.r.Context(), "gatekit: changes were not saved", "error", err)
	}
	return err
}

// Refuse answers a failed commit once: the first writer of the request that calls it
// sends the answer.
func (r *response) Refuse(w http.ResponseWriter, failed error) error {
	asked := r.r.WithContext(&r.ctx)
	refused := r.m.refusal(asked, failed)
	r.mu.Lock()
	told := r.told
	r.told = true
	r.mu.Unlock()
	if !told {
		r.m.Refuse(w, asked, failed)
	}
	return refused
}

// Holds reports whether a replaced session must be ended once the response is out. Of two
// writers of one request, the first that asks holds the response.
func (r *response) Holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.after.drop) > 0 && r.after.send == nil
}

// OnFinish keeps the function that sends the held response.
func (r *response) OnFinish(send func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after.send = send
}

func (s *Session) varyLocked(h http.Header) {
	addToken(h, "Vary", "Cookie")
	if s.m.cfg.Bearer {
		addToken(h, "Vary", "Authorization")
	}
}

func (s *Session) cookieLocked(h http.Header) {
	cfg := &s.m.cfg
	if (s.out.clear || s.after.login) && s.m.legacy.brings(s.r) {
		// Otherwise a program that is rolled back would continue the old session.
		h.Add("Set-Cookie", s.m.legacy.forget(cfg.InsecureCookie))
	}
	if s.out.clear || s.after.login && !s.bearer {
		for _, old := range cfg.OldCookies {
			h.Add("Set-Cookie", old.clear(cfg.InsecureCookie))
		}
	}
	switch {
	case s.out.clear:
		h.Add("Set-Cookie", cfg.Cookie.clear(cfg.InsecureCookie))
	case s.out.token.IsZero():
		return
	case !s.bearer:
		h.Add("Set-Cookie", cfg.Cookie.set(s.out.token, s.out.life, cfg.InsecureCookie))
	}
	addToken(h, "Cache-Control", "no-store")
}

// addToken adds a token to the list in a header field, unless the list has it. The
// handler's own tokens stay.
func addToken(h http.Header, field, token string) {
	for _, line := range h[field] {
		for part := range strings.SplitSeq(line, ",") {
			if part = strings.TrimSpace(part); part == "*" || strings.EqualFold(part, token) {
				return
			}
		}
	}
	h.Add(field, token)
}

// finish does the remaining work when the handler has returned. It ends the session that
// a login replaced, and notes that this session is used. If there was no response, as
// after a panic, it drops pending changes and undoes a login.
func (s *Session) finish(ctx context.Context) {
	m := s.m
	// On an error another call of this request still runs, stuck in a function of the
	// program. finish does not wait longer for it.
	if s.take(context.Background()) == nil {
		defer s.give()
	}
	s.mu.Lock()
	was := s.phase
	s.phase = finished
	if s.dirtyLocked() && was == started {
		s.lost = errUnsaved
	}
	if s.lost != nil {
		m.logger.WarnContext(ctx, "gatekit: a session's changes were not made", "session", s.meta.PublicID, "reason", s.lost)
	}
	s.discardLocked()
	s.mu.Unlock()
	if was != started {
		s.undoLogin(context.WithoutCancel(ctx))
	}
	s.mu.Lock()
	todo, mt, touch := s.after, s.meta, s.touch && s.state == loaded
	s.after = after{}
	s.mu.Unlock()
	todo.drop = append(todo.drop, todo.made...)
	if len(todo.drop) == 0 && !touch {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if todo.send != nil {
		todo.send()
	}
	for _, keys := range todo.drop {
		if _, err := m.store.SessionDrop(ctx, keys, true, "login"); err != nil {
			m.logger.WarnContext(ctx, "gatekit: a session that a login replaced stays until it expires", "error", err)
		}
	}
	if touch {
		if _, err := m.touch(ctx, &mt); err != nil {
			_ = m.unavailable("note the use", err)
		}
	}
}
