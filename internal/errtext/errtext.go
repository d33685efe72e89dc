// Package errtext wraps errors so that their text has the name of a package once, at the
// beginning.
package errtext

import (
	"fmt"
	"strings"
)

// Errorf is [fmt.Errorf] with a text that begins with the package's name. If the text of
// an error among args begins with the name of a package, Errorf leaves that name out: a
// reader of a log wants to know which package failed at what, not which package called
// which.
func Errorf(pkg, format string, args ...any) error {
	for i, arg := range args {
		if err, ok := arg.(error); ok {
			args[i] = bare{err}
		}
	}
	return fmt.Errorf(pkg+": "+format, args...)
}

// bare is an error whose text does not begin with the name of a package.
type bare struct{ error }

var names = []string{"gatekit: ", "session: ", "ratelimit: ", "blob: "}

// Error returns the text of the error without the name. If the error joins several, each
// line loses its name.
func (b bare) Error() string {
	lines := strings.Split(b.error.Error(), "\n")
	for i, line := range lines {
		for _, name := range names {
			if rest, found := strings.CutPrefix(line, name); found {
				lines[i] = rest
				break
			}
		}
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the error.
func (b bare) Unwrap() error { return b.error }
