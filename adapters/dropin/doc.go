// Package dropin has stores for other rate limiters and session kits. A program gets this
// kit's limits and sessions by changing one line, and keeps its handlers. Most programs
// need one name:
//
//   - [EchoStore] is the RateLimiterStore of Echo's rate limiter middleware, v4 and v5.
//   - [LimitCounter] is the LimitCounter of go-chi/httprate.
//   - [Limiter], with [Limit] and [Result], has the shape of go-redis/redis_rate.
//   - [SCSStore] is the Store, CtxStore and IterableCtxStore of alexedwards/scs.
//   - For gorilla/sessions, and so for gin-contrib/sessions and echo-contrib/session,
//     there is a module of its own, adapters/gategorilla, because their interfaces name
//     their types.
//
// The types fit by their methods, and the package imports nothing of the other kits.
// Package ratelimit or [blob.Store] makes each decision. Their promises hold as far as
// the other interface can carry them; the comment on each type names what it can't carry.
// A page in this folder shows the switch from each kit, such as from-scs.md.
package dropin
