package gatekit_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The rules of the Markdown pages. Code in them must come from an example that is
// compiled and run, line by line: what is typed into a page by hand stops working with
// the next rename, and nobody notices. Blocks that start with "```go before" show other
// kits' code, which is not here to be run.

var (
	comment  = regexp.MustCompile(`(^|\s)//( .*)?$`)
	space    = regexp.MustCompile(`\s+`)
	pageLink = regexp.MustCompile(`\]\(([^)#\s"]+)[^)\s"]*\)`)
)

// codeLine is a line without indentation, comment and alignment; empty when there is
// nothing in it to check.
func codeLine(line string) string {
	line = strings.TrimSpace(space.ReplaceAllString(comment.ReplaceAllString(line, ""), " "))
	if strings.Trim(line, "(){}[],;. ") == "" || line == "return" || line == "default:" {
		return ""
	}
	return line
}

// linesNotRun lists the lines of a page's Go code that no example has.
func linesNotRun(page string, examples map[string]bool) (missing []string) {
	inside := false
	for n, line := range strings.Split(page, "\n") {
		switch {
		case strings.TrimSpace(line) == "```go":
			inside = true
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			inside = false
		case inside:
			if code := codeLine(line); code != "" && !examples[code] {
				missing = append(missing, fmt.Sprintf("line %d: %s", n+1, code))
			}
		}
	}
	return missing
}

// deadLinks lists the links of a page in folder dir that lead to no file of the tree.
func deadLinks(page, dir string) (dead []string) {
	for _, match := range pageLink.FindAllStringSubmatch(page, -1) {
		if target := match[1]; !strings.Contains(target, ":") {
			if _, err := os.Stat(filepath.Join(dir, target)); err != nil {
				dead = append(dead, target)
			}
		}
	}
	return dead
}

func TestPageRulesCatch(t *testing.T) {
	examples := map[string]bool{codeLine("\tx := f(1) // one"): true, codeLine("mux.Handle(\"GET /\",  h)"): true}
	for _, c := range []struct {
		name, page string
		missing    int
	}{
		{"the same", "```go\nx := f(1)\n```", 0},
		{"with another comment and alignment", "```go\n\t\tx   := f(1) // two\n\n}\n```", 0},
		{"renamed", "```go\nx := g(1)\n```", 1},
		{"prose", "x := g(1)", 0},
		{"not Go", "```\nx := g(1)\n```", 0},
		{"another kit's", "```go before\nx := g(1)\n```", 0},
		{"an address is no comment", "```go\nget(\"http://host\")\n```", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := linesNotRun(c.page, examples); len(got) != c.missing {
				t.Errorf("%q, want %d lines", got, c.missing)
			}
		})
	}
	if got := deadLinks("[a](README.md#part) [b](https://example.com/x) [c](no/such.md)", "."); len(got) != 1 || got[0] != "no/such.md" {
		t.Errorf("dead links %q, want the last", got)
	}
}

func TestPages(t *testing.T) {
	examples, pages := map[string]bool{}, []string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch inExamples := strings.HasPrefix(name, "examples"+string(filepath.Separator)); {
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case strings.HasSuffix(name, ".md"):
			pages = append(pages, name)
		case strings.Contains(d.Name(), "example") && strings.HasSuffix(name, "_test.go"), inExamples && strings.HasSuffix(name, ".go"):
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			for line := range strings.SplitSeq(string(text), "\n") {
				examples[codeLine(line)] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range linesNotRun(string(text), examples) {
			t.Errorf("%s, %s: is in no example", name, line)
		}
		for _, link := range deadLinks(string(text), filepath.Dir(name)) {
			t.Errorf("%s: link to %s: there is no such file", name, link)
		}
	}
}
