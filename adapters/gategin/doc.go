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
// Most programs need five names: [Sessions], [CrossOrigin], [RequireLogin] and
// [MustRateLimit] as middlewares, and [Session] in handlers. The context of c.Request
// holds the session and the decisions of the limits ([ratelimit.FromContext]). With
// Engine.ContextWithFallback c itself is such a context too. Without it, give
// c.Request.Context() to [session.Session.Login] and other functions that take a context.
//
// # Errors
//
// A refused request is answered and aborted, and its [gatekit.Refusal] is added to
// c.Errors. The ErrorHandler of [session.Options] or [ratelimit.GateOptions] answers.
// Without one, [gatekit.Refusal.Answer] sends a line of text to a browser that loads a
// page, and problem details to other clients. A commit that failed is answered and added
// to c.Errors in the same way. A handler answers an error of package session by
// manager.Refuse(c.Writer, c.Request, err).
//
// c.Errors is for loggers. A middleware that answers c.Errors finds the response
// complete, and its writes are dropped. To answer in the form of your own errors, set the
// two ErrorHandlers.
//
// # Where to mount
//
//   - Outside of Sessions: loggers (they see the status of a commit that failed, and can
//     still read the session from c.Request); compression; limits that need no session.
//   - Inside: middlewares that buffer or replace responses; limits by user.
//   - Recovery on either side. A panic that passes through Sessions drops the pending
//     changes and undoes a login. If Recovery is inside, Sessions sees an ordinary
//     response: its status 500 drops the pending changes, and a login stands.
//
// Engine.HandleContext runs a chain again, with the writer of the server. If you call it,
// mount Sessions on the engine, so that the second chain has it too. A chain without it
// can't send the cookie of a login; that login is undone, and the undoing is logged.
//
// To send an informational response (103 Early Hints), use the writer that c.Writer
// unwraps to: c.Writer.WriteHeader only records a status, as it does without sessions. If
// a response has only a status, its session is saved after the handlers have returned.
//
// # Limits per route
//
// A rule with PerRoute counts by c.FullPath(), the pattern, with all methods together.
// All requests that match no route, or none with their method, count as one route,
// [ratelimit.NoRoute]. Gin runs middlewares only after routing, so the pattern is always
// known.
//
// # The client's address
//
// [ratelimit.ByIP] takes the address of the connection. If that is a proxy which its
// options name, it takes the address in the proxy's forwarded header. Don't build keys
// from c.ClientIP(): until Engine.SetTrustedProxies is called, it believes the
// X-Forwarded-For of any client.
package gategin
