package session

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/gatekit/gatekit/lua"
)

// Pop takes the value out of the session, at once: of parallel requests one gets it, the others get none. It is delivered
// at most once, not exactly once: when Redis's answer or the response is lost, the value is too. A value that this request
// set is taken back. Where the snapshot has none, Redis is not asked. Errors: [ErrUnavailable], [ErrGone],
// [ErrTooLate], or the codec's, with which the value is gone.
func (k Key[T]) Pop(ctx context.Context, s *Session) (v T, ok bool, err error) {
	done, err := s.immediate(ctx)
	if err != nil {
		return v, false, err
	}
	defer done()
	s.mu.Lock()
	data, ok, err := s.currentLocked(k.name)
	ours := !s.storesLocked(k.name)
	if ours && ok {
		s.deleteLocked(k.name)
	}
	keys, member := s.meta.keys, s.memberLocked()
	s.mu.Unlock()
	if err != nil || !ok {
		return v, false, err
	}
	if !ours {
		reply, err := s.value(ctx, keys, k.name, "pop", func(epoch int64) (lua.SessionValue, error) {
			return s.m.store.SessionPop(ctx, keys, epoch, k.name)
		})
		if err != nil || !reply.Found {
			return v, false, err
		}
		data = []byte(reply.Value)
	}
	return k.decode(s, member, data)
}

// SetNX sets the value if there is none, at once, and returns the value that the session has now and whether it is v:
// parallel requests all return the same. Where the snapshot has a value, Redis is not asked. Errors as for Set.
func (k Key[T]) SetNX(ctx context.Context, s *Session, v T) (T, bool, error) {
	var zero T
	done, err := s.immediate(ctx)
	if err != nil {
		return zero, false, err
	}
	defer done()
	s.mu.Lock()
	present, ok, err := s.currentLocked(k.name)
	ours, keys, member := !s.storesLocked(k.name), s.meta.keys, s.memberLocked()
	var data []byte
	if err == nil && !ok {
		if data, err = s.m.values.encode(member, k.name, v); err == nil {
			err = s.roomLocked(k.name, len(data))
		}
		if err == nil && ours {
			err = s.setLocked(k.name, data)
		}
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		return zero, false, err
	case ok:
		v, _, err := k.decode(s, member, present)
		return v, false, err
	case ours:
		return v, true, nil
	}
	reply, err := s.value(ctx, keys, k.name, "set", func(epoch int64) (lua.SessionValue, error) {
		return s.m.store.SessionSetNX(ctx, keys, epoch, k.name, string(data))
	})
	if err != nil {
		return zero, false, err
	}
	if reply.Found {
		v, _, err := k.decode(s, member, s.learn(k.name, reply.Value, true))
		return v, false, err
	}
	s.learn(k.name, string(data), true)
	return v, true, nil
}

// Update replaces the value by f of it, at once, and returns the new one. f gets the zero T when there is none. When
// another request changed the value meanwhile, f is called again with what it has now, so it should have no effects; an
// error of f ends the update and changes nothing. Errors: [ErrConflict] when that did not succeed within the budget, or as
// for Set. For sums use a [Counter].
func (k Key[T]) Update(ctx context.Context, s *Session, f func(T) (T, error)) (T, error) {
	var zero T
	done, err := s.immediate(ctx)
	if err != nil {
		return zero, err
	}
	defer done()
	s.mu.Lock()
	data, ok, err := s.currentLocked(k.name)
	ours, keys, member := !s.storesLocked(k.name), s.meta.keys, s.memberLocked()
	s.mu.Unlock()
	if err != nil {
		return zero, err
	}
	until := time.Now().Add(s.m.store.Budget())
	if !ours {
		free, err := s.m.reserve(ctx, member, k.name, until)
		if err != nil {
			return zero, err
		}
		defer free()
	}
	for try := 0; ; try++ {
		v, next, err := k.apply(s, member, data, ok, f)
		if err != nil {
			return zero, err
		}
		if ours {
			s.mu.Lock()
			defer s.mu.Unlock()
			return v, s.setLocked(k.name, next)
		}
		reply, err := s.value(ctx, keys, k.name, "update", func(epoch int64) (lua.SessionValue, error) {
			return s.m.store.SessionCompareAndSet(ctx, lua.SessionSwap{
				Keys: keys, GlobalEpoch: epoch, Name: k.name, Present: ok, Old: string(data), New: string(next),
			})
		})
		switch {
		case err != nil:
			return zero, err
		case reply.Status == lua.SessionOK:
			s.learn(k.name, string(next), true)
			return v, nil
		}
		data, ok = s.learn(k.name, reply.Value, reply.Found), reply.Found
		pause := rand.N(time.Millisecond << min(try, 4))
		if time.Until(until) <= pause {
			return zero, fmt.Errorf("update %q: %w", k.name, ErrConflict)
		}
		time.Sleep(pause)
	}
}

