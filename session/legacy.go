package session

import (
	"context"
	"net/http"
	"time"
)

// A Legacy reads the sessions of another kit, see [Options.Legacy]. It must not change or
// delete them. Many goroutines call it at once.
type Legacy interface {
	// Cookie describes the old kit's cookie. Read is not called for requests without a
	// cookie of its Name. Path, Domain, SameSite and Partitioned are as the old kit set
	// them: a browser needs them to find the cookie that it removes. [New] calls Cookie
	// once.
	Cookie() http.Cookie

	// Read returns the session that the request's old cookie names, and whether there is
	// one. For a cookie that can't be the old kit's it returns false without a call of
	// get.
	//
	// An error of get means that the store did not answer, and so does an error of Read
	// that is [ErrUnavailable]. The request then fails as it does whenever a session
	// can't be read. Any other error means that the old session exists but Read does not
	// understand it. That error is logged, and the visitor is a guest for this request.
	// Nothing is written, so a program that understands the session finds it again. The
	// error must not contain the id or a value.
	Read(ctx context.Context, r *http.Request, get LegacyGet) (old LegacySession, found bool, err error)
}

// LegacyGet reads a string of the old kit's Redis, within the manager's budget. It sends
// two commands in one round trip. A key of another type is not found.
type LegacyGet func(ctx context.Context, key string) (v LegacyValue, found bool, err error)

// LegacyValue is the string that [LegacyGet] found under a key.
type LegacyValue struct {
	Data []byte        // any bytes; the caller owns them
	Left time.Duration // until the key expires; 0 if it does not
}

// A LegacySession is a session of another kit, as a [Legacy] found it.
type LegacySession struct {
	// ID is the secret by which the old kit finds the session: 16 bytes or more that
	// nobody can guess. The new session's token is derived from it.
	ID string

	// Expires is when the old session ends; zero means that it does not.
	Expires time.Time

	Carried
}

// Carried is the part of another kit's session that the new session takes over.
type Carried struct {
	// UserID is the id of the user who is logged in, as a program passes it to
	// [Session.Login]; "" for a guest.
	UserID string

	// AuthTime is when the user proved who they are. Zero means that it is not known.
	// Then [Session.Fresh] is false until the next [Session.Elevate], and every
	// revocation of the user or of everybody counts as later.
	AuthTime time.Time

	// Values are the session's values by name. Names have the form of [NewKey]. The
	// manager's codec encodes the values: the value of a Key[T] is a T, that of a
	// [Counter] an integer.
	Values map[string]any

	// Persistent gives a login the lifetime [Options.Remember], as
	// [LoginOptions.Remember] does.
	Persistent bool
}
