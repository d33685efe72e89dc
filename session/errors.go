package session

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatekit/gatekit"
)

// The errors of this package, for [errors.Is]. None carries a token, and none is about
// values being absent or a visitor being logged out: those are values, not errors.
var (
	// ErrUnavailable means that Redis did not answer within the budget. Nothing is known
	// then, neither that somebody is logged in nor that nobody is; the cookie stays as it
	// is. A request's own deadline that comes before the budget's and before the reply is
	// no ErrUnavailable but [context.DeadlineExceeded]. Where it is also
	// [gatekit.ErrUnknownOutcome], a change was sent and may have been made. Default
	// answer: 503.
	ErrUnavailable = gatekit.ErrUnavailable

	// ErrGone means that the session ended while the request ran: logged out, revoked,
	// expired, evicted, or replaced by a login. Nothing was written. Default answer: 401
	// for a login, 409 for a guest.
	ErrGone = errors.New("session: gone")

	// ErrBusy means that [Key.Update] waited for the updates of the same value ahead of
	// it until the budget was over. Nothing was changed, and trying again helps. Default
	// answer: 503.
	ErrBusy = errors.New("session: other requests are still updating the value")

	// ErrConflict means that others changed the value again and again until the budget
	// was over, or that the request came with a token that is being replaced where only
	// the newest will do. Trying again helps. Default answer: 409.
	ErrConflict = errors.New("session: conflict")

	// ErrTooLate means that the response has started (or the handler returned), so that
	// the change could no longer be reported as failed. See [Session.Save] for streams.
	ErrTooLate = errors.New("session: too late, the response has started")

	// ErrTooLarge means that the session would outgrow [Options.MaxBytes]; the error
	// names the value. Default answer: 413.
	ErrTooLarge = errors.New("session: too large")

	// ErrCapReached means that the user has [Options.Cap] sessions and the policy is
	// [RefuseLogin].
	ErrCapReached = errors.New("session: cap of the user's sessions reached")

	// ErrStaleLogin means that the user's sessions were revoked after the credentials
	// were checked: check them again. A handler that revokes them itself passes the
	// request's context to [Manager.RevokeUser], or says by
	// [LoginOptions.AuthenticatedAt] that the credentials were checked afterwards.
	ErrStaleLogin = errors.New("session: authenticated before the user's sessions were revoked")

	// ErrNotLoggedIn means that somebody has to be logged in for what was asked, and
	// nobody is. Default answer: 401.
	ErrNotLoggedIn = errors.New("session: nobody is logged in")

	// ErrNotProven means that somebody has to prove who they are once more, or more
	// strongly, for what was asked; see [Session.Elevate]. Default answer: 403.
	ErrNotProven = errors.New("session: the proof of identity is too old or too weak")

	// ErrNoMiddleware means that no session middleware is around this handler.
	ErrNoMiddleware = errors.New("session: no middleware in this context")
)

var (
	errMethod   = errors.New("session: the method is not POST")
	errCounter  = errors.New("session: no integer, or beyond 2^53")
	errSealedNr = errors.New("session: Encrypt can't keep counters")
)

// status is the default answer to an error of a commit.
func status(err error, loggedIn bool) int {
	switch {
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrBusy), errors.Is(err, context.DeadlineExceeded): // the last: the request's
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrGone) && loggedIn, errors.Is(err, ErrStaleLogin), errors.Is(err, ErrNotLoggedIn):
		return http.StatusUnauthorized
	case errors.Is(err, ErrGone), errors.Is(err, ErrConflict), errors.Is(err, ErrCapReached):
		return http.StatusConflict
	case errors.Is(err, ErrNotProven):
		return http.StatusForbidden
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}
