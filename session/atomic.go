package session

import (
	"context"
	"fmt"

	"github.com/gatekit/gatekit/internal/store"
)

// Pop takes the value out of the session at once. Of parallel requests one gets the
// value, the others get none. The value is delivered at most once, not exactly once: if
// Redis's answer or the response is lost, the value is lost too. If this request set the
// value, Pop takes the change back. If the snapshot has no value, Pop does not ask Redis.
// Errors: [ErrUnavailable], [ErrGone], [ErrTooLate], or the codec's; after the codec's
// error the value is gone.
func (k Key[T]) Pop(ctx context.Context, s *Session) (v T, ok bool, err error) {
	if err := k.change(s); err != nil {
		return v, false, err
	}
	data, member, ok, err := s.pop(ctx, k.name)
	if err != nil || !ok {
		return v, false, err
	}
	return k.decode(s, member, data)
}

func (s *Session) pop(ctx context.Context, name string) (data []byte, member string, ok bool, err error) {
	done, err := s.immediate(ctx, name)
	if err != nil {
		return nil, "", false, err
	}
	defer done()
	data, ok, ours, err := s.takeBack(name)
	s.mu.Lock()
	keys, member := s.meta.keys, s.memberLocked()
	s.mu.Unlock()
	if err != nil || !ok || ours {
		return data, member, ok, err
	}
	reply, err := s.value(ctx, keys, name, "pop", func(epoch int64) (store.SessionValue, error) {
		return s.m.store.SessionPop(ctx, keys, epoch, name)
	})
	if err != nil {
		return nil, "", false, err
	}
	s.learn(name, "", false)
	return []byte(reply.Value), member, reply.Found, nil
}

// takeBack returns the value that the handler sees. ours is true if Redis need not be
// asked; the value is then dropped here.
func (s *Session) takeBack(name string) (data []byte, ok, ours bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.freeLocked(name); err != nil {
		return nil, false, false, err
	}
	data, ok, err = s.currentLocked(name)
	ours = !s.storesLocked(name)
	if ours && ok {
		s.deleteLocked(name)
	}
	return data, ok, ours, err
}

// SetNX sets the value at once if there is none. It returns the value that the session
// has now, and whether this call set it. Parallel requests all return the same value. If
// the snapshot has a value, SetNX does not ask Redis. Errors as for Set.
func (k Key[T]) SetNX(ctx context.Context, s *Session, v T) (T, bool, error) {
	var zero T
	if err := k.change(s); err != nil {
		return zero, false, err
	}
	plain, err := s.m.values.plain(k.name, &v)
	if err != nil {
		return zero, false, err
	}
	present, member, err := s.setNX(ctx, k.name, plain)
	switch {
	case err != nil:
		return zero, false, err
	case present != nil:
		v, _, err := k.decode(s, member, present)
		return v, false, err
	}
	return v, true, nil
}

// setNX returns the bytes of the value that the session already has, or nil if it set the
// value.
func (s *Session) setNX(ctx context.Context, name string, plain []byte) (present []byte, member string, err error) {
	done, err := s.immediate(ctx, name)
	if err != nil {
		return nil, "", err
	}
	defer done()
	data, present, ours, err := s.setOwn(name, plain)
	s.mu.Lock()
	keys, member := s.meta.keys, s.memberLocked()
	s.mu.Unlock()
	if err != nil || present != nil || ours {
		return present, member, err
	}
	reply, err := s.value(ctx, keys, name, "set", func(epoch int64) (store.SessionValue, error) {
		return s.m.store.SessionSetNX(ctx, keys, epoch, name, string(data))
	})
	switch {
	case err != nil:
		return nil, "", err
	case reply.Found:
		return some(s.learn(name, reply.Value, true)), member, nil
	}
	s.learn(name, string(data), true)
	return nil, member, nil
}

// setOwn returns the bytes to set, or the bytes of the present value. If Redis need not
// be asked it sets the value, and ours is true.
func (s *Session) setOwn(name string, plain []byte) (data, present []byte, ours bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.freeLocked(name); err != nil {
		return nil, nil, false, err
	}
	present, ok, err := s.currentLocked(name)
	if err != nil {
		return nil, nil, false, err
	}
	if ok {
		return nil, some(present), false, nil
	}
	data = s.m.values.seal(s.memberLocked(), name, plain)
	if !s.storesLocked(name) {
		return data, nil, true, s.setLocked(name, data)
	}
	return data, nil, false, s.roomLocked(name, len(data))
}

// some returns data, never nil: nil means that there is no value.
func some(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// immediate prepares an operation on a value that does not wait for the commit. The
// caller calls done after the operation, and must not call a function of the program
// before that.
func (s *Session) immediate(ctx context.Context, name string) (done func(), err error) {
	if err := s.wanted(); err != nil {
		return nil, err
	}
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A stored value can be changed while the response runs, since the caller gets an
	// error at once. A visitor without a session would need a cookie.
	err = s.writableLocked()
	if err == ErrTooLate && s.phase == started && s.storesLocked(name) {
		err = nil
	}
	if err != nil {
		s.give()
		return nil, err
	}
	return s.give, nil
}

// learn notes the value that Redis has now, and returns its bytes.
func (s *Session) learn(name, value string, has bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var data []byte
	if has {
		data = []byte(value)
	}
	s.learnLocked(name, data, has)
	return data
}

// answered returns the error for the status of a script over a single value. It is no
// error that Redis has another value.
func (s *Session) answered(status store.SessionStatus) error {
	if status == store.SessionConflict {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endedLocked(status)
}

// value runs a script over a single value, and notes that the session is used. doing
// names the script in errors.
func (s *Session) value(ctx context.Context, keys store.SessionKeys, name, doing string, run func(epoch int64) (store.SessionValue, error)) (store.SessionValue, error) {
	epoch, err := s.m.epoch.get(ctx)
	if err != nil {
		return store.SessionValue{}, s.m.unavailable(doing, err)
	}
	reply, err := run(epoch)
	if err != nil {
		return reply, s.m.unavailable(fmt.Sprintf("%s %q", doing, name), err)
	}
	s.m.written(reply.SessionReply)
	if err := s.answered(reply.Status); err != nil || reply.Status != store.SessionOK {
		return reply, err
	}
	_ = s.noteUse(ctx) // the change is made, even if this fails
	return reply, nil
}
