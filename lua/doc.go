// Package lua holds the scripts that change gatekit's state in Redis, one .lua file per
// atomic operation, and joins each with the fragments that its header lists. Whoever
// audits what runs on their Redis reads it here; programs do not need it. The Go side, a
// typed method per script, is internal/store.
//
// # Rules that all scripts share
//
//   - The clock is the server's (TIME, read once in the script), whole microseconds, so
//     that all processes share one.
//   - All keys of a call carry one hash tag and so lie in one slot of a cluster, but for
//     those of limit_take_all, which is sent to single servers only, or with keys of one
//     tag. No script builds a key, but for those that walk the index of a user's sessions: they
//     append its members to a prefix from KEYS, hash tag included.
//   - Replies are flat arrays of integers, or of strings where a script hands out stored
//     text.
//   - A script reads first, decides, and writes last: Redis does not roll back. Where a
//     script fails, it has not written.
//   - Every key has a TTL after every script. A TTL only frees memory: what is stored
//     decides whether a limit or a session still counts, because the embedded server
//     keeps keys for longer, and clocks step.
//   - Session events are published as the last act of a script, under pcall: PUBLISH may
//     be denied, the script must not fail.
//   - Nothing that a user controls is part of a script's text or of an error reply; in
//     key names it is hashed.
//   - Redis 6.2 is enough, and so is the embedded server of the tests and the quickstart.
//
// Each .lua file opens with its contract: PARTS, KEYS, ARGV with units and ranges,
// RETURNS, EXPIRES, COST and RETRY. A test holds the contract, the body and the Go method
// together. PARTS lists the fragments in parts/ that stand ahead of the body, in order.
// They hold what several scripts share. Three decide calls by themselves: fastpath and
// fastbuckets most of limit_take, flatpath many of limit_take_all. A fragment says in its
// NEEDS line which names it uses of which other fragment. A test compares both lines with
// the code.
package lua
