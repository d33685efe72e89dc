package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Client is any go-redis client: single server, Sentinel, Cluster or Ring.
type Client = redis.UniversalClient

// DefaultBudget is the budget of a call if the options set none.
const DefaultBudget = 150 * time.Millisecond

// Options are the options of a [Store]. The zero value is ready to use.
type Options struct {
	// Prefix begins every key. 1 to 32 of A-Z a-z 0-9 : . _ -, the first a letter or
	// digit, no : at the end. Empty means [DefaultPrefix]. Programs that share a Redis
	// but not their state need different prefixes.
	Prefix string

	// Budget is the longest time that one call takes. Waiting for a connection and
	// sending again are included. 1 ms to 10 s; 0 means [DefaultBudget].
	Budget time.Duration

	// NoAutoPipeline sends each call by itself. If it is false and 4 calls are under way,
	// further calls to one server are sent together, in pipelines. That multiplies the
	// throughput of a busy process. Hooks of the client then see pipelines.
	NoAutoPipeline bool

	// Logger gets a warning, when the store is made, for each option of the client that
	// breaks the budget. Packages ratelimit and session log to it too. Nil means
	// slog.Default.
	Logger *slog.Logger
}

// A Store runs the scripts on one Redis deployment. It is safe for concurrent use and
// needs no closing.
type Store struct {
	client Client
	prefix string
	budget time.Duration
	reload func(context.Context) // nil, but for a cluster
	shared *autoPipeline         // nil with NoAutoPipeline
	logger *slog.Logger
	ready  *readiness
	turns  turns
	merger *merger

	unserving unserving
	crossSlot atomic.Bool // a server answered that it does not have all keys of one script

	// ahead is how far the server's clock is ahead of ours, µs: 0 until a server said
	// that it is outside of the periods that it got.
	ahead atomic.Int64
}

// New returns a store on the client. It does not connect: a Redis that is down when the
// program starts is treated like one that goes down later. The caller closes the client.
func New(client Client, opts Options) (*Store, error) {
	// A nil *redis.Client makes a Client that is not nil.
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() {
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
	s := &Store{client: client, prefix: opts.Prefix, budget: opts.Budget, ready: newReadiness(client, opts.Budget), turns: turns{room: underWayAtOnce}, merger: newMerger(),
		unserving: unserving{keep: unservingFor}, logger: opts.Logger}
	if c, ok := client.(interface{ ReloadState(context.Context) }); ok {
		s.reload = c.ReloadState
	}
	if !opts.NoAutoPipeline {
		s.shared = newAutoPipeline(s)
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

// Budget returns the longest time that one call takes.
func (s *Store) Budget() time.Duration { return s.budget }

// Of returns the store that a *gatekit.Redis holds. The root package sets it, so that
// packages session and ratelimit reach the store, and users of a *gatekit.Redis do not.
var Of func(opened any) *Store

// With returns a store on the same client. Fields of opts that are zero are taken from s.
// NoAutoPipeline cannot be taken back. If neither store sets it, they share the count of
// calls under way.
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

// Client returns the client that the store uses.
func (s *Store) Client() Client { return s.client }

// Logger returns where the store's users log to. Not nil.
func (s *Store) Logger() *slog.Logger { return s.logger }

// Prefix returns the beginning of every key.
func (s *Store) Prefix() string { return s.prefix }

// Node returns the address of the server that holds the keys of the tag, by the client's
// map. It returns "" if one server holds all keys, and if the client does not know.
// Package ratelimit needs it because one of several servers may be down while the others
// answer.
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

// ended is a context that has ended: with it a cluster client does not ask the network
// for its map.
var ended = func() context.Context { ctx, cancel := context.WithCancel(context.Background()); cancel(); return ctx }()

// probed is a limit that no policy can have, because no algorithm has the letter p.
var probed = NewLimitSet(LimitSpec{Name: "probe", Algorithm: 'p', Window: time.Microsecond})

// Probe asks the server of the tag's keys to run a script that changes nothing, but that
// a server refuses if it may not write. Nil means that the server decides. The probe is
// sent by itself: in one pipeline with other calls it would make them wait for a server
// that is down.
func (s *Store) Probe(tag Tag) error {
	c := s.resetCall(context.Background(), LimitCall{Set: probed, Tag: tag})
	c.alone = true
	_, err := s.do(c, 1)
	return err
}
