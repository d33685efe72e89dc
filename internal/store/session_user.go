package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SessionInfo is one entry of a user's list of sessions.
type SessionInfo struct {
	Member string // of [SessionKeys]
	SessionMeta
}

// SessionList returns a page of at most n (1 .. 100) sessions of the user, and the cursor
// of the next page, "" after the last. Sessions that end first come first. Pass the
// cursor "" for the first page. It removes sessions that it finds dead from the index. A
// session that is seen between two pages may be listed twice.
func (s *Store) SessionList(ctx context.Context, user SessionKeys, globalEpoch int64, cursor string, n int) ([]SessionInfo, string, error) {
	score, after, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	c := s.beginUser(ctx, sessionList, user, true)
	c.words = append(c.words, sessionInstant(user), globalEpoch, score, after, min(max(n, 1), 100))
	r, err := s.doText(c, 2)
	if err != nil {
		return nil, "", err
	}
	const width = 8 // member, !m, !t, !a, !d, !l, !i, !e
	if (len(r)-2)%width != 0 {
		return nil, "", c.malformed()
	}
	list := make([]SessionInfo, 0, (len(r)-2)/width)
	for row := r[2:]; len(row) > 0; row = row[width:] {
		info := SessionInfo{Member: row[0], SessionMeta: SessionMeta{UserAgent: row[4], Label: row[5], IP: row[6]}}
		if !info.parseMeta(row[1], row[2]) {
			return nil, "", c.malformed()
		}
		info.parseAuth(row[3])
		list = append(list, info)
	}
	return list, makeCursor(r[0], r[1]), nil
}

// SessionRevoke ends the session of the user with this public id, and reports whether it
// found it. If a reply was lost, it may report false for a session that it ended itself.
func (s *Store) SessionRevoke(ctx context.Context, user SessionKeys, publicID string) (bool, error) {
	for score, after := "", ""; ; {
		c := s.beginUser(ctx, sessionRevoke, user, false)
		c.words = append(c.words, sessionInstant(user), publicID, score, after, s.channel())
		r, err := s.doText(c, 3)
		if err != nil {
			return false, err
		}
		if r[0] == "1" || r[2] == "" {
			return r[0] == "1", nil
		}
		score, after = r[1], r[2]
	}
}

// SessionEpochReply is the reply of [Store.SessionEpoch].
type SessionEpochReply struct {
	Status  SessionStatus // SessionOK, or why nothing was done
	Epoch   int64         // the new one
	Revoked int           // how many sessions were removed, at most 100
	Next    string        // cursor for [Store.SessionRevokePage], "" if none are left
}

// SessionEpoch revokes all sessions of the user at once, except keep if it is not nil,
// and removes the first 100. A touch or a commit finds the others dead, but they can be
// read until [Store.SessionRevokePage] removes them. A login that is under way is refused
// if it was authenticated before. life is the longest life of a session. If keep itself
// is dead, nothing is done: SessionGone or SessionSuperseded.
func (s *Store) SessionEpoch(ctx context.Context, user SessionKeys, keep *SessionKeys, globalEpoch int64, life time.Duration) (SessionEpochReply, error) {
	c := s.begin(ctx, sessionEpoch, 3+btoi(keep != nil))
	c.addKey(s.epochKey(user))
	c.addKey(s.indexKey(user))
	c.addKey(s.recordPrefix(user.Tag))
	if keep != nil {
		c.addKey(s.recordKey(SessionKeys{Tag: user.Tag, Member: keep.Member}))
	}
	c.words = append(c.words, sessionInstant(user), milliseconds(life), globalEpoch, UserHash(user.User), s.channel())
	return s.doEpoch(c)
}

func (s *Store) doEpoch(c *run) (SessionEpochReply, error) {
	r, err := s.doText(c, 6)
	if err != nil {
		return SessionEpochReply{}, err
	}
	n, err := c.integers(r[:4])
	if err != nil {
		return SessionEpochReply{}, err
	}
	return SessionEpochReply{Status: SessionStatus(n[0]), Epoch: n[2], Revoked: int(n[3]), Next: makeCursor(r[4], r[5])}, nil
}

// SessionRevokePage removes up to 100 sessions of the user that are older than the epoch,
// and returns how many it removed and the cursor of the next page, "" after the last.
func (s *Store) SessionRevokePage(ctx context.Context, user SessionKeys, epoch int64, cursor string) (revoked int, next string, err error) {
	score, after, err := parseCursor(cursor)
	if err != nil {
		return 0, "", err
	}
	c := s.beginUser(ctx, sessionRevokePage, user, false)
	c.words = append(c.words, sessionInstant(user), epoch, score, after)
	r, err := s.doText(c, 3)
	if err != nil {
		return 0, "", err
	}
	n, err := c.integers(r[:1])
	if err != nil {
		return 0, "", err
	}
	return int(n[0]), makeCursor(r[1], r[2]), nil
}

// SessionRevokeAll revokes all sessions, of users and guests, and returns the new global
// epoch. life is the longest life of a session.
func (s *Store) SessionRevokeAll(ctx context.Context, life time.Duration) (epoch int64, err error) {
	c := s.begin(ctx, sessionEpoch, 1)
	c.addKey(s.globalKey())
	// The epoch is kept a day longer than any session. A process that does not know the
	// epoch yet may still make sessions, with an older stamp, and the epoch must outlive
	// them.
	c.words = append(c.words, "", milliseconds(life+24*time.Hour), 0, "", s.channel())
	reply, err := s.doEpoch(c)
	return reply.Epoch, err
}

// SessionGlobalEpoch returns the epoch of the last [Store.SessionRevokeAll], 0 if there
// is none. Sessions with an older stamp are dead.
func (s *Store) SessionGlobalEpoch(ctx context.Context) (int64, error) {
	text, err := s.get(ctx, "session_global_epoch", "get", s.globalKey())
	if err != nil || text == "" {
		return 0, err
	}
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("gatekit: session_global_epoch: %w", ErrMalformedReply)
	}
	return epoch, nil
}

// beginUser starts a call of a script. Its keys are the index of a user, the record
// prefix and, if epoch is set, the user's epoch.
func (s *Store) beginUser(ctx context.Context, script *script, user SessionKeys, epoch bool) *run {
	c := s.begin(ctx, script, 2+btoi(epoch))
	c.addKey(s.indexKey(user))
	c.addKey(s.recordPrefix(user.Tag))
	if epoch {
		c.addKey(s.epochKey(user))
	}
	return c
}

// makeCursor returns a cursor, which names the last member of a page and its score.
func makeCursor(score, after string) string {
	if after == "" {
		return ""
	}
	return score + "." + after
}

func parseCursor(cursor string) (score, after string, err error) {
	if cursor == "" {
		return "", "", nil
	}
	score, after, _ = strings.Cut(cursor, ".")
	if _, err := strconv.ParseUint(score, 10, 53); err != nil || len(after) != memberLength {
		return "", "", errors.New("gatekit: malformed cursor")
	}
	return score, after, nil
}
