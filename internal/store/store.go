package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// Prefix begins every key, 1 to 32 of A-Z a-z 0-9 : . _ - . Empty means
	// [DefaultPrefix]. Programs that share a Redis and not their state need different
	// prefixes.
	Prefix string

	// Budget is the longest that one call takes, waiting for a connection and sending
	// again included. 1 ms to 10 s; 0 means [DefaultBudget].
	Budget time.Duration

	// NoAutoPipeline sends each call by itself. Without it the calls beyond the 16th that
	// are under way go out together, by the client's auto-pipeline, which multiplies the
	// throughput of a busy process. Hooks of the client then see pipelines. The
	// auto-pipeline is experimental in go-redis 9.23, is shared by all who ask the client
	// for one, and ends with the client; a Ring has none.
	NoAutoPipeline bool

	// Logger is told, once, when the client's options cannot keep the budget. Nil is
	// slog.Default.
	Logger *slog.Logger
}

// A Store runs the scripts on one Redis deployment. It is safe for concurrent use and
// holds no resources of its own.
type Store struct {
	client Client
	prefix string
	budget time.Duration
	reload func(context.Context) // nil, but for a cluster
	shared *autoPipeline         // nil with NoAutoPipeline
	logger *slog.Logger
	ready  *readiness
	turns  turns

	unserving unserving
}

// New returns a store on the client. It does not connect: a Redis that is down when a
// program starts is as good as one that goes down later. The client stays the caller's to
// close.
func New(client Client, opts Options) (*Store, error) {
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() { // a nil *redis.Client is no nil Client
		return nil, errors.New("gatekit: client is nil")
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
	if err := checkBudget(opts.Budget); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s := &Store{client: client, prefix: opts.Prefix, budget: opts.Budget, ready: newReadiness(client, opts.Budget), turns: turns{room: underWayAtOnce},
		unserving: unserving{keep: unservingFor}, logger: opts.Logger}
	if c, ok := client.(interface{ ReloadState(context.Context) }); ok {
		s.reload = c.ReloadState
	}
	if !opts.NoAutoPipeline {
		s.shared = newAutoPipeline(client, s.process)
	}
	for _, problem := range CheckClient(client, opts.Budget) {
		opts.Logger.Warn("gatekit: client option breaks the budget", "problem", problem, "budget", opts.Budget)
	}
	return s, nil
}

func checkBudget(budget time.Duration) error {
	if budget < time.Millisecond || budget > 10*time.Second {
		return fmt.Errorf("gatekit: Budget %v: want 1ms to 10s", budget)
	}
	return nil
}

// Budget returns the longest that one call takes.
func (s *Store) Budget() time.Duration { return s.budget }

// Of returns the store that a *gatekit.Redis holds. The root package sets it: so session
// and ratelimit get at the store, and users of a *gatekit.Redis don't.
var Of func(opened any) *Store

// With returns a store on the same client, with which it shares the count of calls under
// way. Fields of opts that are zero are as in s; NoAutoPipeline can only be added.
func (s *Store) With(opts Options) (*Store, error) {
	opts.Prefix = cmp.Or(opts.Prefix, s.prefix)
	opts.Budget = cmp.Or(opts.Budget, s.budget)
	opts.NoAutoPipeline = opts.NoAutoPipeline || s.shared == nil
	if opts.Logger == nil {
		opts.Logger = s.logger
	}
	derived, err := New(s.client, opts)
	if err != nil {
		return nil, err
	}
	if !opts.NoAutoPipeline {
		derived.shared = s.shared
	}
	return derived, nil
}

// Client returns the client that the store was made with.
func (s *Store) Client() Client { return s.client }

// Logger returns where the store's users log to. Not nil.
func (s *Store) Logger() *slog.Logger { return s.logger }

// Prefix returns what begins every key.
func (s *Store) Prefix() string { return s.prefix }

// Node names the server that holds the keys of the tag, as the client knows it; "" where
// one server holds all keys, and where the client does not know. Of several servers one
// may be away and the others not.
func (s *Store) Node(tag Tag) string { return s.node("{" + string(tag[:]) + "}") }

func (s *Store) node(key string) string {
	var node *redis.Client
	var err error
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		node, err = client.MasterForKey(ended, key)
	case *redis.Ring:
		node, err = client.GetShardClientForKey(key)
	}
	if node == nil || err != nil {
		return ""
	}
	return node.Options().Addr
}

// ended keeps a cluster client from asking the network for its map.
var ended = func() context.Context { ctx, cancel := context.WithCancel(context.Background()); cancel(); return ctx }()

// probed is a limit of nobody: no algorithm has the letter p.
var probed = NewLimitSet(LimitSpec{Name: "probe", Algorithm: 'p', Window: time.Microsecond})

// Probe asks the server of the tag's keys to run a script that changes nothing but is not
// for a server that may not write. Nil means that it decides. It goes out by itself: with
// others in one pipeline it would have them wait for a server that is away.
func (s *Store) Probe(tag Tag) error {
	c := s.resetCall(context.Background(), LimitCall{Set: probed, Tag: tag})
	c.alone = true
	_, err := s.do(c, 1)
	return err
}
