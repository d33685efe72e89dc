// Package store is the only package that talks to Redis. It has a typed Go method for
// each script of package lua, the names of the keys, and the transport, which runs a
// script within a budget of time, and at most once unless its contract says RETRY safe.
// Packages ratelimit and session build on it. Programs open it by the package at the root
// of the module.
//
// # Transport
//
// The store sends a script as EVALSHA, and as EVAL if the server does not know it. By
// default go-redis sends a command again when its reply is lost, so the command runs
// again: three lost replies charged one decision four times. Therefore the store sends
// every script with the client's own retries off. It sends a script again only if an
// error proves that nothing ran (refused connection, LOADING, TRYAGAIN, ...), or if the
// script's contract says RETRY safe. See [ErrUnknownOutcome].
//
// A call ends when its budget ends, whatever Redis does, if the client's options allow
// it: see [RecommendedOptions]. If its connection is not ready by then, the caller gets
// an error, but the call goes on in the background. It sends a script that does nothing,
// so that the next call finds the connection ready. A client may thus be busy for 2 s, or
// 8 budgets if that is more, after its callers left. If the caller's own deadline comes
// before the end of the budget, the call ends with the context's error.
package store
