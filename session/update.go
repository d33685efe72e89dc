package session

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// Update calls f with the value, replaces the value by f's result at once, and returns
// the new value. If there is no value, f gets the zero T. If another request changed the
// value meanwhile, Update calls f again with the new one, so f should have no side
// effects. If f returns an error, Update returns it and changes nothing. For sums use a
// [Counter].
//
// Within a process, updates of the same value wait for each other; updates of different
// sessions never do. f may be slow, answer the client and use the session, but it must
// not change the same value. While Update runs, any other change of the value by this
// request returns an error at once, also from another goroutine. If f logs in or out, the
// update fails.
//
// Errors: [ErrBusy] if the updates ahead of this one took longer than the budget;
// [ErrConflict] if other processes changed the value again and again until the budget was
// over; others as for Set. After ErrBusy and ErrConflict nothing was changed.
func (k Key[T]) Update(ctx context.Context, s *Session, f func(T) (T, error)) (T, error) {
	var zero T
	if err := k.change(s); err != nil {
		return zero, err
	}
	u, err := s.beginUpdate(ctx, k.name)
	if err != nil {
		return zero, err
	}
	defer u.end()
	for try := 0; ; try++ {
		if err := u.look(); err != nil {
			return zero, err
		}
		v, plain, err := k.apply(u, f)
		if err != nil {
			return zero, err
		}
		written, err := u.write(ctx, plain)
		if err != nil {
			return zero, err
		}
		if written {
			return v, nil
		}
		pause := rand.N(time.Millisecond << min(try, 4))
		if time.Until(u.until) <= pause {
			return zero, errtext.Errorf("session", "update %q: others changed the value again and again: %w", k.name, ErrConflict)
		}
		time.Sleep(pause)
	}
}

// apply computes the new value and its bytes. No lock is held, because f and the methods
// of T belong to the program.
func (k Key[T]) apply(u *update, f func(T) (T, error)) (v T, plain []byte, err error) {
	if u.has {
		if v, _, err = k.decode(u.s, u.member, u.data); err != nil {
			return v, nil, err
		}
	}
	if v, err = f(v); err != nil {
		return v, nil, err
	}
	plain, err = u.s.m.values.plain(k.name, &v)
	return v, plain, err
}

// update is an Update under way.
type update struct {
	s     *Session
	name  string
	until time.Time
	give  func() // gives the turn back; nil for a value that only this request has

	// The value that f is called with:
	ours   bool // the value is not in Redis, or a change of it is pending
	keys   store.SessionKeys
	member string // the record for which the value is sealed
	data   []byte
	has    bool
}

// beginUpdate notes that this request updates the value, and waits for its turn.
func (s *Session) beginUpdate(ctx context.Context, name string) (*update, error) {
	done, err := s.immediate(ctx, name)
	if err != nil {
		return nil, err
	}
	done()
	budget := s.m.store.Budget()
	u := &update{s: s, name: name, until: time.Now().Add(budget)}
	shared, err := u.mark()
	if err != nil || !shared {
		return u, err
	}
	if u.give = s.m.updates.take(ctx, valueName{u.keys.Member, name}, budget); u.give == nil {
		u.end()
		if err := ctx.Err(); err != nil {
			return nil, errtext.Errorf("session", "update %q: waited for other requests that update the value, until the context ended: %w", name, err)
		}
		return nil, errtext.Errorf("session", "update %q: waited %v for other requests that update the value: %w", name, budget, ErrBusy)
	}
	u.until = time.Now().Add(budget)
	return u, nil
}

// mark notes that this request updates the value, and reports whether other requests may
// update it too.
func (u *update) mark() (shared bool, err error) {
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.freeLocked(u.name); err != nil {
		return false, err
	}
	s.updating = append(s.updating, u.name)
	u.keys = s.meta.keys
	return s.storesLocked(u.name), nil
}

func (u *update) end() {
	if u.give != nil {
		u.give()
	}
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.updating, u.name)
	s.updating = slices.Delete(s.updating, i, i+1)
}

// look notes the value that f is called with.
func (u *update) look() (err error) {
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	u.ours, u.keys, u.member = !s.storesLocked(u.name), s.meta.keys, s.memberLocked()
	u.data, u.has, err = s.currentLocked(u.name)
	return err
}

// write replaces the value that f was called with by the new one, and reports whether it
// did. If not, another request has changed the value.
func (u *update) write(ctx context.Context, plain []byte) (written bool, err error) {
	s := u.s
	done, err := s.immediate(ctx, u.name)
	if err != nil {
		return false, err
	}
	defer done()
	next, again, err := u.prepare(plain)
	if err != nil || again || u.ours {
		return err == nil && !again, err
	}
	reply, err := s.value(ctx, u.keys, u.name, "update", func(epoch int64) (store.SessionValue, error) {
		return s.m.store.SessionCompareAndSet(ctx, store.SessionSwap{
			Keys: u.keys, GlobalEpoch: epoch, Name: u.name, Present: u.has, Old: string(u.data), New: string(next),
		})
	})
	switch {
	case err != nil:
		return false, err
	case reply.Status == store.SessionOK:
		s.learn(u.name, string(next), true)
		return true, nil
	}
	s.learn(u.name, reply.Value, reply.Found)
	return false, nil
}

// prepare returns the bytes to store, and whether f has to be called again instead. If
// the session or the value is not stored yet, it sets the value as a pending change.
func (u *update) prepare(plain []byte) (next []byte, again bool, err error) {
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := s.storesLocked(u.name)
	switch {
	case !u.ours && (!stored || s.meta.keys.Member != u.keys.Member):
		return nil, false, errtext.Errorf("session", "update %q: this request logged in or out meanwhile: %w", u.name, ErrConflict)
	case u.ours && stored: // saved meanwhile
		return nil, true, nil
	}
	next = s.m.values.seal(s.memberLocked(), u.name, plain)
	if u.ours {
		return next, false, s.setLocked(u.name, next)
	}
	return next, false, s.roomLocked(u.name, len(next))
}
