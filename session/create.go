package session

import (
	"context"
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// create stores a guest's session with the pending changes. The caller holds ops.
func (s *Session) create(ctx context.Context) error {
	s.mu.Lock()
	if s.phase > committing {
		s.mu.Unlock()
		return ErrTooLate
	}
	values, err := s.valuesLocked()
	t := s.mintedLocked()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	life := s.m.cfg.Guest
	if how := writeLifetime(life); how != "" {
		values = append(values, store.Field{Name: lifetimeField, Value: how})
	}
	epoch, err := s.m.epoch.get(ctx)
	if err != nil {
		return s.m.unavailable("create the session", err)
	}
	call := store.SessionNew{
		Keys: keysOf(t, ""), PublicID: newPublicID(), TokenHash: t.Hash().String(),
		Idle: min(life.IdleTimeout, guestTrial), Life: life.AbsoluteTimeout, GlobalEpoch: epoch, Values: values,
	}
	reply, err := s.m.store.SessionGuest(ctx, call)
	if err != nil {
		return s.m.unavailable("create the session", err)
	}
	s.m.written(reply)
	if reply.Status != store.SessionOK {
		return ErrGone
	}
	made := newView(t, call, store.SessionOwner{}, life, reply.Now)
	s.mu.Lock()
	defer s.mu.Unlock()
	made.unclear = s.unclear // these sessions live until a login or a logout ends them
	s.becomeLocked(made)
	return nil
}

// newView returns the view of a session that was just created, at now by Redis's clock.
func newView(t token.Token, call store.SessionNew, owner store.SessionOwner, life Lifetime, now time.Time) view {
	v := view{state: loaded, token: t, meta: meta{
		SessionMeta: store.SessionMeta{
			PublicID: call.PublicID, Created: now, Seen: now, Absolute: now.Add(call.Life), Idle: call.Idle, Level: owner.Level,
			UserAgent: owner.UserAgent, Label: owner.Label, IP: owner.IP,
		},
		keys: call.Keys, user: call.Keys.User, stamp: call.GlobalEpoch,
		rotate: life.Rotate, persist: life.Persistent, issued: now, made: true,
	}}
	for _, f := range call.Values {
		*v.changes.entry(f.Name) = field{name: f.Name, known: true, has: true, value: []byte(f.Value)}
	}
	return v
}

// becomeLocked puts the request into the session that was just created, and sends its
// token with the response.
func (s *Session) becomeLocked(made view) {
	s.view, s.out = made, outgoing{token: made.token}
	if made.meta.persist {
		s.out.life = made.meta.Absolute.Sub(made.meta.Created)
	}
}

// valuesLocked lists the values that the handler sees, for a new record.
func (s *Session) valuesLocked() (values []store.Field, err error) {
	names := s.namesLocked()
	slices.Sort(names)
	for _, name := range names {
		data, ok, err := s.currentLocked(name)
		if err != nil {
			return nil, err
		}
		if ok {
			values = append(values, store.Field{Name: name, Value: string(data)})
		}
	}
	return values, nil
}

// mintedLocked returns the token that this visitor gets if a value is set. It is made
// before the record, because sealed values are bound to it.
func (s *Session) mintedLocked() token.Token {
	if s.minted.IsZero() {
		s.minted = token.New("")
	}
	return s.minted
}

// memberLocked returns the name of the record that values are sealed for.
func (s *Session) memberLocked() string {
	if s.state == loaded {
		return s.meta.keys.Member
	}
	if s.m.values.sealer == nil {
		return ""
	}
	return s.mintedLocked().Member()
}
