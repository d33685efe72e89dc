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

// A SessionEvent is an event that a session script published. A process gets it at most
// once, and not at all while its connection is down.
type SessionEvent struct {
	Kind     string    // created, rotated, revoked, evicted, replayed
	PublicID string    // of the session; "" for all sessions of a user, or of all users
	User     string    // the tag of the user's keys, see [UserHash]; "" for a guest
	Member   string    // of [SessionKeys]; when all of a user are revoked, that of the session that is kept
	Reason   string    // a word of a-z
	At       time.Time // the server's clock
}

// UserHash returns the User of an event for a user id.
func UserHash(user string) string {
	tag := MakeTag("user", user)
	return string(tag[:])
}

// SessionWatch calls event for each event that the session scripts of all processes
// publish. It calls missed when events may have been lost: at the beginning, and after
// each gap. It returns the cause when ctx ends. Calls of the two functions do not
// overlap; they should return soon. A broken connection is silent, like one without
// events: after heartbeat without a message SessionWatch sends a PING, and after another
// heartbeat without an answer it connects again.
func (s *Store) SessionWatch(ctx context.Context, heartbeat time.Duration, event func(SessionEvent), missed func()) error {
	w := &watch{channel: s.channel(), heartbeat: heartbeat, missed: missed}
	w.message = func(payload string) {
		if e, ok := parseSessionEvent(payload); ok {
			event(e)
		}
	}
	return s.listenTo(ctx, w)
}

// listenTo passes the messages of a channel on until ctx ends, and returns the cause.
func (s *Store) listenTo(ctx context.Context, w *watch) error {
	var running sync.WaitGroup
	defer running.Wait()
	if ring, ok := s.client.(*redis.Ring); ok {
		// A shard does not pass events on to the others, and the client would listen to
		// one shard only. So there is a connection to each.
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

	mu      sync.Mutex // held while a function of the caller runs
	message func(payload string)
	missed  func()
}

// run listens until ctx ends. When a connection is lost, it opens the next.
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

// listen passes the events of one connection on until the connection is lost, and reports
// whether it was subscribed at all. The client could reconnect by itself, but then we
// would not know that events may have been lost.
func (w *watch) listen(ctx context.Context, client redis.UniversalClient) (subscribed bool) {
	sub := client.Subscribe(ctx, w.channel)
	defer sub.Close()
	// ctx does not interrupt a read, so its end closes sub.
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
			w.tell(func() { w.message(msg.Payload) })
		}
	}
}

func (w *watch) tell(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// parseSessionEvent reads "<kind> <public id> <user> <member> <reason> <ms>"; a word that
// does not apply is "-". A later version may append words.
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
