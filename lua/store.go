package lua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"
)

// Client is any go-redis client: single server, Sentinel, Cluster or Ring.
type Client = redis.UniversalClient

// DefaultBudget is the longest that a call takes when its options say no other.
const DefaultBudget = 150 * time.Millisecond

// Options of a [Store]; the zero value is ready to use.
type Options struct {
	// Prefix begins every key, 1 to 32 of A-Z a-z 0-9 : . _ - . Empty means [DefaultPrefix].
	// Programs that share a Redis and not their state need different prefixes.
	Prefix string

	// Budget is the longest that one call takes, waiting for a connection and sending again
	// included. 1 ms to 10 s; 0 means [DefaultBudget].
	Budget time.Duration

	// NoAutoPipeline sends each call by itself. Without it the calls beyond the 16th that are under way go out together, by
	// the client's auto-pipeline, which multiplies the throughput of a busy process. Hooks of the client then see
	// pipelines. The auto-pipeline is experimental in go-redis 9.23, is shared by all who ask the client for one, and ends
	// with the client; a Ring has none.
	NoAutoPipeline bool

	// Logger is told, once, when the client's options cannot keep the budget. Nil is silent.
	Logger *slog.Logger
}

// A Store runs the scripts on one Redis deployment. It is safe for concurrent use and holds no resources of its own.
type Store struct {
	client Client
	prefix string
	budget time.Duration
	reload func(context.Context) // nil, but for a cluster
	shared *pipeline             // nil with NoAutoPipeline
}

// New returns a store on the client. It does not connect: a Redis that is down when a program starts is as good as one that
// goes down later. The client stays the caller's to close.
func New(client Client, opts Options) (*Store, error) {
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() { // a nil *redis.Client is no nil Client
		return nil, errors.New("lua: client is nil")
	}
	if opts.Prefix == "" {
		opts.Prefix = DefaultPrefix
	}
	if err := checkPrefix(opts.Prefix); err != nil {
		return nil, err
	}
	if opts.Budget == 0 {
		opts.Budget = DefaultBudget
	}
	if opts.Budget < time.Millisecond || opts.Budget > 10*time.Second {
		return nil, fmt.Errorf("lua: Budget %v: want 1ms to 10s", opts.Budget)
	}
	s := &Store{client: client, prefix: opts.Prefix, budget: opts.Budget}
	if c, ok := client.(interface{ ReloadState(context.Context) }); ok {
		s.reload = c.ReloadState
	}
	if !opts.NoAutoPipeline {
		s.shared = newPipeline(client)
	}
	if opts.Logger != nil {
		for _, problem := range CheckClient(client) {
			opts.Logger.Warn("gatekit: client option breaks the budget", "problem", problem, "budget", opts.Budget)
		}
	}
	return s, nil
}

// Sharded reports whether the keys are spread over several servers, so that one may be away and the others not.
func (s *Store) Sharded() bool {
	_, ring := s.client.(*redis.Ring)
	return ring || s.reload != nil
}

// Budget returns the longest that one call takes.
func (s *Store) Budget() time.Duration { return s.budget }

// run is one call of a script: the command's words, the strings they point to, and the deadline, in one allocation.
type run struct {
	deadline
	script *script
	words  []any
	room   [19]any // for up to three limits
	names  [4]string
}

// begin starts the clock of a call of the script.
func (s *Store) begin(ctx context.Context, script *script, keys int) *run {
	c := &run{script: script}
	c.Context, c.at = ctx, s.deadline(ctx)
	c.words = append(c.room[:0], "evalsha", script.sha, keys)
	return c
}

func (s *Store) deadline(ctx context.Context) time.Time {
	at := time.Now().Add(s.budget)
	if d, ok := ctx.Deadline(); ok && d.Before(at) {
		return d
	}
	return at
}

// keys appends names to the command: slices of one string, by pointer, so that they cost one allocation together.
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

// command is an integer array reply that the client must not ask for twice.
type command struct{ *redis.IntSliceCmd }

// NoRetry tells the client to send this once. Redirects of a cluster are still followed: there, nothing ran.
func (command) NoRetry() bool { return true }

func (c *run) command(ctx context.Context) command {
	cmd := redis.NewIntSliceCmd(ctx, c.words...)
	cmd.SetFirstKeyPos(3)
	return command{cmd}
}

// attempts is how often a script is sent whose first send proved not to run: enough to ride out a dropped connection.
// A Redis that is down is not waited for; the caller's fail mode decides at once.
const attempts = 3

// do sends the script until it replies, its deadline passes, or an error forbids to send it again.
func (s *Store) do(c *run, want int) ([]int64, error) {
	defer c.end(context.Canceled)
	for sent := 1; ; sent++ {
		cmd := c.command(c)
		err := s.send(c, cmd)
		got := 0
		if err == nil { // else the command may still be the auto-pipeline's
			got = len(cmd.Val())
		}
		again, err := s.judge(c, got, err, want, sent, sent)
		if !again {
			if err != nil {
				return nil, err
			}
			return cmd.Val(), nil
		}
	}
}

func (s *Store) send(c *run, cmd redis.Cmder) error {
	if s.shared == nil {
		return s.client.Process(c, cmd)
	}
	return s.shared.send(c, cmd)
}

// judge says whether to send the script again, after the pause that is due (see [run.wait]), and what to report otherwise.
func (s *Store) judge(c *run, got int, err error, want, sent, pause int) (again bool, _ error) {
	switch classify(err) {
	case ran:
		if got != want {
			return false, fmt.Errorf("lua: %s: %w: %d integers, want %d", c.script.name, ErrMalformedReply, got, want)
		}
		return false, nil
	case noScript:
		c.words[0], c.words[1] = "eval", c.script.src
		return sent < attempts, s.failure(c, ErrUnavailable, err)
	case notRun:
		if s.reload != nil && isDial(err) {
			// The node is gone. Without this the client asks it for up to a minute.
			s.reload(context.WithoutCancel(c))
		}
		return sent < attempts && c.wait(pause), s.failure(c, ErrUnavailable, err)
	case moving:
		return c.wait(pause), s.failure(c, ErrUnavailable, err)
	case refused:
		return false, s.failure(c, ErrRefused, err)
	}
	if c.script.retry == safe && sent < attempts && c.wait(0) {
		return true, nil
	}
	return false, s.failure(c, ErrUnknownOutcome, err)
}

func (s *Store) failure(c *run, kind, err error) error {
	return fmt.Errorf("lua: %s: %w: %w", c.script.name, kind, err)
}

// wait sleeps before the next send, 1 to 2 ms after the first, doubled each time to 64 ms, not at all when sent is 0, and
// reports whether there is time left for another send.
func (c *run) wait(sent int) bool {
	pause := time.Duration(0)
	if sent > 0 {
		pause = time.Millisecond << min(sent-1, 5)
		pause += rand.N(pause)
	}
	if time.Until(c.at) <= pause {
		return false
	}
	time.Sleep(pause)
	return true
}
