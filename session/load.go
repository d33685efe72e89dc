package session

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// errUnread is for a session that From returned with an error, and that nobody has read
// since.
var errUnread = fmt.Errorf("session: it was not read, because From returned an error: %w", ErrUnavailable)

// unknown returns why nothing is known about the session, or nil. From returned an error
// then.
func (s *Session) unknown() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unknownLocked()
}

func (s *Session) unknownLocked() error {
	if s.state == unread {
		return errUnread
	}
	return s.err
}

// wanted is unknown for a change. It remembers that the change was asked for: a handler
// that ignores the error must not go on to tell the visitor that all is well.
func (s *Session) wanted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.unknownLocked()
	if err != nil && s.refused == nil {
		s.refused = err
	}
	return err
}

// load reads the session when it is asked for the first time. Only From does so, and a
// long upload: the methods of a Session find it read.
func (s *Session) load(ctx context.Context) error {
	if done, err := s.isRead(); done {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	if done, err := s.isRead(); done {
		return err
	}
	return s.read(ctx)
}

// read asks Redis which session the request brought, and takes it. The caller holds ops.
func (s *Session) read(ctx context.Context) error {
	got := s.ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	carried := len(s.rivals) == 0 && s.token.IsZero()
	s.takeLocked(got)
	if carried && s.state == loaded && !s.meta.previous {
		s.handOutLocked(s.token)
		s.out.again = true
	}
	return s.err
}

func (s *Session) ask(ctx context.Context) view {
	switch {
	case len(s.rivals) > 0:
		return s.m.choose(ctx, s.rivals)
	case s.token.IsZero():
		return s.carryOver(ctx)
	}
	return s.m.fetch(ctx, s.token, replayOf(s.m.cfg.KeepReplayed))
}

func (s *Session) isRead() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accessed = true
	if s.state == unread && s.phase == finished && s.token.IsZero() {
		return true, ErrTooLate // carrying another kit's session over is no mere reading
	}
	return s.state != unread, s.err
}

// takeLocked takes what Redis says about the session. The changes that the request made
// stay.
func (s *Session) takeLocked(got view) {
	if got.token.IsZero() {
		got.token = s.token
	}
	got.bearer, got.minted, got.changes = s.bearer, s.minted, s.changes
	got.touch = got.touch || s.touch
	got.changes.sized = false
	s.view = got
}

// replay is what becomes of a session when a token is presented that was replaced long
// ago.
type replay uint8

const (
	replayRevokes replay = iota // two parties hold it: it ends
	replayRefused               // it lives on, and the log tells
	replayIgnored               // it lives on: the token came beside others, and nobody knows who put it there
)

func replayOf(keep bool) replay {
	if keep {
		return replayRefused
	}
	return replayRevokes
}

// fetch reads the record of a token and judges both.
func (m *Manager) fetch(ctx context.Context, t token.Token, how replay) view {
	got, current := m.read(ctx, t)
	return m.judge(ctx, got, t, current, how)
}

// judge asks the scripts about what a record alone does not tell: a token that is not the
// current one, and deadlines.
func (m *Manager) judge(ctx context.Context, got view, t token.Token, current bool, how replay) view {
	if got.state == loaded && !current {
		got = m.confirm(ctx, got, t.Hash().String(), how)
	}
	if got.state != loaded {
		return got
	}
	got = m.checkDeadlines(ctx, got)
	if got.state == loaded {
		m.settle(ctx, &got)
	}
	return got
}

// settle ends the session that a login took the place of. Its token has come back, so the
// browser has it, whatever became of the answer. The next request tries again what fails.
func (m *Manager) settle(ctx context.Context, got *view) {
	from, ok := got.record.From()
	if !ok {
		return
	}
	_, err := m.store.SessionDrop(ctx, from, true, "login")
	if err == nil {
		_, err = m.store.SessionSettle(ctx, got.meta.keys, from)
	}
	if err != nil {
		_ = m.unavailable("end the session that a login replaced", err)
	}
}

// read reads the record of a token, and reports whether the token is its current one.
func (m *Manager) read(ctx context.Context, t token.Token) (got view, current bool) {
	epoch, err := m.epoch.get(ctx)
	if err != nil {
		return view{state: failed, err: m.unreadable("read the session", err)}, false
	}
	keys := keysOf(t, "")
	record, err := m.store.SessionLoad(ctx, keys)
	if err != nil {
		return view{state: failed, err: m.unreadable("read the session", err)}, false
	}
	m.reads.works(m, "gatekit: sessions are back")
	if got = seen(&record, keys, epoch); got.state != loaded {
		return got, false
	}
	return got, t.Is(record.CurrentToken())
}

// keysOf names the session of a token of the user, "" for a guest, to the scripts.
func keysOf(t token.Token, user string) store.SessionKeys {
	return store.SessionKeys{Tag: t.Tag(), Member: t.Member(), User: user}
}

// seen is what a record says by itself.
func seen(record *store.SessionRecord, keys store.SessionKeys, epoch int64) view {
	switch {
	case record.Superseded:
		return view{state: superseded}
	case !record.Found:
		return view{state: missing}
	}
	got := view{state: loaded, record: *record, meta: readMeta(record, keys)}
	if got.meta.stamp < epoch {
		return view{state: missing}
	}
	return got
}

