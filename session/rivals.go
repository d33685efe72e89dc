package session

import (
	"context"
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// choose finds out which of several tokens counts, all of which came in cookies of our
// name: see [Cookie.find]. They are looked up in one round trip. Exactly one session has
// to live; a dead one counts for nothing: anybody can plant it, and browsers keep it when
// the cookie's attributes change. If two live, the visitor counts as a guest, because
// nobody can tell which of them the user meant. No token is judged as a replay, since
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
		case failed: // it may be the one that lives
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

// newest judges a session by the newest of its tokens, as the record tells their order:
// the one on offer, the current, the one before. Others are dead.
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

// withoutReplaced leaves out the sessions that a login among the others took the place
// of: it has come, so they are over.
func withoutReplaced(living []view) []view {
	over := map[string]bool{}
	for _, l := range living {
		if from, ok := l.record.From(); ok {
			over[from.Member] = true
		}
	}
	return slices.DeleteFunc(living, func(l view) bool { return over[l.meta.keys.Member] })
}

// unclear is the answer to tokens of several sessions that live.
func (m *Manager) unclear(ctx context.Context, living []view) view {
	none, ids := view{state: none}, []string(nil)
	for _, l := range living {
		none.unclear = append(none.unclear, l.meta.keys)
		ids = append(ids, l.meta.PublicID)
	}
	m.warnCookies(ctx, "cookies of one name hold sessions that all live, the visitor counts as a guest", "sessions", ids)
	return none
}

// warnCookies tells the log of cookies that nobody can choose among, once a minute:
// anybody can send such.
func (m *Manager) warnCookies(ctx context.Context, problem string, args ...any) {
	now, last := time.Since(programBegan).Milliseconds()+1, m.warned.Load()
	if last != 0 && now-last < time.Minute.Milliseconds() || !m.warned.CompareAndSwap(last, now) {
		return
	}
	args = append(args, "cookie", m.cfg.Cookie.Name,
		"remedy", "name the attributes that the cookie had before in Options.OldCookies; a __Host- name keeps other hosts from planting one")
	m.logger.WarnContext(ctx, "gatekit: "+problem, args...)
}
