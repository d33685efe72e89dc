package session

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// Why changes were not made, for the log.
var (
	errDropped = errors.New("the response has a status from 500 on, see Options.SaveOnServerError")
	errUnsaved = errors.New("they were made during the response, and not saved")
)

var (
	errHijack = errors.New("session: a hijacked connection can't carry the cookie of a new session or login")
	errAround = errors.New("session: the response went out around the session's writer, without the cookie of a new session or " +
		"login: mount the sessions where Gin's HandleContext begins again, on the engine")
)

// respond commits the pending changes and sets the header fields of the response: the
// cookie, if there is a new one, and what keeps shared caches away. Each response goes
// through it once, ahead of its first byte; later calls return what the first did. After
// an error the response must be an error, see [Manager.Refuse], and no cookie is set.
//
// From status 500 on, pending changes are dropped, see [Options.SaveOnServerError]. What
// was done at once stands. An upgrade carries no cookie, so no token is rotated.
func (s *Session) respond(ctx context.Context, status int, h http.Header, upgrade bool) error {
	if err := s.take(context.Background()); err != nil { // whether the client is still there or not
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
		// A client that goes away must not leave half of what its request did.
		ctx = context.WithoutCancel(ctx)
		if err == nil {
			err = s.save(ctx)
		}
		if err == nil && !upgrade {
			s.rotateIfDue(ctx)
		}
		if err != nil {
			s.undoLogin(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.result = started, err
	if s.accessed {
		s.varyLocked(h)
	}
	if err != nil {
		s.out = outgoing{}
		s.discardLocked()
		return err
	}
	s.cookieLocked(h)
	return nil
}

// hijack is respond for a connection that will carry no header of ours.
func (s *Session) hijack(ctx context.Context) error {
	s.mu.Lock()
	cookie := !s.out.token.IsZero() && !s.out.again || s.out.clear || s.state != loaded && s.dirtyLocked()
	if cookie && s.phase == before {
		defer s.mu.Unlock()
		return errHijack
	}
	s.mu.Unlock()
	return s.respond(ctx, http.StatusSwitchingProtocols, http.Header{}, true)
}

// goneAround saves what needs no cookie, of a response that went out without the session's
// writer.
func (s *Session) goneAround(ctx context.Context, status int) error {
	if status >= http.StatusInternalServerError {
		return s.respond(ctx, status, http.Header{}, true)
	}
	err := s.hijack(ctx)
	if errors.Is(err, errHijack) { // finish drops the changes, and undoes a login
		err = errAround
	}
	if err != nil {
		s.m.logger.ErrorContext(ctx, "gatekit: changes were not saved", "error", err)
	}
	return err
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
		h.Add("Set-Cookie", s.m.legacy.forget(cfg.InsecureCookie)) // a program rolled back would bring back what ended
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

// addToken adds a token to a list in a header field, unless it is there. What the handler
// wrote stays.
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

// finish does what can wait until the response is out: it ends the session that a login
// replaced, and notes that this one is used. Without a response ahead of it, as after a
// panic, pending changes are dropped and a login is undone.
func (s *Session) finish(ctx context.Context) {
	m := s.m
	if s.take(context.Background()) == nil { // else a call is stuck in a function of the program: nothing is left to wait for
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