// readMeta parses the kit's fields of a record.
func readMeta(r *store.SessionRecord, keys store.SessionKeys) meta {
	keys.User = r.Owner()
	mt := meta{
		SessionMeta: r.SessionMeta, keys: keys, user: keys.User, stamp: r.GlobalEpoch,
	}
	if how, ok := r.Value(lifetimeField); ok {
		mt.rotate, mt.persist = readLifetime(string(how))
	}
	mt.issued = mt.Created
	if mt.rotate > 0 {
		if confirmed := r.Tokens().Confirmed; confirmed.After(mt.issued) {
			mt.issued = confirmed
		}
	}
	return mt
}

// writeLifetime encodes what the record's own fields don't say about a lifetime:
// "<seconds between rotations>.<persistent>". It is "" for most sessions, which neither
// rotate nor persist.
func writeLifetime(l Lifetime) string {
	switch {
	case l.Persistent:
		return strconv.FormatInt(int64(l.Rotate/time.Second), 10) + ".p"
	case l.Rotate > 0:
		return strconv.FormatInt(int64(l.Rotate/time.Second), 10) + "."
	}
	return ""
}

func readLifetime(text string) (rotate time.Duration, persistent bool) {
	seconds, how, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(seconds, 10, 32)
	if err != nil || n < 0 {
		n = 0
	}
	return time.Duration(n) * time.Second, how == "p"
}

// confirm judges a token that is not the current one: the successor that was offered, and
// is now current; the one that was just replaced; or one that was replaced long ago,
// which two parties hold.
func (m *Manager) confirm(ctx context.Context, got view, hash string, how replay) view {
	epoch, _ := m.epoch.get(ctx)
	reply, err := m.store.SessionConfirm(ctx, store.SessionConfirm{
		Keys: got.meta.keys, GlobalEpoch: epoch, TokenHash: hash,
		RefuseOnly: how == replayRefused, Ignore: how == replayIgnored,
	})
	if err != nil {
		return view{state: failed, err: m.unavailable("confirm the token", err)}
	}
	m.written(reply.SessionReply)
	switch reply.Status {
	case store.SessionOK: // offered before, and current from now on; or made current by a parallel request
		got.meta.Authenticated, got.meta.Level = reply.Authenticated, reply.Level
		got.meta.issued = reply.Now
		return got
	case store.SessionPrevious:
		got.meta.previous = true
		return got
	case store.SessionReplay:
		if how != replayIgnored {
			m.logger.WarnContext(ctx, "gatekit: a replaced token was presented", "session", got.meta.PublicID, "revoked", how == replayRevokes)
		}
	case store.SessionSuperseded:
		return view{state: superseded}
	}
	return view{state: missing}
}

// checkDeadlines asks Redis whether a session that may have ended has. Our clock only
// suspects: the server's decides.
func (m *Manager) checkDeadlines(ctx context.Context, got view) view {
	now, known := m.clock.now()
	unused := now.Sub(got.meta.Seen)
	stepped := unused < -store.SessionClockBack // the server's clock went back: the script moves the record's times along
	if known && !stepped && now.Before(got.meta.Expires()) {
		got.touch = unused >= touchEvery(got.meta.Idle) || m.raised(&got.meta) > 0
		return got
	}
	reply, err := m.touch(ctx, &got.meta)
	switch {
	case err != nil:
		return view{state: failed, err: m.unavailable("check the deadlines", err)}
	case reply.Status == store.SessionSuperseded:
		return view{state: superseded}
	case reply.Status != store.SessionOK:
		return view{state: missing}
	}
	return got
}

// touchEvery is how often use is noted. Not less often than every 10 minutes: until then
// a session that RevokeUser did not find, because the index was lost, can be read.
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
// raised. What the request itself made is no second use: nobody knows yet whether the
// visitor keeps cookies.
func (m *Manager) raised(mt *meta) time.Duration {
	if mt.user != "" || mt.made || mt.Idle >= m.cfg.Guest.IdleTimeout {
		return 0
	}
	return m.cfg.Guest.IdleTimeout
}

// Reload takes a new snapshot. Pending changes stay, and so do those of others that they
// don't touch. The error is [ErrGone] when the session has ended meanwhile, or
// [ErrUnavailable], after which the old snapshot stands. A stream calls it from time to
// time, to end with the session; it counts as use, see [Session.Touch].
func (s *Session) Reload(ctx context.Context) error {
	if err := s.unknown(); err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.mu.Lock()
	t, st, made := s.token, s.state, s.meta.made
	s.mu.Unlock()
	if st != loaded {
		if st == none {
			return nil
		}
		return ErrGone
	}
	got, current := s.m.read(ctx, t)
	if got.state == loaded {
		// The token was judged when the request began. That others of this browser have
		// rotated it since is no theft.
		got.meta.previous, got.meta.made = !current, made
		got = s.m.checkDeadlines(ctx, got)
	}
	if got.state == failed {
		return got.err
	}
	if err := s.renew(got); err != nil {
		return err
	}
	_ = s.noteUse(ctx) // the snapshot is here
	return nil
}

// renew takes a newer snapshot.
func (s *Session) renew(got view) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes.forget()
	if got.state != loaded {
		return s.endedLocked(store.SessionGone)
	}
	s.takeLocked(got)
	return nil
}
