// Package dropin has stores for the rate limiters and session kits of others, so that a
// program gets this kit's limits and sessions by changing one line, and its handlers
// later or never:
//
//   - [EchoStore] is the RateLimiterStore of Echo's rate limiter middleware, v4 and v5.
//   - [LimitCounter] is the LimitCounter of go-chi/httprate.
//   - [Limiter], with [Limit] and [Result], has the shape of go-redis/redis_rate.
//   - [SCSStore] is the Store, CtxStore and IterableCtxStore of alexedwards/scs.
//   - For gorilla/sessions, and so for gin-contrib/sessions and echo-contrib/session,
//     there is a module of its own, adapters/gategorilla, because their interfaces name
//     their types.
//
// The types fit by their methods; nothing of the other kits is imported. Each is a thin
// bridge: what is decided is decided by package ratelimit or [blob.Store], with their
// promises, as far as the other interface can carry them. Where it can't, the comment on
// the type says so, and so does the page of that kit in this folder (from-scs.md and so
// on).
package dropin
