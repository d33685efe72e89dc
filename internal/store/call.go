package store

import (
	"context"
	"sync/atomic"
	"time"
)

// run is one call of a script: the command's words, the strings they point to, and the
// deadline, in one allocation.
type run struct {
	deadline
	script *script
	words  []any
	room   [19]any // for up to three limits
	names  [4]string

	hurried bool      // the caller set the deadline, and it is before the end of the budget
	alone   bool      // it is not sent together with others
	members bool      // it is a batch, and its failure is an *ending for each member
	text    bool      // it is sent as EVAL, because the server does not hold the script
	sends   int       // how often it was sent and failed
	lost    int       // how often no reply came that proves that the server is there
	from    time.Time // when it was last sent
	state   atomic.Int32
}

// The states of a run: whether its command was written to a connection.
const (
	waiting int32 = iota
	written
	dropped // the caller got the error that it was not written, so it must not be written from now on
)

// begin returns a call of the script. Its budget starts now.
func (s *Store) begin(ctx context.Context, script *script, keys int) *run {
	c := &run{script: script, from: time.Now()}
	c.Context, c.at = ctx, c.from.Add(s.budget)
	if at, ok := ctx.Deadline(); ok && at.Before(c.at) {
		c.at, c.hurried = at, true
	}
	c.words = append(c.room[:0], "evalsha", (*word)(c), keys)
	return c
}

// keys appends the names of keys to the command. They are pointers to slices of one
// string, so all of them cost one allocation.
func (c *run) keys(joined string, lengths ...int) {
	names := c.names[:0]
	for _, n := range lengths {
		names = append(names, joined[:n])
		joined = joined[n:]
	}
	for i := range names {
		c.words = append(c.words, &names[i])
	}
}

// addKey appends one more key to the command.
func (c *run) addKey(key string) { c.words = append(c.words, key) }

// word is the script of a command, by its hash or its text. The client asks for its bytes
// when it writes the command; so the store learns whether a command was sent. The error
// does not show that: a connection that could not be set up fails with the same time-outs
// and resets as one on which the reply was lost.
type word run

// MarshalBinary returns the bytes of the word. If the caller has given the call up, it
// returns a script that does nothing. The command is then sent in a pipeline with others,
// or on a connection that has just become ready.
func (w *word) MarshalBinary() ([]byte, error) {
	proceed := w.state.CompareAndSwap(waiting, written) || w.state.Load() == written
	switch {
	case !proceed && w.text:
		return nothing, nil
	case !proceed:
		return nothingSha, nil
	case w.text:
		return w.script.src, nil
	}
	return w.script.sha, nil
}

// String returns the hash or the text, for hooks that log commands.
func (w *word) String() string {
	if w.text {
		return string(w.script.src)
	}
	return string(w.script.sha)
}

var (
	nothing    = []byte("return {}")
	nothingSha = []byte("0000000000000000000000000000000000000000") // no script has it
)

// drop prevents the command from being written, and reports whether it came in time:
// false means that it was written already.
func (c *run) drop() bool {
	return c.state.CompareAndSwap(waiting, dropped) || c.state.Load() == dropped
}

// bySha and byText choose whether the command has the script's hash or its text.
func (c *run) bySha()  { c.words[0], c.text = "evalsha", false }
func (c *run) byText() { c.words[0], c.text = "eval", true }

// instant returns ARGV[1] of the scripts: now, or "" for the server's clock.
func instant(now int64) any {
	if now == 0 {
		return ""
	}
	return now
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
