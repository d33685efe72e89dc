package gatekit_test

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// The rule of width: a line of prose has at most 90 columns, so that comments can be read
// beside code and a diff shows the sentence that changed. Prose is a comment that has its
// line to itself, in Go and in Lua, and the text of Markdown pages. Not prose: directives
// of Go, the output of examples, code in a comment, tables and code of a page, and a line
// that can't be broken because it has one word, such as an address.

const maxColumns = 90

var (
	directive = regexp.MustCompile(`^//[a-z]+:`)
	marker    = regexp.MustCompile(`^(//|--|[-*>]|[0-9]+\.|#+|\[[ x]\]|\s)+`)
)

// columns is the width of a line. A tab counts 4.
func columns(line string) int {
	return utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
}

// tooWide reports whether a line of prose is wider than it has to be.
func tooWide(line string) bool {
	return columns(line) > maxColumns && strings.Contains(marker.ReplaceAllString(strings.TrimSpace(line), ""), " ")
}

// wideProse lists the numbers of the lines of a file whose prose is too wide.
func wideProse(name, text string) (numbers []int) {
	fence, output := false, false
	for i, line := range strings.Split(text, "\n") {
		trimmed, prose := strings.TrimSpace(line), false
		switch path.Ext(name) {
		case ".go":
			comment, isComment := strings.CutPrefix(trimmed, "//")
			output = isComment && (output || strings.HasPrefix(comment, " Output:") || strings.HasPrefix(comment, " Unordered output:"))
			code := strings.HasPrefix(comment, "\t") || strings.HasPrefix(comment, "    ")
			prose = isComment && !output && !code && !directive.MatchString(trimmed)
		case ".lua":
			prose = strings.HasPrefix(trimmed, "--")
		case ".md":
			if strings.HasPrefix(trimmed, "```") {
				fence = !fence
			}
			code := strings.HasPrefix(line, "    ") && !strings.HasPrefix(trimmed, "- ")
			prose = !fence && !code && !strings.HasPrefix(trimmed, "|")
		}
		if prose && tooWide(line) {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

func TestProseIsNarrow(t *testing.T) {
	wide := strings.Repeat("word ", 20)
	for _, c := range []struct {
		name, file, text string
		lines            int
	}{
		{"a comment of Go", "x.go", "\t// " + wide, 1},
		{"a narrow comment", "x.go", "\t// " + wide[:80], 0},
		{"tabs count four", "x.go", "\t\t\t\t// " + wide[:80], 1},
		{"code of Go", "x.go", "f(" + wide + ")", 0},
		{"code in a comment", "x.go", "//\tf(" + wide + ")", 0},
		{"a directive", "x.go", "//lint:ignore " + wide, 0},
		{"the output of an example", "x.go", "// Output:\n// " + wide, 0},
		{"a comment behind an output", "x.go", "// Output:\n// 1\n}\n// " + wide, 1},
		{"an address", "x.go", "// https://example.com/" + strings.Repeat("long", 30), 0},
		{"a comment of Lua", "x.lua", "-- " + wide, 1},
		{"code of Lua", "x.lua", wide, 0},
		{"a page", "x.md", "- " + wide, 1},
		{"a table", "x.md", "| " + wide + " |", 0},
		{"code of a page", "x.md", "```go\n" + wide + "\n```\n" + wide, 1},
		{"another file", "x.txt", wide, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := wideProse(c.file, c.text); len(got) != c.lines {
				t.Errorf("lines %v are too wide in %q, want %d lines", got, c.text, c.lines)
			}
		})
	}
	walk(t, func(name string) {
		if strings.Contains("/"+name, "/testdata/") {
			return
		}
		switch path.Ext(name) {
		case ".go", ".lua", ".md":
			text, err := os.ReadFile(name)
			if err != nil {
				return // gone since it was listed
			}
			for _, number := range wideProse(name, string(text)) {
				t.Errorf("%s:%d: prose wider than %d columns", name, number, maxColumns)
			}
		}
	})
}
