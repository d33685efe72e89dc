package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// Save writes the pending changes now, so that their failure can be answered; without it
// they are written ahead of the first byte of the response. It counts as use of the
// session, see [Session.Touch]. Errors: [ErrGone], [ErrUnavailable], [ErrTooLate] when a
// visitor without a session would need a cookie and the response has started.
//
// A handler that called Save once may change values while the response runs, as streams
// need to. Each change then waits for the next Save; what is not saved when the handler
// returns is dropped.
func (s *Session) Save(ctx context.Context) error {
	if err := s.wanted(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.phase == finished {
		s.mu.Unlock()
		return ErrTooLate
	}
	s.manual = true
	s.mu.Unlock()
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	err := s.save(ctx)
	if err == nil {
		_ = s.noteUse(ctx) // what was to be saved is
	}
	if errors.Is(err, gatekit.ErrUnknownOutcome) {
		// Perhaps it was saved: saving it again with the response might add twice, or
		// undo what others wrote since.
		s.mu.Lock()
		defer s.mu.Unlock()
		s.discardLocked()
		s.refused = err
	}
	return err
}

// save writes the pending changes by one script. The caller holds ops.
func (s *Session) save(ctx context.Context) error {
	s.mu.Lock()
	if !s.dirtyLocked() {
		s.mu.Unlock()
		return nil
	}
	st := s.state
	s.mu.Unlock()
	switch st {
	case none, missing:
		return s.create(ctx)
	case loaded:
		return s.commitFields(ctx)
	case superseded:
		return ErrGone
	}
	return s.err
}

// commitFields writes the changed fields of the record, if it still exists.
func (s *Session) commitFields(ctx context.Context) error {
	s.mu.Lock()
	call := store.SessionCommit{Keys: s.meta.keys, Nonce: newNonce()}
	for i := range s.changes.list {
		switch f := &s.changes.list[i]; f.change {
		case set:
			call.Set = append(call.Set, store.Field{Name: f.name, Value: string(f.data)})
		case deleted:
			call.Delete = append(call.Delete, f.name)
		case added:
			call.Add = append(call.Add, store.Delta{Name: f.name, Add: f.delta})
		}
	}
	sent := slices.Clone(s.changes.list)
	s.mu.Unlock()
	call.GlobalEpoch, _ = s.m.epoch.get(ctx)
	reply, err := s.m.store.SessionCommit(ctx, call)
	if err != nil {
		return s.m.unavailable("save the session", err)
	}
	s.m.written(reply)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.endedLocked(reply.Status); err != nil {
		return err
	}
	s.settledLocked(sent)
	return nil
}

// endedLocked turns the answer of a script that did not do what it was asked to into an
// error.
func (s *Session) endedLocked(status store.SessionStatus) error {
	switch status {
	case store.SessionOK:
		return nil
	case store.SessionGone, store.SessionReplay, store.SessionSuperseded:
		// What it held must not end up in a guest's session that a later change would
		// make: it is over for this request.
		s.wasUser = s.meta.user != ""
		s.view = view{state: superseded, token: s.token, bearer: s.bearer, unclear: s.unclear}
		return ErrGone
	case store.SessionBadType:
		return fmt.Errorf("counter: %w", errCounter)
	}
	return fmt.Errorf("session: script answered %d: %w", status, ErrConflict)
}

// settledLocked notes that Redis has what was sent. What the handler changed meanwhile
// stays pending.
func (s *Session) settledLocked(sent []field) {
	for _, was := range sent {
		f := s.entryLocked(was.name)
		switch was.change {
		case set:
			f.known, f.has, f.value = true, true, was.data
		case deleted:
			f.known, f.has, f.value = true, false, nil
		case added:
			n, err := s.storedNumberLocked(was.name)
			f.known, f.has, f.value = true, err == nil, strconv.AppendInt(nil, n+was.delta, 10)
		default:
			continue
		}
		switch {
		case f.change == added && was.change == added && f.delta != was.delta:
			f.delta -= was.delta
		case f.change == was.change && bytes.Equal(f.data, was.data):
			f.change, f.data, f.delta = unchanged, nil, 0
		}
	}
}

// create stores a guest.
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
	made.unclear = s.unclear // they live on, until a login or a logout ends them
	s.becomeLocked(made)
	return nil
}

// newView is the session that was just created, at now by Redis's clock.
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

// becomeLocked makes the session the one that was just created, and hands its token out.
func (s *Session) becomeLocked(made view) {
	s.view, s.out = made, outgoing{token: made.token}
	if made.meta.persist {
		s.out.life = made.meta.Absolute.Sub(made.meta.Created)
	}
}

// valuesLocked lists what the handler sees, as the values of a new record.
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

// mintedLocked is the token that this visitor will have if a value is set. It exists
// ahead of the record, because sealed values are bound to it.
func (s *Session) mintedLocked() token.Token {
	if s.minted.IsZero() {
		s.minted = token.New("")
	}
	return s.minted
}

// memberLocked is the record that values are sealed for.
func (s *Session) memberLocked() string {
	if s.state == loaded {
		return s.meta.keys.Member
	}
	if s.m.values.sealer == nil {
		return ""
	}
	return s.mintedLocked().Member()
}

func newNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return strconv.FormatUint(n, 36)
}
