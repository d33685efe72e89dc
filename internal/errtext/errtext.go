// Package errtext wraps errors so that the name of a package stands in their text once,
// and in front.
package errtext

import (
	"fmt"
	"strings"
)

// Errorf is [fmt.Errorf] with a text that begins with the package's name. The errors
// among args lose the name of the package that theirs begins with: a reader of a log
// wants to know who failed at what, and not who called whom.
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

// Error returns the text of the error, of each line where it joins several.
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
