package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The errors of this package, for [errors.Is]. The client's own error is wrapped too.
var (
	// ErrUnavailable means that Redis did not decide: it could not be reached within the
	// budget, or answered that it cannot serve now (loading, read only, cluster down, no
	// permission, out of memory). Unless the error is also [ErrUnknownOutcome], nothing
	// was written.
	//
	// If the deadline of the caller's context ends a call before its budget does, that
	// says nothing about Redis. The error is then [context.DeadlineExceeded] and not
	// ErrUnavailable.
	ErrUnavailable = errors.New("store unavailable")

	// ErrUnknownOutcome means that a script that writes was sent and its reply did not
	// arrive: it ran once or not at all. The store does not send it again. The error is
	// also [ErrUnavailable], or [context.DeadlineExceeded] if the caller's deadline ended
	// the call.
	ErrUnknownOutcome = errors.New("reply lost, outcome unknown")

	// ErrRefused means that the server answered with an error that stays the same if the
	// script is sent again: no permission, out of memory, a key of another type. Nothing
	// was written. It is also [ErrUnavailable].
	ErrRefused = &refusedScript{}

	// ErrMalformedReply means that the reply does not have the form that the script
	// returns: the server at this address is not the Redis that we expect. It is also
	// [ErrUnavailable].
	ErrMalformedReply = &malformedReply{}
)

type refusedScript struct{}

func (*refusedScript) Error() string { return "script refused" }
func (*refusedScript) Unwrap() error { return ErrUnavailable }

type malformedReply struct{}

func (*malformedReply) Error() string { return "malformed reply" }
func (*malformedReply) Unwrap() error { return ErrUnavailable }

// outcome is what we know about the script from an error of the client.
type outcome int

const (
	noScript   outcome = iota // the server does not hold it; it did not run
	notNow                    // the server answered and did not run it; it may run it soon
	notServing                // as notNow, and the server answers the same to all calls
	notSent                   // it was not sent; the store may send it
	refused                   // the server answered and wrote nothing; sending again does not help
	shut                      // the client is closed
	unknown                   // it may have run
)

// classify returns what err proves. An error that it does not know is unknown, because
// the store sends a script again only if it has a proof that nothing ran.
func classify(err error) outcome {
	switch {
	case redis.HasErrorPrefix(err, "NOSCRIPT"):
		return noScript
	case redis.IsTryAgainError(err), redis.IsMaxClientsError(err):
		return notNow
	case redis.IsLoadingError(err), redis.IsReadOnlyError(err), redis.IsClusterDownError(err), redis.IsMasterDownError(err),
		redis.IsNoReplicasError(err), redis.HasErrorPrefix(err, "BUSY "):
		return notServing
	case isDial(err), isHandshake(err), errors.Is(err, redis.ErrPoolTimeout):
		return notSent
	case errors.Is(err, redis.ErrClosed):
		return shut
	}
	if _, moved := redis.IsMovedError(err); moved {
		return notNow
	}
	if _, ask := redis.IsAskError(err); ask {
		return notNow
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		// The scripts check before they write, so a script that replied with an error
		// wrote nothing.
		return refused
	}
	return unknown
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// isHandshake reports a TLS connection that could not be set up.
func isHandshake(err error) bool {
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	return errors.As(err, &certificate) || errors.As(err, &header) && strings.HasPrefix(header.Msg, "first record")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, redis.ErrPoolTimeout) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// errorPrefix is the beginning of the text of the store's errors.
const errorPrefix = "gatekit: "

// Doing returns err with a word about what the caller was doing. Its text is that of err,
// with doing after the prefix, so that the prefix stays at the beginning and comes once.
// It wraps err for [errors.Is].
func Doing(doing string, err error) error { return &doingError{doing, err} }

type doingError struct {
	doing string
	err   error
}

func (e *doingError) Error() string {
	return errorPrefix + e.doing + ": " + strings.TrimPrefix(e.err.Error(), errorPrefix)
}

func (e *doingError) Unwrap() error { return e.err }

// early is how much earlier than the context's deadline a socket's deadline may end a
// call.
const early = time.Millisecond

// failure returns the error of a call that ends with err and is not sent again.
func (c *run) failure(what outcome, err error) error {
	end := ending{script: c.script, what: what, err: err}
	if c.members {
		return &end
	}
	return end.failure(c.at, c.hurried)
}

// An ending is how a call ended that got no reply. It is an error, which a batch returns
// to its members: each of them makes its own error of it.
type ending struct {
	script *script
	what   outcome
	err    error
}

func (e *ending) Error() string { return e.err.Error() }

// failure returns the error for a caller who waited until at. hurried says that this was
// the caller's own deadline.
func (e *ending) failure(at time.Time, hurried bool) error {
	kind, detail := ErrUnavailable, ""
	switch e.what {
	case notSent:
		detail = "nothing was sent: "
	case shut:
		detail = "the client is closed: "
	case refused:
		kind = ErrRefused
	case unknown:
		if e.script.retry == reads {
			detail = "no reply: "
		} else {
			kind = unknownOutcome
		}
	}
	if hurried && time.Until(at) < early && (e.what == noScript || e.what == notSent || e.what == unknown) {
		// The client's own error does not show that the caller's deadline ended the call:
		// a dial that it ended fails with "operation was canceled".
		return e.hurried()
	}
	return fmt.Errorf("gatekit: %s: %w: %s%w", e.script.name, kind, detail, e.err)
}

// unknownOutcome is [ErrUnknownOutcome] when Redis did not answer within the budget.
var unknownOutcome error = &unknownUnavailable{}

type unknownUnavailable struct{}

func (*unknownUnavailable) Error() string   { return ErrUnknownOutcome.Error() }
func (*unknownUnavailable) Unwrap() []error { return []error{ErrUnknownOutcome, ErrUnavailable} }

// hurried returns the error of a call that the caller's deadline ended before its budget.
// It does not wrap the client's own error: that may be one of a socket, which would look
// like a fault of the network.
func (e *ending) hurried() error {
	const text = "gatekit: %s: the caller's deadline came before the reply"
	if e.what == unknown && e.script.retry != reads {
		return fmt.Errorf(text+": %w: %w", e.script.name, ErrUnknownOutcome, context.DeadlineExceeded)
	}
	return fmt.Errorf(text+", nothing was done: %w", e.script.name, context.DeadlineExceeded)
}

// left returns the error of a call whose caller canceled before anything was sent.
func (e *ending) left() error {
	return fmt.Errorf("gatekit: %s: the caller left before its turn, nothing was done: %w", e.script.name, context.Canceled)
}

func (c *run) malformed() error {
	return fmt.Errorf("gatekit: %s: %w", c.script.name, ErrMalformedReply)
}

func (c *run) malformedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", c.malformed(), fmt.Sprintf(format, args...))
}
