package session

import (
	"context"
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// choose returns the session of a request that brought several tokens in cookies of our
// name: see [Cookie.find]. It looks all up in one round trip. If exactly one session
// lives, it counts. Dead ones are ignored: anybody can plant one, and browsers keep one
// when the cookie's attributes change. If two live, the visitor counts as a guest,
// because it is unclear which of them the user meant. No token counts as a replay, since
// anybody may have put it there.
func (m *Manager) choose(ctx context.Context, tokens []token.Token) view {
	epoch, err := m.epoch.get(ctx)
	if err != nil {
		return view{state: failed, err: m.unreadable("read the sessions", err)}
	}
	keys := seriesOf(tokens)
	records, err := m.store.SessionLoadMany(ctx, keys)
	if err != nil {
		return view{state: failed, err: m.unreadable("read the sessions", err)}
	}
	m.reads.works(m, "gatekit: sessions are back")
	dead := view{state: missing}
	var living []view
	for i := range records {
		got := m.newest(ctx, seen(&records[i], keys[i], epoch), tokens)
		switch got.state {
		case failed: // it may be the session that lives
			return got
		case superseded:
			dead.state = superseded
		case loaded:
			living = append(living, got)
		}
	}
	living = withoutReplaced(living)
	switch len(living) {
	case 0:
		return dead
	case 1:
		return living[0]
	}
	return m.unclear(ctx, living)
}

// seriesOf lists the sessions that the tokens belong to, each once.
func seriesOf(tokens []token.Token) (keys []store.SessionKeys) {
	for i, t := range tokens {
		k, known := keysOf(t, ""), false
		for _, earlier := range tokens[:i] {
			known = known || earlier.Member() == k.Member
		}
		if !known {
			keys = append(keys, k)
		}
	}
	return keys
}

// newest judges a session by the newest of its tokens. The record has their order: the
// successor on offer, the current token, the previous one. Any other token is dead.
func (m *Manager) newest(ctx context.Context, got view, tokens []token.Token) view {
	if got.state != loaded {
		return got
	}
	hashes := got.record.Tokens()
	for i, hash := range [][]byte{hashes.Pending, hashes.Current, hashes.Previous} {
		for _, t := range tokens {
			if t.Member() == got.meta.keys.Member && t.Is(hash) {
				got = m.judge(ctx, got, t, i == 1, replayIgnored)
				if got.state == loaded {
					got.token = t
				}
				return got
			}
		}
	}
	return view{state: missing}
}

// withoutReplaced leaves out sessions that another session in the list replaced by a
// login. The browser has that session's token, so the replaced ones are over.
func withoutReplaced(living []view) []view {
	over := map[string]bool{}
	for _, l := range living {
		if from, ok := l.record.From(); ok {
			over[from.Member] = true
		}
	}
	return slices.DeleteFunc(living, func(l view) bool { return over[l.meta.keys.Member] })
}

// unclear returns the view for tokens of several sessions that live.
func (m *Manager) unclear(ctx context.Context, living []view) view {
	none, ids := view{state: none}, []string(nil)
	for _, l := range living {
		none.unclear = append(none.unclear, l.meta.keys)
		ids = append(ids, l.meta.PublicID)
	}
	m.warnCookies(ctx, "cookies of one name hold sessions that all live, the visitor counts as a guest", "sessions", ids)
	return none
}

// warnCookies logs that the request's cookies do not decide which session counts. It does
// so at most once a minute, because anybody can send such cookies.
func (m *Manager) warnCookies(ctx context.Context, problem string, args ...any) {
	now, last := time.Since(programBegan).Milliseconds()+1, m.warned.Load()
	if last != 0 && now-last < time.Minute.Milliseconds() || !m.warned.CompareAndSwap(last, now) {
		return
	}
	args = append(args, "cookie", m.cfg.Cookie.Name,
		"remedy", "name the attributes that the cookie had before in Options.OldCookies; a __Host- name keeps other hosts from planting one")
	m.logger.WarnContext(ctx, "gatekit: "+problem, args...)
}
