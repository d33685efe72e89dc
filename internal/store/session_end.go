package store

import "context"

// SessionDrop ends a session, whatever its state: SessionOK if there was one, else
// SessionGone. With marker, whoever comes with its token in the next 10 s is told
// SessionSuperseded. The reason, a word of a-z, is for the event.
func (s *Store) SessionDrop(ctx context.Context, keys SessionKeys, marker bool, reason string) (SessionReply, error) {
	c := s.begin(ctx, sessionDrop, 1+btoi(keys.User != ""))
	c.addKey(s.recordKey(keys))
	if keys.User != "" {
		c.addKey(s.indexKey(keys))
	}
	c.words = append(c.words, sessionInstant(keys), btoi(marker), reason, s.channel())
	r, err := s.do(c, 2)
	if err != nil {
		return SessionReply{}, err
	}
	return sessionReply(r), nil
}

// SessionSettle is due when the token of a login from an older session is used for the
// first time, after that session was dropped: it ends other logins from it, and the
// record says no more where it is from.
func (s *Store) SessionSettle(ctx context.Context, keys, from SessionKeys) (SessionReply, error) {
	c := s.begin(ctx, sessionSettle, 4)
	c.addKey(s.recordKey(keys))
	c.addKey(s.indexKey(keys))
	c.addKey(s.recordPrefix(keys.Tag))
	c.addKey(s.loginsKey(keys.Tag, from.Member))
	c.words = append(c.words, sessionInstant(keys), s.channel())
	r, err := s.do(c, 2)
	if err != nil {
		return SessionReply{}, err
	}
	return sessionReply(r), nil
}
