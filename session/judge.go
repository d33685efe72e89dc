package session

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// replay says what happens to a session when a request brings a token that was replaced
// long ago.
type replay uint8

const (
	replayRevokes replay = iota // the session ends, because two parties hold the token
	replayRefused               // the session lives on, and the replay is logged
	replayIgnored               // the session lives on: anybody may have put the token beside the others
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

// judge asks the scripts if the record alone does not decide: about a token that is not
// the current one, and about deadlines.
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

// settle ends the session that a login replaced. The new token has come back, so the
// browser has it. If settle fails, the next request tries again.
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

// keysOf returns the keys of the token's session for the scripts. user is "" for a guest.
func keysOf(t token.Token, user string) store.SessionKeys {
	return store.SessionKeys{Tag: t.Tag(), Member: t.Member(), User: user}
}

// seen returns the view of a record, without asking Redis further.
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

// writeLifetime encodes the part of a lifetime that the record's own fields don't hold:
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

// confirm judges a token that is not the current one. It is the successor that an earlier
// response offered, and becomes the current token now; or the token that was just
// replaced; or one that was replaced long ago, and two parties hold it.
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
	case store.SessionOK: // the successor is current now, by this call or by a parallel one
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

// checkDeadlines asks Redis about a session that has ended by our clock. The server's
// clock decides.
func (m *Manager) checkDeadlines(ctx context.Context, got view) view {
	now, known := m.clock.now()
	unused := now.Sub(got.meta.Seen)
	// If the server's clock was set back, the script moves the record's times too.
	stepped := unused < -store.SessionClockBack
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
