// Package unquoted makes errors of code that reads the values of sessions. Such code
// quotes what it could not read, and that may be a secret, so the text does not have the
// code's own words.
package unquoted

import (
	"fmt"
	"strings"
)

// Error returns an error that says what was being done, and of which type the cause is.
// The words of encoding/gob itself are shown: they name types, which the program may have
// to register. Programs get the cause by [errors.As].
func Error(doing string, cause error) error { return &failure{doing, cause} }

type failure struct {
	doing string
	cause error
}

func (f *failure) Unwrap() error { return f.cause }

func (f *failure) Error() string {
	why := fmt.Sprintf("%T", f.cause)
	if text := f.cause.Error(); strings.HasPrefix(text, "gob: ") {
		why = text
	}
	return f.doing + ": " + why
}