// apply computes the new value and its bytes.
func (k Key[T]) apply(s *Session, member string, data []byte, ok bool, f func(T) (T, error)) (v T, next []byte, err error) {
	if ok {
		if v, _, err = k.decode(s, member, data); err != nil {
			return v, nil, err
		}
	}
	if v, err = f(v); err != nil {
		return v, nil, err
	}
	if next, err = s.m.values.encode(member, k.name, v); err != nil {
		return v, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return v, next, s.roomLocked(k.name, len(next))
}

// immediate makes ready for an operation that does not wait for the commit. The caller calls done after it.
func (s *Session) immediate(ctx context.Context) (done func(), err error) {
	if err := s.load(ctx); err != nil {
		return nil, s.refuse(err)
	}
	s.ops.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	// A stored session can be changed while the response runs, since the change is answered at once. A visitor without one
	// would need a cookie.
	err = s.writableLocked()
	if err == ErrTooLate && s.phase == started && s.state == loaded {
		err = nil
	}
	if err != nil {
		s.ops.Unlock()
		return nil, err
	}
	return s.ops.Unlock, nil
}

// storesLocked reports whether a value's truth is in Redis: the session is stored, and no change of the value pending.
func (s *Session) storesLocked(name string) bool {
	f := s.fieldLocked(name)
	return s.state == loaded && (f == nil || f.change == unchanged)
}

// learn notes what Redis has now, and returns it.
func (s *Session) learn(name, value string, has bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learnLocked(name, []byte(value), has)
	return s.fieldLocked(name).value
}

// value runs one of the scripts over a single value.
func (s *Session) value(ctx context.Context, keys lua.SessionKeys, name, doing string, run func(epoch int64) (lua.SessionValue, error)) (lua.SessionValue, error) {
	epoch, err := s.m.epoch.get(ctx)
	if err != nil {
		return lua.SessionValue{}, s.m.unavailable(doing, err)
	}
	reply, err := run(epoch)
	if err != nil {
		return reply, s.m.unavailable(fmt.Sprintf("%s %q", doing, name), err)
	}
	s.m.written(reply.SessionReply)
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply.Status == lua.SessionConflict {
		return reply, nil
	}
	if err := s.endedLocked(reply.Status); err != nil {
		return reply, err
	}
	if doing == "pop" {
		s.learnLocked(name, nil, false)
	}
	return reply, nil
}

var stripeSeed = maphash.MakeSeed()

// reserve waits until no other request of this process updates the value, or one that shares its stripe.
func (m *Manager) reserve(ctx context.Context, member, name string, until time.Time) (free func(), err error) {
	var h maphash.Hash
	h.SetSeed(stripeSeed)
	_, _ = h.WriteString(member)
	_, _ = h.WriteString(name)
	stripe := m.updates[h.Sum64()%uint64(len(m.updates))]
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case stripe <- struct{}{}:
		return func() { <-stripe }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("update %q: %w: %w", name, ErrConflict, ctx.Err())
	case <-timer.C:
		return nil, fmt.Errorf("update %q: %w", name, ErrConflict)
	}
}
