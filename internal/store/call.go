package store

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
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

// command is an integer array reply that the client must not ask for twice.
type command struct{ *redis.IntSliceCmd }

// NoRetry tells the client to send this once. Redirects of a cluster are still followed:
// there, nothing ran.
func (command) NoRetry() bool { return true }

func (c *run) command(ctx context.Context) command {
	cmd := redis.NewIntSliceCmd(ctx, c.words...)
	cmd.SetFirstKeyPos(3)
	return command{cmd}
}

// do sends the script until it replies with as many integers as wanted, its deadline
// passes, or an error forbids to send it again.
func (s *Store) do(c *run, want int) ([]int64, error) {
	var cmd command
	err := s.repeat(c, func() error {
		cmd = c.command(c)
		return s.send(c, cmd)
	})
	if err != nil { // the command may still be the client's
		return nil, err
	}
	return c.integersOf(cmd, want)
}

func (c *run) integersOf(cmd command, want int) ([]int64, error) {
	if got := len(cmd.Val()); got != want {
		return nil, c.malformedf("%d integers, want %d", got, want)
	}
	return cmd.Val(), nil
}

// repeat calls send until it succeeds or [Store.judge] ends it.
func (s *Store) repeat(c *run, send func() error) error {
	defer c.end(context.Canceled)
	for {
		c.state.Store(waiting)
		if again, err := s.judge(c, send(), true); !again {
			return err
		}
	}
}

// send sends a command, by itself or with others.
func (s *Store) send(c *run, cmd redis.Cmder) error {
	if s.shared == nil || c.alone {
		return s.process(c, cmd)
	}
	return s.shared.send(c, cmd)
}

// attempts is how often a script is sent that got no answer and proved not to run, or may
// run twice: enough to ride out a dropped connection. A Redis that is down is not waited
// for; the caller's fail mode decides at once. One that answers that it cannot now
// (NOSCRIPT, LOADING, READONLY, TRYAGAIN, ...) is there, and is asked until the deadline,
// or once, if it just let another call wait in vain: see [unserving].
const attempts = 3

// judge says whether to send the script again, after a pause if one is due and wanted,
// and what to report otherwise.
func (s *Store) judge(c *run, err error, pause bool) (again bool, _ error) {
	if err == nil {
		return false, nil
	}
	c.sends++
	what := classify(err)
	if what == unknown && c.script.src != nil && c.drop() {
		what = notSent
	}
	switch what {
	case noScript:
		if !c.text {
			c.byText()
			again = time.Now().Before(c.at)
		} else { // a proxy, or a server that is replaced right now
			again = c.wait(pause)
		}
	case notNow:
		again = c.wait(pause)
	case notServing:
		again = s.waitUntilServed(c, pause)
	case notSent, unknown:
		c.lost++
		s.note(c, err)
		again = c.lost < attempts && (what == notSent || c.script.retry != unsafe) && c.wait(pause && what == notSent)
	}
	if again {
		c.from = time.Now()
		return true, nil
	}
	return false, c.failure(what, err)
}

// note learns from a call that got no answer: the next ones get their connections ready,
// and a cluster's map is read again where a node is gone. Without that the client asks
// the dead node for up to a minute.
//
// A command that was written is no proof of a connection that was ready: where setting it
// up left time to write and none to read, each call would throw its connection away for
// ever. Only what a caller cut short says nothing.
func (s *Store) note(c *run, err error) {
	if isTimeout(err) && (c.state.Load() != written || !c.hurried) {
		s.ready.note()
	}
	if s.reload != nil && isDial(err) {
		s.reload(context.WithoutCancel(c))
	}
}

// wait sleeps before the next send, 1 to 2 ms after the first, doubled each time to 64
// ms, not at all without pause, and reports whether there is time left for another send,
// and for an answer as late as the last one: cut off by the deadline, a call that was
// told that nothing ran would end in doubt.
func (c *run) wait(pause bool) bool {
	d := time.Duration(0)
	if pause {
		d = time.Millisecond << min(c.sends-1, 5)
		d += rand.N(d)
	}
	if time.Until(c.at) <= d+time.Since(c.from) {
		return false
	}
	time.Sleep(d)
	return true
}
