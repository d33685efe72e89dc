package store

import "context"

// SessionDrop ends a session, whatever its state: SessionOK if there was one, else
// SessionGone. With marker, a request that presents the session's token in the next 10 s
// gets SessionSuperseded. The reason, a word of a-z, is for the event.
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

// SessionSettle ends the other logins that were made from the same older session, and
// deletes from the record which session that was. Call it when a login's token is used
// for the first time, after the older session was dropped.
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
