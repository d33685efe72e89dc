package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/store"
)

// Save writes the pending changes now, so that the handler can answer a failure. Without
// Save they are written ahead of the first byte of the response. Save counts as use of
// the session, see [Session.Touch]. Errors: [ErrGone]; [ErrUnavailable]; [ErrTooLate] if
// the response has started and a visitor without a session would need a cookie.
//
// After a first Save the handler may also change values while the response runs, as
// streams need to. The next Save writes them. Changes that are not saved when the handler
// returns are dropped.
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
		_ = s.noteUse(ctx) // the changes are saved, even if this fails
	}
	if errors.Is(err, gatekit.ErrUnknownOutcome) {
		// The changes may have been saved. Saving them again with the response might add
		// twice, or undo later changes of others.
		s.mu.Lock()
		defer s.mu.Unlock()
		s.discardLocked()
		s.refused = err
	}
	return err
}

// save writes the pending changes by one script: to the record, if it still exists, or to
// a new record for a visitor without one. The caller holds ops.
func (s *Session) save(ctx context.Context) error {
	s.mu.Lock()
	if !s.dirtyLocked() {
		s.mu.Unlock()
		return nil
	}
	state, err := s.state, s.err
	call, sent := s.pendingLocked()
	s.mu.Unlock()
	switch {
	case state == none, state == missing:
		return s.create(ctx)
	case state == superseded:
		return ErrGone
	case state != loaded:
		return err
	}
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

// pendingLocked returns the arguments of the script that writes the changes, and a copy
// of the fields as they are now.
func (s *Session) pendingLocked() (call store.SessionCommit, sent []field) {
	call = store.SessionCommit{Keys: s.meta.keys, Nonce: newNonce()}
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
	return call, slices.Clone(s.changes.list)
}

// settledLocked notes that Redis now has the fields that were sent. Changes that the
// handler made meanwhile stay pending.
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

func newNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return strconv.FormatUint(n, 36)
}
