package session

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"

	"github.com/gatekit/gatekit/internal/errtext"
)

// A Key names a value of type T in sessions. Make it once, as a package variable:
//
//	var Cart = session.NewKey[CartT]("cart")
//
// The manager's [Codec] encodes the values. Values of names that this version of a
// program does not use stay as they are. If bytes don't decode, the key returns an error,
// never "absent", because the next Set would destroy them.
//
// A name has one type within a manager, that of its first use. The methods of a key of
// another type, and of a [Counter], return an error, all but Delete.
type Key[T any] struct{ name string }

// NewKey returns the key of a name: 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or
// digit. It panics on any other name, since names are written in the program.
func NewKey[T any](name string) Key[T] {
	if err := checkName(name); err != nil {
		panic("session: NewKey: " + err.Error())
	}
	return Key[T]{name}
}

// Get returns the value, or the zero T when there is none.
func (k Key[T]) Get(s *Session) (T, error) {
	v, _, err := k.Lookup(s)
	return v, err
}

// Lookup returns the value and whether there is one. It sees the request's own changes,
// and other requests' changes as of the snapshot: see [Session.Reload]. It does not ask
// Redis. The error is [ErrUnavailable], or the codec's.
func (k Key[T]) Lookup(s *Session) (v T, ok bool, err error) {
	if err := k.use(s); err != nil {
		return v, false, err
	}
	s.mu.Lock()
	data, ok, err := s.currentLocked(k.name)
	member := s.memberLocked()
	s.mu.Unlock()
	if err != nil || !ok {
		return v, false, err
	}
	return k.decode(s, member, data)
}

func (k Key[T]) decode(s *Session, member string, data []byte) (v T, ok bool, err error) {
	if err := s.m.values.decode(member, k.name, data, &v); err != nil {
		var zero T
		return zero, false, err
	}
	return v, true, nil
}

// Set changes the value. The change is written ahead of the first byte of the response,
// see [Session]. Errors: [ErrTooLarge], [ErrTooLate], [ErrGone], [ErrUnavailable], or the
// codec's.
func (k Key[T]) Set(s *Session, v T) error {
	if err := k.change(s); err != nil {
		return err
	}
	plain, err := s.m.values.plain(k.name, &v) // without a lock: a method of T may use the session
	if err != nil {
		return s.lose(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeableLocked(k.name); err != nil {
		return err
	}
	return s.setLocked(k.name, s.m.values.seal(s.memberLocked(), k.name, plain))
}

// Delete drops the value. Like a Set, it is written with the response.
func (k Key[T]) Delete(s *Session) error {
	if err := s.wanted(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeableLocked(k.name); err != nil {
		return err
	}
	s.deleteLocked(k.name)
	return nil
}

// A Counter is an integer in sessions to which parallel requests add. It counts exactly
// up to 2^53, and not under [Encrypt].
type Counter struct{ name string }

var counterType = reflect.TypeFor[Counter]()

// NewCounter returns the counter of a name. The form of the name is that of [NewKey]. It
// panics on any other name.
func NewCounter(name string) Counter {
	if err := checkName(name); err != nil {
		panic("session: NewCounter: " + err.Error())
	}
	return Counter{name}
}

// Get returns the count as of the snapshot plus the request's own additions. It is an
// estimate while other requests add.
func (c Counter) Get(s *Session) (int64, error) {
	if err := s.use(c.name, counterType); err != nil {
		return 0, err
	}
	if s.m.values.sealer != nil {
		return 0, errtext.Errorf("session", "counter %q: %w", c.name, errSealedNr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok, err := s.currentLocked(c.name)
	if err != nil || !ok {
		return 0, err
	}
	return parseNumber(c.name, data)
}

// Add adds n, which may be negative, when the session is written. Redis computes the sum,
// so no addition is lost.
func (c Counter) Add(s *Session, n int64) error {
	if err := s.change(c.name, counterType); err != nil {
		return err
	}
	if s.m.values.sealer != nil {
		return s.lose(errtext.Errorf("session", "counter %q: %w", c.name, errSealedNr))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.changeableLocked(c.name); err != nil {
		return err
	}
	data, _, err := s.currentLocked(c.name)
	if err != nil {
		return err
	}
	old := int64(0)
	if data != nil {
		if old, err = parseNumber(c.name, data); err != nil {
			return err
		}
	}
	if n > maxCount || n < -maxCount || old+n > maxCount || old+n < -maxCount {
		return errtext.Errorf("session", "counter %q: %w", c.name, errCounter)
	}
	f := s.fieldLocked(c.name)
	if f != nil && (f.change == set || f.change == deleted) {
		return s.setLocked(c.name, strconv.AppendInt(nil, old+n, 10))
	}
	if err := s.roomLocked(c.name, 20); err != nil {
		return err
	}
	s.changeLocked(c.name, func(f *field) { f.change, f.delta = added, f.delta+n })
	return nil
}

// use refuses to read the value if nothing is known about the session, or if the name has
// another type.
func (k Key[T]) use(s *Session) error {
	return s.use(k.name, reflect.TypeFor[T]())
}

// change refuses to change the value for the same reasons.
func (k Key[T]) change(s *Session) error {
	return s.change(k.name, reflect.TypeFor[T]())
}

func (s *Session) use(name string, t reflect.Type) error {
	if err := s.unknown(); err != nil {
		return err
	}
	return s.m.types.check(name, t)
}

func (s *Session) change(name string, t reflect.Type) error {
	if err := s.wanted(); err != nil {
		return err
	}
	return s.lose(s.m.types.check(name, t))
}

// lose notes for the log why a change is refused. The program is wrong then, and its
// handler may ignore the error.
func (s *Session) lose(err error) error {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lost = err
	}
	return err
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("name %q: want 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit", name)
	}
	return nil
}
