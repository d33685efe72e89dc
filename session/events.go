package session

import (
	"context"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// EventKind is what happened to a session.
type EventKind uint8

const (
	// Missed means that events may have been lost: the watch begins, or its connection
	// was down. What was kept because of events must be forgotten.
	Missed EventKind = iota
	// Created tells of a login or a new guest.
	Created
	// Rotated tells that a new token is in use.
	Rotated
	// Revoked tells that a session was ended ahead of its time, or, with an empty ID, all
	// sessions of a user or of everybody.
	Revoked
	// Evicted tells that a login ended it to keep the cap.
	Evicted
	// Replayed tells that a token was presented that had been replaced long ago: somebody
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

// Event is what happened to a session, in whatever process. It carries no token and no
// address.
type Event struct {
	Kind   EventKind // what happened
	ID     string    // public id; empty when all sessions of a user, or of everybody, were revoked
	Reason string    // a word: "logout", "login", "carried", "user", "others", "everyone", "cap", ...
	At     time.Time // by Redis's clock

	user string
}

// Of reports whether the event is about the user. Events carry a hash of the id only.
func (e Event) Of(user string) bool { return e.user != "" && e.user == store.UserHash(user) }

// heartbeat is how long a watch trusts a silent connection.
const heartbeat = 3 * time.Second

// Watch tells f what happens to the sessions of all processes, one event at a time, until
// ctx ends, and returns why it did. f should return soon. It listens on a connection of
// its own. Redis publishes events at most once: each gap is told as [Missed], and so is
// the beginning. A session that expires has no event.
func (m *Manager) Watch(ctx context.Context, f func(Event)) error {
	kinds := map[string]EventKind{
		"created": Created, "rotated": Rotated, "revoked": Revoked, "evicted": Evicted, "replayed": Replayed,
	}
	return m.store.SessionWatch(ctx, heartbeat, func(e store.SessionEvent) {
		kind, ok := kinds[e.Kind]
		if !ok { // of a later version
			return
		}
		f(Event{Kind: kind, ID: e.PublicID, Reason: e.Reason, At: e.At, user: e.User})
	}, func() { f(Event{Kind: Missed, At: time.Now()}) })
}
