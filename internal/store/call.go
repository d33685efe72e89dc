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

	hurried bool      // the deadline is the caller's, and ahead of the budget's end
	alone   bool      // it does not go out with others
	text    bool      // it goes out as EVAL, since the server does not hold the script
	sends   int       // how often it went out
	lost    int       // how often nothing came back that proves that the server is there
	from    time.Time // when it went out last
	state   atomic.Int32
}

// The states of a run: whether its command was written to a connection.
const (
	waiting int32 = iota
	written
	dropped // its caller was told that it was not written, so it must not be any more
)

// begin starts the clock of a call of the script.
func (s *Store) begin(ctx context.Context, script *script, keys int) *run {
	c := &run{script: script, from: time.Now()}
	c.Context, c.at = ctx, c.from.Add(s.budget)
	if at, ok := ctx.Deadline(); ok && at.Before(c.at) {
		c.at, c.hurried = at, true
	}
	c.words = append(c.room[:0], "evalsha", (*word)(c), keys)
	return c
}

// keys appends names to the command: slices of one string, by pointer, so that they cost
// one allocation together.
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
// when it writes the command, so that is how the store learns whether a command was sent.
// The error alone does not tell: a connection that could not be set up fails with the
// same time-outs and resets as one on which the reply was lost. The auto-pipeline asks
// for the bytes when it takes a command, to know its size, so there a command counts as
// sent from then on.
type word run

// MarshalBinary returns the bytes of the word. In place of a call that was given up it
// sends a script that does nothing: the command then belongs to the auto-pipeline, or to
// a connection that gets ready.
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

// String is for hooks that log commands.
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

// drop keeps the command from being written from now on, and reports whether that was in
// time.
func (c *run) drop() bool {
	return c.state.CompareAndSwap(waiting, dropped) || c.state.Load() == dropped
}

// bySha and byText choose how the script is named.
func (c *run) bySha()  { c.words[0], c.text = "evalsha", false }
func (c *run) byText() { c.words[0], c.text = "eval", true }

// instant is ARGV[1] of the scripts.
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
