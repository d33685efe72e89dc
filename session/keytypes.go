package session

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// types are the types that a manager's values are used with. Two keys of one name would
// read each other's bytes. Some decode as the other type, and the next Set destroys the
// value.
type types struct {
	known atomic.Pointer[map[string]reflect.Type] // never changed, only replaced
	mu    sync.Mutex                              // held while replacing
}

// maxTypes bounds the names, because a program may make names from requests. Names beyond
// are not checked.
const maxTypes = 1024

// check notes the type of a name when it is used first, and refuses another one.
func (ts *types) check(name string, t reflect.Type) error {
	if was, ok := ts.get(name); ok {
		return sameType(name, was, t)
	}
	if strings.HasPrefix(name, flashPrefix) { // endless, and of one type
		return nil
	}
	return sameType(name, ts.note(name, t), t)
}

func (ts *types) get(name string) (reflect.Type, bool) {
	known := ts.known.Load()
	if known == nil {
		return nil, false
	}
	t, ok := (*known)[name]
	return t, ok
}

// note returns the type that the name has now.
func (ts *types) note(name string, t reflect.Type) reflect.Type {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if was, ok := ts.get(name); ok {
		return was
	}
	next := map[string]reflect.Type{}
	if known := ts.known.Load(); known != nil {
		if len(*known) >= maxTypes {
			return t
		}
		next = maps.Clone(*known)
	}
	next[name] = t
	ts.known.Store(&next)
	return t
}

func sameType(name string, was, is reflect.Type) error {
	if was == is {
		return nil
	}
	return fmt.Errorf("session: value %q is used as %v and as %v: make one key for it, or give one of them another name", name, was, is)
}
