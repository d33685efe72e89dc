package session

import (
	"context"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// EventKind is the kind of an [Event].
type EventKind uint8

const (
	// Missed means that events may have been lost: the watch begins, or its connection
	// was down. Forget everything that you cached and that events would have changed.
	Missed EventKind = iota
	// Created means that a login or a new guest made a session.
	Created
	// Rotated means that a new token is in use.
	Rotated
	// Revoked means that a session was ended before its deadline. With an empty ID it
	// means all sessions of a user or of everybody.
	Revoked
	// Evicted means that a login ended the session to keep the cap.
	Evicted
	// Replayed means that a request brought a token that was replaced long ago: somebody
	// has a copy.
	Replayed
)

// String returns the kind's name in Go.
func (k EventKind) String() string {
	names := [...]string{"Missed", "Created", "Rotated", "Revoked", "Evicted", "Replayed"}
	if int(k) < len(names) {
		return names[k]
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
}

// Event reports what happened to a session, in any process. It carries no token and no
// address.
type Event struct {
	Kind   EventKind // what happened
	ID     string    // public id; empty when all sessions of a user, or of everybody, were revoked
	Reason string    // a word: "logout", "login", "carried", "user", "others", "everyone", "cap", ...
	At     time.Time // by Redis's clock

	user string
}

// Of reports whether the event is about the user. An event carries only a hash of the
// user id.
func (e Event) Of(user string) bool { return e.user != "" && e.user == store.UserHash(user) }

// heartbeat is how long a connection of a watch may be silent before the watch checks it.
const heartbeat = 3 * time.Second

// Watch calls f with the events of the sessions of all processes, one at a time, until
// ctx ends. It returns why ctx ended. f should return soon. Watch listens on a connection
// of its own. Redis delivers events at most once: Watch reports the beginning and each
// gap as [Missed]. A session that expires has no event.
func (m *Manager) Watch(ctx context.Context, f func(Event)) error {
	kinds := map[string]EventKind{
		"created": Created, "rotated": Rotated, "revoked": Revoked, "evicted": Evicted, "replayed": Replayed,
	}
	return m.store.SessionWatch(ctx, heartbeat, func(e store.SessionEvent) {
		kind, ok := kinds[e.Kind]
		if !ok { // sent by a later version
			return
		}
		f(Event{Kind: kind, ID: e.PublicID, Reason: e.Reason, At: e.At, user: e.User})
	}, func() { f(Event{Kind: Missed, At: time.Now()}) })
}
