package store

import (
	"cmp"
	"log/slog"
)

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
