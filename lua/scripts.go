package lua

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"io/fs"
	"strings"
)

//go:embed *.lua parts/*.lua
var files embed.FS

// A Script is one atomic operation, as it is sent to Redis.
type Script struct {
	// Name of its file, without .lua.
	Name string
	// Repeatable is the RETRY line of its contract: running it twice changes no more than
	// running it once.
	Repeatable bool
	// Reads: it writes nothing, so no reply that is lost leaves a doubt.
	Reads bool
	// Walks: it goes through a user's sessions, and builds the keys of their records from
	// a prefix among its KEYS.
	Walks bool
	// Parts are the fragments in parts/ that stand ahead of its body, in order: the PARTS
	// line of its contract.
	Parts []string
	// Text is what is sent: the fragments and the body, without lines that are only a
	// comment.
	Text string
	// SHA1 of Text in hexadecimal digits, by which EVALSHA names it.
	SHA1 string
}

// scripts are all, in the order of their names. Their headers are the one list that joins
// them.
var scripts = list()

func list() (all []Script) {
	names, err := fs.Glob(files, "*.lua")
	if err != nil {
		panic(err) // the pattern is malformed
	}
	for _, name := range names {
		s := Script{Name: strings.TrimSuffix(name, ".lua")}
		s.readHeader()
		s.join()
		all = append(all, s)
	}
	return all
}

// readHeader takes from the contract of the script what the PARTS, KEYS and RETRY lines
// say.
func (s *Script) readHeader() {
	for line := range strings.Lines(read(s.Name + ".lua")) {
		text, isComment := strings.CutPrefix(strings.TrimSpace(line), "-- ")
		if !isComment {
			return
		}
		word, rest, _ := strings.Cut(text, " ")
		rest = strings.TrimSpace(rest)
		switch {
		case word == "PARTS":
			s.Parts = strings.Split(rest, ", ")
		case word == "RETRY":
			s.Repeatable = strings.HasPrefix(rest, "safe: ")
			s.Reads = rest == "safe: it writes nothing"
		case strings.HasPrefix(word, "KEYS[") && strings.HasPrefix(rest, "records "):
			s.Walks = true
		}
	}
}

// All returns the scripts in the order of their names. It is safe for concurrent use.
func All() []Script {
	return append([]Script(nil), scripts...)
}

// Find returns the script of a name. It panics when there is none, since names are part
// of a program.
func Find(name string) Script {
	for _, s := range scripts {
		if s.Name == name {
			return s
		}
	}
	panic("lua: no script " + name)
}

// undeclared lets a script use keys that are not in KEYS on Dragonfly, which refuses them
// otherwise and reads this from the first line only. To Redis it is a comment.
const undeclared = "--!df flags=allow-undeclared-keys\n"

// join makes the text of the script. Comments stay behind: every EVAL carries the text.
func (s *Script) join() {
	var text strings.Builder
	if s.Walks {
		text.WriteString(undeclared)
	}
	for _, part := range s.Parts {
		text.WriteString(code("parts/" + part + ".lua"))
	}
	text.WriteString(code(s.Name + ".lua"))
	s.Text = text.String()
	sum := sha1.Sum([]byte(s.Text))
	s.SHA1 = hex.EncodeToString(sum[:])
}

// code returns a file without its comment lines.
func code(file string) string {
	var b strings.Builder
	for line := range strings.Lines(read(file)) {
		if bare := strings.TrimSpace(line); bare != "" && !strings.HasPrefix(bare, "--") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func read(file string) string {
	raw, err := files.ReadFile(file)
	if err != nil {
		panic(err) // a PARTS line names a fragment that is missing
	}
	return string(raw)
}
