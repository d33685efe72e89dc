// Package store is the one place where Redis is spoken: a typed Go method per script of
// package lua, the keys, and the transport that runs a script at most once and within a
// budget of time. Packages ratelimit and session build on it; programs open it by the
// package at the root of the module.
//
// # Transport
//
// A script is sent as EVALSHA, and as EVAL where the server does not know it. go-redis by
// default sends a command again when its reply is lost, which runs it again: three lost
// replies charged one decision four times. So every script here goes out with the
// client's own retries off, and this package repeats it only on a proof that nothing ran
// (refused connection, LOADING, TRYAGAIN, ...), or when its contract says RETRY safe. See
// [ErrUnknownOutcome].
//
// A call ends at its budget, whatever Redis does, provided that the client's options let
// it: see [RecommendedOptions]. Where its connection is not ready by then, it goes on
// without its caller, and sends a script that does nothing, so that the next call finds
// the connection ready: a client may be busy for 2 s longer than its callers. A caller's
// own deadline that comes first ends the call with the context's error.
package store
