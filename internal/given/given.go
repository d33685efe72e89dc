// Package given refuses the managers, limiters and blobs that a program did not make, in
// one wording for all adapters.
package given

import (
	"fmt"
	"reflect"
)

// Check returns an error that names the type of p if p is nil. A program that ignores the
// error of a constructor passes such a nil on, and would learn of it from a panic in each
// request.
func Check[T any](p *T) error {
	if p == nil {
		return fmt.Errorf("gatekit: the %T is nil: make it first, and look at the error", p)
	}
	return nil
}

// Must panics with the error of [Check], for constructors that return no error.
func Must[T any](p *T) {
	if err := Check(p); err != nil {
		panic(err)
	}
}

// Option returns an error that names the field of the options if v, the value of an
// interface that may be left out, is a nil of some type: it passes for one that is there.
func Option(field string, v any) error {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func:
		if r.IsNil() {
			return fmt.Errorf("%s: the %T is nil: make it first, and look at the error, or leave the field out", field, v)
		}
	}
	return nil
}
