package dropin_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var codeBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// missingCode returns the Go code of a page that is in none of the examples. What stands under "Before" is others' code.
func missingCode(page, examples string) (missing []string) {
	for section := range strings.SplitSeq(page, "\n## ") {
		if strings.HasPrefix(section, "Before\n") {
			continue
		}
		for _, block := range codeBlock.FindAllStringSubmatch(section, -1) {
			if !strings.Contains(examples, flat(block[1])) {
				missing = append(missing, block[1])
			}
		}
	}
	return missing
}

// flat is code without its indentation.
func flat(code string) string {
	return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(code, "")
}

// The code of the pages is that of the examples, which run.
func TestPagesShowTheExamples(t *testing.T) {
	const page = "# P\n## Before\n```go\nold()\n```\n## After\n```go\nif x {\n\ty()\n}\n```\n"
	if got := missingCode(page, flat("\tif x {\n\t\ty()\n\t}\n")); got != nil {
		t.Errorf("code that is there is missed: %q", got)
	}
	if got := missingCode(page, "if x {\nz()\n}\n"); len(got) != 1 {
		t.Errorf("code that is not there is found: %q", got)
	}
	pages, _ := filepath.Glob("from-*.md")
	if len(pages) != 5 {
		t.Errorf("%d pages: %q", len(pages), pages)
	}
	var examples strings.Builder
	for _, pattern := range []string{"example*_test.go", "../gategorilla/example_test.go", "../gategorilla/ginstore/example_test.go"} {
		files, _ := filepath.Glob(pattern)
		if len(files) == 0 {
			t.Errorf("no %s", pattern)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			noError(t, err)
			examples.WriteString(flat(string(text)))
		}
	}
	for _, file := range pages {
		text, err := os.ReadFile(file)
		noError(t, err)
		if !codeBlock.Match(text) {
			t.Errorf("%s has no code", file)
		}
		for _, code := range missingCode(string(text), examples.String()) {
			t.Errorf("%s: not in an example:\n%s", file, code)
		}
	}
}
