package lua

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
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
	// Parts are the fragments in parts/ that stand ahead of its body, in order.
	Parts []string
	// Text is what is sent: the fragments and the body, without lines that are only a
	// comment.
	Text string
	// SHA1 of Text in hexadecimal digits, by which EVALSHA names it.
	SHA1 string
}

// scripts is the list that joins them: what runs is one look away from what is read.
var scripts = []Script{
	{Name: "limit_take", Parts: []string{"now", "straight", "limit", "window", "buckets"}},
	{Name: "limit_take_once", Repeatable: true, Parts: []string{"now", "limit", "window", "buckets", "log"}},
	{Name: "limit_peek", Repeatable: true, Reads: true, Parts: []string{"now", "limit", "window", "buckets", "log"}},
	{Name: "limit_refund", Parts: []string{"now", "limit", "window", "buckets", "log"}},
	{Name: "limit_reset", Repeatable: true, Parts: []string{"now", "limit"}},
	{Name: "session_create", Repeatable: true, Walks: true, Parts: []string{"now", "session"}},
	{Name: "session_touch", Repeatable: true, Parts: []string{"now", "session", "session_open"}},
	{Name: "session_commit", Parts: []string{"now", "session", "session_open"}},
	{Name: "session_rotate", Repeatable: true, Parts: []string{"now", "session", "session_open", "session_token"}},
	{Name: "session_confirm", Repeatable: true, Parts: []string{"now", "session", "session_open", "session_token"}},
	{Name: "session_elevate", Repeatable: true, Parts: []string{"now", "session", "session_open", "session_token"}},
	{Name: "session_drop", Repeatable: true, Parts: []string{"now", "session"}},
	{Name: "session_pop", Parts: []string{"now", "session", "session_open"}},
	{Name: "session_setnx", Parts: []string{"now", "session", "session_open"}},
	{Name: "session_swap", Parts: []string{"now", "session", "session_open"}},
	{Name: "session_settle", Repeatable: true, Walks: true, Parts: []string{"now", "session"}},
	{Name: "session_list", Repeatable: true, Walks: true, Parts: []string{"now", "session", "session_index"}},
	{Name: "session_revoke", Repeatable: true, Walks: true, Parts: []string{"now", "session", "session_index"}},
	{Name: "session_revoke_page", Repeatable: true, Walks: true, Parts: []string{"now", "session", "session_index"}},
	{Name: "session_epoch", Repeatable: true, Walks: true, Parts: []string{"now", "session", "session_index"}},
	{Name: "blob_find", Repeatable: true, Reads: true, Parts: []string{"now", "blob"}},
	{Name: "blob_commit", Parts: []string{"now", "blob"}},
	{Name: "blob_delete", Repeatable: true, Parts: []string{"now", "blob"}},
}

func init() {
	for i := range scripts {
		scripts[i].join()
	}
}

// All returns the scripts in the order of the list. It is safe for concurrent use.
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
	raw, err := files.ReadFile(file)
	if err != nil {
		panic(err) // a file of the list is missing from the build
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		if bare := strings.TrimSpace(line); bare != "" && !strings.HasPrefix(bare, "--") {
			b.WriteString(line)
		}
	}
	return b.String()
}
