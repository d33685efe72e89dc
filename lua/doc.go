// Package lua is the one place where gatekit's state changes: a Lua script per atomic operation, a typed Go method
// per script, the keys, and the transport that runs a script on Redis at most once and within a budget of time.
// Packages ratelimit and session build on it; programs need it for [Connect], [Client] and the errors.
//
// # Rules that all scripts share
//
//   - The clock is the server's (TIME, read once in the script), whole microseconds, so that all processes share one.
//   - All keys of a call carry one hash tag and so lie in one slot of a cluster. No script builds a key, but for those that
//     walk the index of a user's sessions: they append its members to a prefix from KEYS, hash tag included.
//   - Replies are flat arrays of integers, or of strings where a script hands out stored text.
//   - A script reads first, decides, and writes last: Redis does not roll back. Where a script fails, it has not written.
//   - Every key has a TTL after every script. A TTL only frees memory: what is stored decides whether a limit or a session
//     still counts, because the embedded server keeps keys for longer, and clocks step.
//   - Session events are published as the last act of a script, under pcall: PUBLISH may be denied, the script must not fail.
//   - Nothing that a user controls is part of a script's text or of an error reply; in key names it is hashed.
//   - Redis 6.2 is enough, and so is the embedded server of the tests and the quickstart.
//
// Each .lua file opens with its contract: KEYS, ARGV with units and ranges, RETURNS, EXPIRES, COST and RETRY. A test holds the
// contract, the body and the Go method together. Fragments in parts/ hold what several scripts share.
//
// # Transport
//
// A script is sent as EVALSHA, and as EVAL where the server does not know it. go-redis by default sends a command again
// when its reply is lost, which runs it again: three lost replies charged one decision four times. So every script here
// goes out with the client's own retries off, and package lua repeats it only on a proof that nothing ran (refused
// connection, LOADING, TRYAGAIN, ...), or when its contract says RETRY safe. See [ErrUnknownOutcome].
//
// A call ends at its budget, whatever Redis does, provided that the client's options let it: see [RecommendedOptions]. Where its
// connection is not ready by then, it goes on without its caller, and sends a script that does nothing, so that the next call finds
// the connection ready: a client may be busy for 2 s longer than its callers. A caller's own deadline that comes first ends the
// call with the context's error.
package lua
