// Package gatekit opens the Redis that holds sessions and rate limits. A program opens it
// once, by [Connect], and hands it to the packages that it needs:
//
//	kv, err := gatekit.Connect(ctx, os.Getenv("REDIS_URL"), gatekit.Options{})
//	defer kv.Close()
//	manager, err := session.New(kv, session.Options{})
//	limiter, err := ratelimit.New(kv, ratelimit.Options{})
//
// A program that has a go-redis client of its own hands it to [Open] instead. Most
// programs go on with three packages. Package session knows who is logged in and what a
// visitor's session holds. Package ratelimit decides how often somebody may do something.
// The adapter of their framework puts both in front of the handlers: adapters/gatehttp
// for net/http, chi and gorilla/mux, adapters/gateecho, adapters/gateecho5 or
// adapters/gategin.
//
// Only the scripts of package lua change what is in Redis.
package gatekit

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
)

// Client is any go-redis client: single server, Sentinel, Cluster or Ring.
type Client = redis.UniversalClient

// The values of fields of [Options] that are zero.
const (
	// DefaultPrefix begins every key.
	DefaultPrefix = store.DefaultPrefix
	// DefaultBudget is the longest that one call takes, 150 ms.
	DefaultBudget = store.DefaultBudget
)

// The errors of a Redis that does not do what it was asked, for [errors.Is]. The client's
// own error is wrapped beside them.
var (
	// ErrUnavailable means that Redis did not decide: it could not be reached within the
	// budget, or answered that it cannot serve now. Nothing was written, unless the error
	// is also [ErrUnknownOutcome].
	ErrUnavailable = store.ErrUnavailable

	// ErrUnknownOutcome means that the kit sent a change and its reply did not arrive.
	// Redis made the change once or not at all, and the kit never sends it again. The
	// error is also [ErrUnavailable]. If the caller's own deadline ended the call ahead
	// of the budget it is [context.DeadlineExceeded] instead, which says nothing about
	// Redis.
	ErrUnknownOutcome error = store.ErrUnknownOutcome

	// ErrRefused means that the server answered with an error that sending again does not
	// mend: no permission, out of memory, a key of another type. Nothing was written. The
	// error is also [ErrUnavailable].
	ErrRefused error = store.ErrRefused
)

// Options of a [Redis]; the zero value is ready to use.
type Options struct {
	// Prefix begins every key, 1 to 32 of A-Z a-z 0-9 : . _ - . Empty means
	// [DefaultPrefix]. Programs that share a Redis and not their state need different
	// prefixes, and so do two kinds of users (customers, staff).
	Prefix string

	// Budget is the longest time of one call, with waiting for a connection and sending
	// again. 1 ms to 10 s; 0 means [DefaultBudget]. The client's options must allow it:
	// see [CheckClient].
	Budget time.Duration

	// NoAutoPipeline sends each call by itself. Without it the calls beyond the 4th that
	// are under way go out together, in pipelines to each server, which multiplies the
	// throughput of a busy process. Hooks of the client then see pipelines.
	NoAutoPipeline bool

	// Logger gets the log of all sessions and limits on this Redis, and one line at Open
	// if the client's options cannot keep the budget. No line holds a token or a key. Nil
	// is [slog.Default]; slog.New(slog.DiscardHandler) is silent.
	Logger *slog.Logger
}

// Redis is a client with [Options]. session.New and ratelimit.New take it. It is safe for
// concurrent use.
type Redis struct {
	store *store.Store
	close func() error // of a client that Connect made
}

func init() {
	store.Of = func(opened any) *store.Store {
		if kv, ok := opened.(*Redis); ok && kv != nil {
			return kv.store
		}
		return nil
	}
}

// Open returns a Redis on the client: a [redis.Client], [redis.ClusterClient], Sentinel
// client or Ring. It does not connect, so a program can start while Redis is down. The
// caller closes the client. The error names the field of opts that is wrong.
func Open(client Client, opts Options) (*Redis, error) {
	s, err := store.New(client, store.Options(opts))
	if err != nil {
		return nil, err
	}
	return &Redis{store: s}, nil
}

// Close closes the client that [Connect] made. It does not close the client of [Open];
// the caller does. A Redis from [Redis.With] shares the client of the one that it was
// made from, and its Close does nothing. Call Close last, when no request is under way.
func (kv *Redis) Close() error {
	if kv.close == nil {
		return nil
	}
	return kv.close()
}

// With returns a Redis on the same client, with another prefix, budget or logger. Fields
// of opts that are zero keep the value of kv.
func (kv *Redis) With(opts Options) (*Redis, error) {
	s, err := kv.store.With(store.Options(opts))
	if err != nil {
		return nil, err
	}
	return &Redis{store: s}, nil
}

// RecommendedOptions parses a Redis URL into options for [redis.NewUniversalClient] that
// keep the default budget, for programs that make their client themselves. [Connect] has
// the forms of URLs, and takes another budget.
func RecommendedOptions(url string) (*redis.UniversalOptions, error) {
	return store.RecommendedOptions(url)
}

// CheckClient returns one sentence, with the remedy, for each option of a client that
// lets a call take longer than its budget or ends it earlier. Nil means that it found
// none. A budget of 0 means [DefaultBudget]. It asks no server. [Open] logs these
// sentences.
func CheckClient(client Client, budget time.Duration) (problems []string) {
	return store.CheckClient(client, budget)
}

// Connect is [Open] with a client of its own, whose options keep the budget. The forms of
// a URL:
//
//	redis://user:password@host:port/db      one server; rediss:// for TLS
//	unix://user:password@/path?db=1         one server, by its socket
//	redis://user:password@host1:port?addr=host2:port&addr=host3:port
//	                                        a cluster, by some of its servers; ?cluster=true where it has one address
//	redis://host1:26379/db?master_name=name&addr=host2:26379&username=user&password=password
//	                                        a master, by its Sentinels; user:password@ are those of the Sentinels
//
// The options of [redis.ParseURL] may follow (?pool_size=50). Connect asks the server
// nothing: if it is down, the first call fails. If ctx has ended Connect returns an
// error; ctx has no other use. [Redis.Close] closes the client. The error says what is
// wrong with the URL or with opts, and holds no part of the URL.
func Connect(ctx context.Context, url string, opts Options) (*Redis, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, errtext.Errorf("gatekit", "not connected: %w", err)
	}
	client, err := store.Connect(url, opts.Budget)
	if err != nil {
		return nil, err
	}
	kv, err := Open(client, opts)
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	kv.close = client.Close
	return kv, nil
}
