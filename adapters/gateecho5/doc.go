// Package gateecho5 puts the sessions of package session and the limits of package
// ratelimit before handlers of Echo v5. Package gateecho does so for Echo v4.
//
//	kv, err := gatekit.Connect(ctx, "redis://localhost:6379", gatekit.Options{})
//	manager, err := session.New(kv, session.Options{})
//	limiter, err := ratelimit.New(kv, ratelimit.Options{})
//
//	e := echo.New()
//	e.Use(middleware.RequestLogger(), middleware.Recover(), gateecho5.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP))
//	e.Use(gateecho5.Sessions(manager), gateecho5.CrossOrigin(nil))
//	e.POST("/login", login) // s, err := gateecho5.Session(c); then s.Login(...)
//	e.POST("/logout", gateecho5.Logout(manager, "/"))
//	e.GET("/devices", gateecho5.Devices(manager))
//	e.GET("/account", account, gateecho5.RequireLogin(manager, "/login"))
//
// Most programs need five names: [Sessions], [CrossOrigin], [RequireLogin] and
// [MustRateLimit] as middlewares, and [Session] in handlers. The context of c.Request()
// holds the session and the decisions of the limits ([ratelimit.FromContext]). Configs
// are [echo.MiddlewareConfigurator]s: ToMiddleware returns the errors on which the short
// forms panic.
//
// # Errors
//
// When a guard or a limit refuses a request, or its session could not be read, Echo's
// HTTPErrorHandler gets an error in which [errors.As] finds an [echo.HTTPError] and the
// [gatekit.Refusal]. The header fields are already set. When the default handler sends
// the problem details, [gatekit.Refusal.Answer] answers in its place: a line of text to a
// browser that loads a page, and application/problem+json to other clients.
// [echo.ProblemDetailsHTTPErrorHandler] sends them without the names of the policies. If
// [session.Options] or [ratelimit.GateOptions] have an ErrorHandler, that one answers and
// Echo's is not called. Redirects, and the answer to a commit that failed, are sent at
// once: see [session.Manager.Refuse]. A handler may return an error of package session
// unchanged. An error around one that has a StatusCode keeps its status.
//
// When a handler inside returns an error, Sessions calls the HTTPErrorHandler at once,
// while the session can still be saved with the response. It also returns the error to
// the middlewares outside, such as a logger. Echo then calls the HTTPErrorHandler a
// second time. So an HTTPErrorHandler of your own should begin like Echo's default:
// return when the response of [echo.UnwrapResponse] is Committed. If it does not, it
// still cannot add to the response.
//
// # Where to mount
//
//   - Outside of Sessions: loggers (they can still read the session from c.Request());
//     Gzip; limits that need no session.
//   - Inside: middlewares that buffer or replace responses (ContextTimeout may be
//     anywhere); limits by user.
//   - Recover on either side. A panic that passes through Sessions drops the pending
//     changes and undoes a login. If Recover is inside, Sessions sees an ordinary
//     response: its status 500 drops the pending changes, and a login stands.
//   - BodyLimit and CORS on either side.
//
// # Limits per route
//
// A rule with PerRoute counts by the Path of c.RouteInfo(), the pattern, with all methods
// together. All requests that match no route, or none with their method, count as one
// route, [ratelimit.NoRoute]. In Echo.Pre, before routing, no pattern is known: such a
// rule answers 500 there and logs why.
//
// # The client's address
//
// [ratelimit.ByIP] takes the address of the connection. If that is a proxy which its
// options name, it takes the address in the proxy's forwarded header. Don't build keys
// from c.RealIP() with an Echo.IPExtractor that believes the headers of any client, as
// LegacyIPExtractor does.
package gateecho5
