package session

import (
	"context"
	"net/http"
	"time"
)

// A Legacy reads the sessions of another kit, see [Options.Legacy]. It must not change or
// delete them. It is called by many goroutines at once.
type Legacy interface {
	// Cookie describes the old kit's cookie. Requests without one of its Name are not
	// given to Read. The other attributes are those that the old kit set, as far as a
	// browser needs them to find the cookie that it is to remove: Path, Domain, SameSite,
	// Partitioned. It is asked once, by [New].
	Cookie() http.Cookie

	// Read returns the session that the request's old cookie names, and whether there is
	// one. A cookie that can't be the old kit's is none, and is found to be so without a
	// call of get.
	//
	// An error of get means that the store did not answer, and so does one of Read that
	// is [ErrUnavailable]: the request fails as it does whenever a session can't be read.
	// Another error says that the old session is there and can't be understood. It is
	// logged, and the visitor is a guest for this request; nothing is written, so a
	// program that understands it finds it again. It must not hold the id or a value.
	Read(ctx context.Context, r *http.Request, get LegacyGet) (old LegacySession, found bool, err error)
}

// LegacyGet reads a string of the old kit's Redis, within the manager's budget, at the
// price of two commands in one round trip. A key of another type is not found.
type LegacyGet func(ctx context.Context, key string) (v LegacyValue, found bool, err error)

// LegacyValue is the string that [LegacyGet] found under a key.
type LegacyValue struct {
	Data []byte        // any bytes; the caller owns them
	Left time.Duration // until the key expires; 0 if it does not
}

// A LegacySession is a session of another kit, as a [Legacy] found it.
type LegacySession struct {
	// ID is the secret by which the old kit knows the session, 16 bytes or more that
	// nobody can guess. The new session's token is derived from it.
	ID string

	// Expires is when the old session ends; zero means that it does not.
	Expires time.Time

	Carried
}

// Carried is the part of another kit's session that the new session takes over.
type Carried struct {
	// UserID is who is logged in, as it would be passed to [Session.Login]; "" for a
	// guest.
	UserID string

	// AuthTime is when the user proved who they are. Zero means that nobody knows: then
	// [Session.Fresh] is false until the next [Session.Elevate], and every revocation of
	// the user, or of all, counts as later.
	AuthTime time.Time

	// Values by their names, in the form of [NewKey], to be encoded by the manager's
	// codec: the value of a Key[T] is a T, that of a [Counter] an integer.
	Values map[string]any

	// Persistent gives a login the lifetime [Options.Remember], as
	// [LoginOptions.Remember] does.
	Persistent bool
}
