// Package gateecho puts the sessions of package session and the limits of package
// ratelimit before handlers of Echo v4. Package gateecho5 does so for Echo v5.
//
//	kv, err := gatekit.Connect(ctx, "redis://localhost:6379", gatekit.Options{})
//	manager, err := session.New(kv, session.Options{})
//	limiter, err := ratelimit.New(kv, ratelimit.Options{})
//
//	e := echo.New()
//	e.Use(middleware.RequestLogger(), middleware.Recover(), gateecho.MustRateLimit(limiter, ratelimit.GateOptions{}, perIP))
//	e.Use(gateecho.Sessions(manager), gateecho.CrossOrigin(nil))
//	e.POST("/login", login) // s, err := gateecho.Session(c); then s.Login(...)
//	e.POST("/logout", gateecho.Logout(manager, "/"))
//	e.GET("/devices", gateecho.Devices(manager))
//	e.GET("/account", account, gateecho.RequireLogin(manager, "/login"))
//
// Most programs need five names: [Sessions], [CrossOrigin], [RequireLogin] and
// [MustRateLimit] as middlewares, and [Session] in handlers. The context of c.Request()
// holds the session and the decisions of the limits ([ratelimit.FromContext]).
//
// # Errors
//
// When a guard or a limit refuses a request, or its session could not be read, Echo's
// HTTPErrorHandler gets an [echo.HTTPError]. The header fields are already set. Its
// Internal is the [gatekit.Refusal], which [errors.As] finds, and its Message the problem
// details. When the default handler sends these, [gatekit.Refusal.Answer] answers in its
// place: a line of text to a browser that loads a page, and application/problem+json to
// other clients. If [session.Options] or [ratelimit.GateOptions] have an ErrorHandler,
// that one answers and Echo's is not called. Redirects, and the answer to a commit that
// failed, are sent at once: see [session.Manager.Refuse]. A handler may return an error
// of package session unchanged. An HTTPError around one keeps its own code.
//
// When a handler inside returns an error, Sessions calls the HTTPErrorHandler at once,
// while the session can still be saved with the response. It also returns the error to
// the middlewares outside, such as a logger. Echo then calls the HTTPErrorHandler a
// second time, as it does behind other middlewares that answer errors. So an
// HTTPErrorHandler of your own should begin like Echo's default: return when
// c.Response().Committed is set. If it does not, it still cannot add to the response.
//
// # Where to mount
//
//   - Outside of Sessions: loggers (they see the status of a commit that failed, and can
//     still read the session from c.Request()); Gzip; limits that need no session.
//   - Inside: middlewares that buffer or replace responses, such as Timeout
//     (ContextTimeout may be anywhere); limits by user.
//   - Recover on either side. A panic that passes through Sessions drops the pending
//     changes and undoes a login. If Recover is inside, Sessions sees an ordinary
//     response: its status 500 drops the pending changes, and a login stands.
//   - BodyLimit and CORS on either side.
//
// # Limits per route
//
// A rule with PerRoute counts by c.Path(), the pattern, with all methods together. All
// requests that match no route, or none with their method, count as one route,
// [ratelimit.NoRoute]. A handler of RouteNotFound, as Group.Use makes them, is a route
// with its own path. In Echo.Pre, before routing, no pattern is known: such a rule
// answers 500 there and logs why.
//
// # The client's address
//
// [ratelimit.ByIP] takes the address of the connection. If that is a proxy which its
// options name, it takes the address in the proxy's forwarded header. Don't build keys
// from c.RealIP(): unless Echo.IPExtractor is set, it believes the X-Forwarded-For and
// X-Real-IP of any client.
package gateecho
