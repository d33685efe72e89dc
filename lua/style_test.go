package lua

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// eachFile calls f with each script and fragment.
func eachFile(t *testing.T, f func(name, text string)) {
	t.Helper()
	for _, pattern := range []string{"*.lua", "parts/*.lua"} {
		names, err := fs.Glob(files, pattern)
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, names, err)
		}
		for _, name := range names {
			f(name, read(name))
		}
	}
}

func TestLinesFitTheColumns(t *testing.T) {
	const most = 90
	eachFile(t, func(name, text string) {
		number := 0
		for line := range strings.Lines(text) {
			number++
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > most {
				t.Errorf("%s:%d has %d columns, want at most %d", name, number, n, most)
			}
		}
	})
}

// TestNamesAreWords: a reader of a script should not have to remember what a letter
// stands for. i and n count, ms and id are words of their own.
func TestNamesAreWords(t *testing.T) {
	declared := regexp.MustCompile(`\blocal ([\w, ]+?)(?: =|\n)|\bfor ([\w, ]+) (?:in|=)|\bfor (\w+) =|\bfunction [\w.]*\(([^)]*)\)`)
	allowed := []string{"i", "n", "_", "id", "ms", "OK", "at"}
	eachFile(t, func(file, _ string) {
		for _, m := range declared.FindAllStringSubmatch(code(file), -1) {
			for _, name := range strings.Split(strings.Join(m[1:], ","), ",") {
				if name = strings.TrimSpace(name); name != "" && len(name) < 3 && !slices.Contains(allowed, name) {
					t.Errorf("%s declares %s, want a word", file, name)
				}
			}
		}
	})
}

// TestNoChainsOfAndOr: a choice of choices is an if.
func TestNoChainsOfAndOr(t *testing.T) {
	chain := regexp.MustCompile(`= [^\n]*\band\b[^\n]*\bor\b[^\n]*\band\b`)
	eachFile(t, func(file, _ string) {
		for _, line := range chain.FindAllString(code(file), -1) {
			t.Errorf("%s: %q, want if and else", file, line)
		}
	})
}
