// Package gategin puts the sessions of package session and the limits of package
// ratelimit before handlers of Gin.
//
//	kv, err := gatekit.Connect(ctx, "redis://localhost:6379", gatekit.Options{})
//	manager, err := session.New(kv, session.Options{})
//	limiter, err := ratelimit.New(kv, ratelimit.Options{})
//
//	r := gin.New()
//	r.Use(gin.Logger(), gin.Recovery(), gategin.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP))
//	r.Use(gategin.Sessions(manager), gategin.CrossOrigin(nil))
//	r.POST("/login", login) // s, err := gategin.Session(c); then s.Login(c.Request.Context(), ...)
//	r.POST("/logout", gategin.Logout(manager, "/"))
//	r.GET("/devices", gategin.Devices(manager))
//	r.GET("/account", gategin.RequireLogin(manager, "/login"), account)
//
// The session is in the context of c.Request, and so are the decisions of the limits
// ([ratelimit.FromContext]). With Engine.ContextWithFallback c itself is such a context
// too; without, it is not, also for the ctx of [session.Session.Login] and others.
//
// # Errors
//
// A request that is refused is answered and aborted, and its [gatekit.Refusal] put into
// c.Errors. The ErrorHandler of [session.Options] or [ratelimit.GateOptions] answers or,
// without one, [gatekit.Refusal.Answer]: problem details, or a line of text for a page
// that a browser shows. So is a commit that failed. Handlers answer errors of package
// session the same way: manager.Refuse(c.Writer, c.Request, err).
//
// The errors are there for loggers. A middleware that answers c.Errors finds the response
// complete, and what it writes is dropped. For answers in the form of your own errors set
// the two ErrorHandlers.
//
// # Where to mount
//
//   - Outside of Sessions: loggers, which then see the status of a commit that failed and
//     can still read the session from c.Request; compression; limits that need no
//     session.
//   - Inside: what buffers or replaces responses; limits by user.
//   - Recovery on either side. A panic that passes Sessions drops the pending changes and
//     undoes a login. One that was recovered inside is an answer like any other: with
//     status 500 it drops the pending changes, and a login stands.
//
// Engine.HandleContext begins the chain again with the writer of the server. Mount
// Sessions on the engine then, so that it is in that chain too: a chain without it can't
// send the cookie of a login, which is undone and logged.
//
// An informational response (103 Early Hints) is sent by the writer that c.Writer unwraps
// to. c.Writer.WriteHeader only records a status, as it does without sessions, and a
// response that has nothing but a status is saved when the handlers have returned.
//
// # Limits per route
//
// A rule with PerRoute counts by c.FullPath(), the pattern, with all methods together.
// Requests that no route matches, or none with their method, are one route,
// [ratelimit.NoRoute]. There is nothing ahead of routing: Gin runs middlewares when it
// has matched.
//
// # The client's address
//
// [ratelimit.ByIP] takes the address of the connection, or that of a forwarded header
// from the proxies that it is told of. Don't build keys from c.ClientIP(): until
// Engine.SetTrustedProxies is called it believes X-Forwarded-For of anybody.
package gategin
