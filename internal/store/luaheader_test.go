package store

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A contract is what the first comment of a .lua file promises.
type contract struct {
	title string
	keys  []position
	argv  []position
	lines map[string]string // PARTS, RETURNS, EXPIRES, COST, RETRY
}

// A position is a documented KEYS[...] or ARGV[...]: factor*i + offset for each limit i =
// 1 .. n, or, when last is set, factor*n + offset, or the offset alone when factor is 0.
type position struct {
	factor, offset int
	last           bool
	name           string
}

func (p position) String() string {
	return fmt.Sprintf("%s (%d,%d,last=%v)", p.name, p.factor, p.offset, p.last)
}

// at returns the places it documents in a call with n limits.
func (p position) at(n int) (places []int) {
	switch {
	case p.factor == 0:
		return []int{p.offset}
	case p.last:
		return []int{p.factor*n + p.offset}
	}
	for i := 1; i <= n; i++ {
		places = append(places, p.factor*i+p.offset)
	}
	return places
}

func luaFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.lua"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no .lua files in %s: %v", dir, err)
	}
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	return names
}

func newSha(text string) string {
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

var (
	headerIndex = regexp.MustCompile(`^(KEYS|ARGV)\[(\d*)([in]?)(?:\+?(-?\d+))?\]\s+(\S+)\s+\S`)
	headerWord  = regexp.MustCompile(`^(PARTS|RETURNS|EXPIRES|COST|RETRY)\s+(\S.*)$`)
	headerMore  = regexp.MustCompile(`^ {8,}\S`) // an entry that goes on
)

// readContract parses the comment that opens a file, and fails on a line that it does not
// understand.
func readContract(t *testing.T, file string) contract {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(luaDir, file))
	if err != nil {
		t.Fatal(err)
	}
	c := contract{lines: map[string]string{}}
	word := "" // the last of PARTS, RETURNS, EXPIRES, COST, RETRY; "" behind a position
	for line := range strings.Lines(string(raw)) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "-- ")
		if !ok {
			break
		}
		switch m := headerIndex.FindStringSubmatch(text); {
		case c.title == "":
			c.title = text
		case m != nil:
			p := parsePosition(m[2], m[3], m[4])
			p.name, word = m[5], ""
			if m[1] == "KEYS" {
				c.keys = append(c.keys, p)
			} else {
				c.argv = append(c.argv, p)
			}
		case headerWord.MatchString(text):
			m := headerWord.FindStringSubmatch(text)
			word = m[1]
			c.lines[word] = m[2]
		case headerMore.MatchString(text) && word != "":
			c.lines[word] += " " + strings.TrimSpace(text)
		case headerMore.MatchString(text) && len(c.keys) > 0: // more about a position
		default:
			t.Errorf("%s: line of the contract not understood: %q", file, text)
		}
	}
	return c
}

// parsePosition reads 3i+1 as factor "3", letter "i", offset "1", and 5i-2 as "5", "i",
// "-2"; a plain number is the factor.
func parsePosition(factor, letter, offset string) position {
	a, _ := strconv.Atoi(factor)
	b, _ := strconv.Atoi(offset)
	switch {
	case letter == "":
		return position{offset: a}
	case factor == "":
		a = 1
	}
	return position{factor: a, offset: b, last: letter == "n"}
}

// allKeys is a loop over KEYS: it reads the last key too, where there is one.
var allKeys = position{factor: -1, last: true}

// runningIndex is the index of a walk through KEYS or ARGV.
var runningIndex = regexp.MustCompile(`^(next_key|next_word)(\+\d)?$`)

var bodyIndex = regexp.MustCompile(`(KEYS|ARGV)\[([^\]]+)\]`)

// used returns the positions that a joined script reads, as the contract writes them.
func used(t *testing.T, text string) (keys, argv []position) {
	t.Helper()
	for _, m := range bodyIndex.FindAllStringSubmatch(text, -1) {
		expr := strings.ReplaceAll(m[2], " ", "")
		var p position
		if e := regexp.MustCompile(`^(\d*)\*?([in]?)(?:\+?(-?\d+))?$`).FindStringSubmatch(expr); e != nil {
			p = parsePosition(e[1], e[2], e[3])
		} else if m := runningIndex.FindStringSubmatch(expr); m != nil {
			// limit_take_all walks through groups of any length; the contract documents
			// where the walk begins.
			p = map[string]position{"next_key": {factor: 1}, "next_word": {offset: 3}}[m[1]]
		} else if expr == "#ARGV" {
			p = position{factor: -1, last: true, offset: 1}
		} else {
			t.Errorf("cannot tell what %s means", m[0])
		}
		if m[1] == "KEYS" {
			keys = append(keys, p)
		} else {
			argv = append(argv, p)
		}
	}
	if strings.Contains(text, "ipairs(KEYS)") {
		keys = append(keys, position{factor: 1}, allKeys)
	}
	return keys, argv
}

// same reports whether a position that a script reads is the documented one; a number may
// stand for that of the first limit.
func (p position) same(documented position) bool {
	switch {
	case p.factor == -1:
		return documented.last
	case p.factor == 0 && !documented.last:
		return documented.at(1)[0] == p.offset
	}
	return p.factor == documented.factor && p.offset == documented.offset && p.last == documented.last
}

// limitScripts are the scripts of the rate limits and of the slots; those of the sessions
// have a contract test of their own.
func limitScripts() []*script {
	return slices.DeleteFunc(slices.Clone(scripts), func(s *script) bool { return !isLimitScript(s) })
}

func isLimitScript(s *script) bool {
	return strings.HasPrefix(s.name, "limit_") || strings.HasPrefix(s.name, "slot_")
}
