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

// The errors of this package, for [errors.Is]. The client's own error is wrapped beside
// them.
var (
	// ErrUnavailable means that the store did not decide: it could not be reached within
	// the budget, or answered that it cannot serve now (loading, read only, cluster down,
	// no permission, out of memory). Unless it is also [ErrUnknownOutcome], nothing was
	// written.
	//
	// A call that the deadline of its caller's context cut short, ahead of the budget,
	// says nothing about the store: its error is [context.DeadlineExceeded], and not
	// ErrUnavailable.
	ErrUnavailable = errors.New("store unavailable")

	// ErrUnknownOutcome means that a script that writes was sent and its reply did not
	// arrive: it ran once or not at all. It is never sent again. The error is also
	// [ErrUnavailable], or [context.DeadlineExceeded] where the caller's deadline cut the
	// call short.
	ErrUnknownOutcome = errors.New("reply lost, outcome unknown")

	// ErrRefused means that the server is there and answered with an error that sending
	// again does not mend: no permission, out of memory, a key of another type. Nothing
	// was written. It is also [ErrUnavailable].
	ErrRefused = &refusedScript{}

	// ErrMalformedReply means that the reply does not have the form that the script
	// returns: the server at this address is not what we think it is. It is also
	// [ErrUnavailable].
	ErrMalformedReply = &malformedReply{}
)

type refusedScript struct{}

func (*refusedScript) Error() string { return "script refused" }
func (*refusedScript) Unwrap() error { return ErrUnavailable }

type malformedReply struct{}

func (*malformedReply) Error() string { return "malformed reply" }
func (*malformedReply) Unwrap() error { return ErrUnavailable }

// outcome is what an error of the client proves about the script.
type outcome int

const (
	noScript   outcome = iota // the server does not hold it; it did not run
	notNow                    // the server is there and did not run it; it may soon
	notServing                // as notNow, and it says so to all
	notSent                   // it was not sent, and may be
	refused                   // the server is there, ran nothing or wrote nothing, and sending again does not help
	shut                      // the client is closed
	unknown                   // nobody knows
)

// classify says what err proves. What it does not know is unknown: only a proof allows a
// second send.
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
		// The scripts check before they write, so an error reply comes ahead of the first
		// write.
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

// errorPrefix begins the text of every error of the module, once.
const errorPrefix = "gatekit: "

// Doing says what was being done when err came: its text is that of err, with doing
// behind the prefix. Packages that build on a store wrap the store's errors by it, so
// that the prefix stands once and in front. [errors.Is] finds what err is.
func Doing(doing string, err error) error { return &doingError{doing, err} }

type doingError struct {
	doing string
	err   error
}

func (e *doingError) Error() string {
	return errorPrefix + e.doing + ": " + strings.TrimPrefix(e.err.Error(), errorPrefix)
}

func (e *doingError) Unwrap() error { return e.err }

// early is by how much a deadline may fire ahead of itself: that of a socket does not
// wait for the context's.
const early = time.Millisecond

// failure is the error of a call that ends with err, of which no repetition came.
func (c *run) failure(what outcome, err error) error {
	kind, detail := ErrUnavailable, ""
	switch what {
	case notSent:
		detail = "nothing was sent: "
	case shut:
		detail = "the client is closed: "
	case refused:
		kind = ErrRefused
	case unknown:
		if c.script.retry == reads {
			detail = "no reply: "
		} else {
			kind = unknownOutcome
		}
	}
	if c.hurried && time.Until(c.at) < early && (what == noScript || what == notSent || what == unknown) {
		// Whatever the client makes of it: a dial that was cut short is "operation was
		// canceled".
		return c.hurriedFailure(what, err)
	}
	return fmt.Errorf("gatekit: %s: %w: %s%w", c.script.name, kind, detail, err)
}

// unknownOutcome is [ErrUnknownOutcome] of a store that did not answer within the budget.
var unknownOutcome error = &unknownUnavailable{}

type unknownUnavailable struct{}

func (*unknownUnavailable) Error() string   { return ErrUnknownOutcome.Error() }
func (*unknownUnavailable) Unwrap() []error { return []error{ErrUnknownOutcome, ErrUnavailable} }

// hurriedFailure is the error of a call that had less time than its budget, because its
// caller had. The client's own error is not in it: it may be one of a socket, as if there
// had been a fault.
func (c *run) hurriedFailure(what outcome, err error) error {
	const text = "gatekit: %s: the caller's deadline came before the reply"
	if what == unknown && c.script.retry != reads {
		return fmt.Errorf(text+": %w: %w", c.script.name, ErrUnknownOutcome, context.DeadlineExceeded)
	}
	return fmt.Errorf(text+", nothing was done: %w", c.script.name, context.DeadlineExceeded)
}

func (c *run) malformed() error {
	return fmt.Errorf("gatekit: %s: %w", c.script.name, ErrMalformedReply)
}

func (c *run) malformedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", c.malformed(), fmt.Sprintf(format, args...))
}
