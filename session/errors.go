package session

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatekit/gatekit"
)

// The errors of this package, for [errors.Is]. No error contains a token. An absent value
// and a visitor who is not logged in are no errors: the methods return them as values.
var (
	// ErrUnavailable means that Redis did not answer within the budget. It is then not
	// known whether a user is logged in, and the cookie stays as it is. If the request's
	// own deadline ends before the budget, and before the reply, the error is not
	// ErrUnavailable but [context.DeadlineExceeded]. If the error is also
	// [gatekit.ErrUnknownOutcome], a change was sent and Redis may have made it. Default
	// answer: 503.
	ErrUnavailable = gatekit.ErrUnavailable

	// ErrGone means that the session ended while the request ran: logged out, revoked,
	// expired, evicted, or replaced by a login. Nothing was written. Default answer: 401
	// for a login, 409 for a guest.
	ErrGone = errors.New("session: gone")

	// ErrBusy means that earlier updates of the same value kept [Key.Update] waiting
	// until the budget was over. Nothing was changed, and trying again helps. Default
	// answer: 503.
	ErrBusy = errors.New("session: other requests are still updating the value")

	// ErrConflict means that other requests changed the value again and again until the
	// budget was over. Or it means that the call needs the session's newest token and the
	// request came with one that is being replaced. Trying again helps. Default answer:
	// 409.
	ErrConflict = errors.New("session: conflict")

	// ErrTooLate means that the response has started (or the handler returned), so the
	// response could no longer report that the change failed. See [Session.Save] for
	// streams.
	ErrTooLate = errors.New("session: too late, the response has started")

	// ErrTooLarge means that the session would outgrow [Options.MaxBytes]; the error
	// names the value. Default answer: 413.
	ErrTooLarge = errors.New("session: too large")

	// ErrCapReached means that the user has [Options.Cap] sessions and the policy is
	// [RefuseLogin].
	ErrCapReached = errors.New("session: cap of the user's sessions reached")

	// ErrStaleLogin means that the user's sessions were revoked after the credentials
	// were checked: check the credentials again. A handler that revokes the sessions
	// itself avoids the error: it passes the request's context to [Manager.RevokeUser],
	// or sets [LoginOptions.AuthenticatedAt] to a time after the revocation.
	ErrStaleLogin = errors.New("session: authenticated before the user's sessions were revoked")

	// ErrNotLoggedIn means that the call or the page needs a user who is logged in, and
	// nobody is. Default answer: 401.
	ErrNotLoggedIn = errors.New("session: nobody is logged in")

	// ErrNotProven means that the user has to prove once more, or more strongly, who they
	// are; see [Session.Elevate]. Default answer: 403.
	ErrNotProven = errors.New("session: the proof of identity is too old or too weak")

	// ErrNoMiddleware means that no session middleware is around this handler.
	ErrNoMiddleware = errors.New("session: no middleware in this context")
)

var (
	errMethod   = errors.New("session: the method is not POST")
	errCounter  = errors.New("session: no integer, or beyond 2^53")
	errSealedNr = errors.New("session: Encrypt can't keep counters")
)

// status returns the status of the default answer to an error.
func status(err error, loggedIn bool) int {
	switch {
	// The deadline is the request's own.
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrBusy), errors.Is(err, context.DeadlineExceeded):
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
