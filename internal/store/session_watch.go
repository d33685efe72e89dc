package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A SessionEvent is what a session script published. It is told at most once, and not at
// all while a connection is down.
type SessionEvent struct {
	Kind     string    // created, rotated, revoked, evicted, replayed
	PublicID string    // of the session; "" when all of a user, or of everybody, are meant
	User     string    // the tag of the user's keys, see [UserHash]; "" for a guest
	Member   string    // of [SessionKeys]; of a mass revoke the session that is kept
	Reason   string    // a word of a-z
	At       time.Time // the server's clock
}

// UserHash is the User of an event.
func UserHash(user string) string {
	tag := MakeTag("user", user)
	return string(tag[:])
}

// SessionWatch tells event what the session scripts of all processes publish, and missed
// when something may have been lost: at the beginning, and after each gap. It returns the
// cause when ctx ends. Both functions are called one at a time and should return soon.
// heartbeat is how long a silent connection is trusted before it is asked for a sign of
// life, and how long it then has: a broken one says nothing, like one on which nothing
// happens.
func (s *Store) SessionWatch(ctx context.Context, heartbeat time.Duration, event func(SessionEvent), missed func()) error {
	w := &watch{channel: s.channel(), heartbeat: heartbeat, event: event, missed: missed}
	var running sync.WaitGroup
	defer running.Wait()
	if ring, ok := s.client.(*redis.Ring); ok {
		// The shards know nothing of each other; the client would listen to one of them.
		err := ring.ForEachShard(ctx, func(_ context.Context, shard *redis.Client) error {
			running.Go(func() { w.run(ctx, shard) })
			return nil
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w.run(ctx, s.client)
	return context.Cause(ctx)
}

type watch struct {
	channel   string
	heartbeat time.Duration

	mu     sync.Mutex // held while a function of the caller runs
	event  func(SessionEvent)
	missed func()
}

// run listens until ctx ends, on one connection after the other.
func (w *watch) run(ctx context.Context, client redis.UniversalClient) {
	for pause := 10 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, time.Second) {
		if w.listen(ctx, client) {
			pause = 10 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause + rand.N(pause)):
		}
	}
}

// listen tells what comes on one connection until that is lost, and reports whether it
// was subscribed at all. The client would reconnect by itself; what counts is to know
// that it did.
func (w *watch) listen(ctx context.Context, client redis.UniversalClient) (subscribed bool) {
	sub := client.Subscribe(ctx, w.channel)
	defer sub.Close()
	// A read is not interrupted by ctx.
	defer context.AfterFunc(ctx, func() { sub.Close() })()
	for asked := false; ; {
		msg, err := sub.ReceiveTimeout(ctx, w.heartbeat)
		var timeout net.Error
		switch {
		case ctx.Err() != nil:
			return subscribed
		case err != nil && (asked || !errors.As(err, &timeout) || !timeout.Timeout()):
			return subscribed
		case err != nil:
			if sub.Ping(ctx) != nil {
				return subscribed
			}
			asked = true
			continue
		}
		asked = false
		switch msg := msg.(type) {
		case *redis.Subscription:
			subscribed = true
			w.tell(w.missed)
		case *redis.Message:
			if e, ok := parseSessionEvent(msg.Payload); ok {
				w.tell(func() { w.event(e) })
			}
		}
	}
}

func (w *watch) tell(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// parseSessionEvent reads "<kind> <public id> <user> <member> <reason> <ms>", "-" for
// what does not apply. A later version may append to it.
func parseSessionEvent(payload string) (e SessionEvent, ok bool) {
	words := strings.Split(payload, " ")
	if len(words) < 6 {
		return e, false
	}
	for i, to := range []*string{&e.Kind, &e.PublicID, &e.User, &e.Member, &e.Reason} {
		if words[i] != "-" {
			*to = words[i]
		}
	}
	ms, err := strconv.ParseInt(words[5], 10, 64)
	e.At = instantOf(ms)
	return e, err == nil
}
