package lua

import (
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

// The errors of this package, for [errors.Is]. The client's own error is wrapped beside them.
var (
	// ErrUnavailable means that the store did not decide: it could not be reached within the
	// budget, or answered that it cannot serve now (loading, read only, cluster down, no permission,
	// out of memory). Unless it is also [ErrUnknownOutcome], nothing was written.
	ErrUnavailable = errors.New("store unavailable")

	// ErrUnknownOutcome means that the script was sent and its reply did not arrive: it ran once or
	// not at all. It is never sent again. An error that is ErrUnknownOutcome is also [ErrUnavailable].
	ErrUnknownOutcome = &unknownOutcome{}

	// ErrRefused means that the server is there and answered with an error that sending again does not mend: no
	// permission, out of memory, a key of another type. Nothing was written. It is also [ErrUnavailable].
	ErrRefused = &refusedScript{}

	// ErrMalformedReply means that the reply does not have the form that the script returns: the
	// server at this address is not what we think it is. It is also [ErrUnavailable].
	ErrMalformedReply = &malformedReply{}
)

type unknownOutcome struct{}

func (*unknownOutcome) Error() string { return "reply lost, outcome unknown" }
func (*unknownOutcome) Unwrap() error { return ErrUnavailable }

type refusedScript struct{}

func (*refusedScript) Error() string { return "script refused" }
func (*refusedScript) Unwrap() error { return ErrUnavailable }

type malformedReply struct{}

func (*malformedReply) Error() string { return "malformed reply" }
func (*malformedReply) Unwrap() error { return ErrUnavailable }

// outcome is what an error of the client proves about the script.
type outcome int

const (
	ran      outcome = iota // it ran and replied
	noScript                // the server does not hold it; it did not run
	notRun                  // it did not run, and may if it is sent again soon
	moving                  // its keys are on the way to another node; it did not run
	refused                 // it did not run or wrote nothing, and sending again does not help
	unknown                 // nobody knows
)

// classify says what err proves. What it does not know is unknown: only a proof allows a second send.
func classify(err error) outcome {
	switch {
	case err == nil:
		return ran
	case redis.HasErrorPrefix(err, "NOSCRIPT"):
		return noScript
	case redis.IsTryAgainError(err):
		return moving
	case redis.IsLoadingError(err), redis.IsReadOnlyError(err), redis.IsClusterDownError(err),
		redis.IsMasterDownError(err), redis.IsMaxClientsError(err), redis.IsNoReplicasError(err),
		redis.HasErrorPrefix(err, "BUSY "), isDial(err), errors.Is(err, redis.ErrPoolTimeout):
		return notRun
	}
	if _, moved := redis.IsMovedError(err); moved {
		return notRun
	}
	if _, ask := redis.IsAskError(err); ask {
		return notRun
	}
	var reply redis.Error
	if errors.As(err, &reply) {
		// The scripts check before they write, so an error reply comes ahead of the first write.
		return refused
	}
	if errors.Is(err, redis.ErrClosed) {
		return refused
	}
	return unknown
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
