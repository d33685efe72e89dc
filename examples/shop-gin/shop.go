package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gategin"
	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

// shop is the site. It is safe for concurrent use.
type shop struct {
	sessions *session.Manager
	limiter  *ratelimit.Limiter
	users    *users
	orders   *orders
}

func newShop(kv *gatekit.Redis, insecureCookie bool) (s *shop, err error) {
	s = &shop{users: demoUsers(), orders: &orders{}}
	if s.limiter, err = ratelimit.New(kv, ratelimit.Options{}); err != nil {
		return nil, err
	}
	s.sessions, err = session.New(kv, session.Options{
		Carry:          []string{cartName}, // a login drops all other values of a guest
		Guest:          guests,
		InsecureCookie: insecureCookie,
		ErrorHandler:   s.refuse,
	})
	return s, err
}

// guests is how long guests keep their carts: for two weeks, even if the browser ends. A
// client that keeps no cookies costs memory only for minutes, see [session.Options]. The
// limit of posts bounds how many such clients there are.
var guests = session.Lifetime{IdleTimeout: 14 * 24 * time.Hour, AbsoluteTimeout: 30 * 24 * time.Hour, Persistent: true}

// The policies for visitors. Reading is not limited.
var (
	// posts counts by address the requests that change something.
	posts = ratelimit.MustPolicy("shop-posts", ratelimit.PerMinute(120))
	// checkouts counts by user. Nobody can order while Redis does not answer, since the
	// carts are in Redis.
	checkouts = ratelimit.MustPolicy("shop-checkouts", ratelimit.PerMinute(5)).OnFailure(ratelimit.FailClosed)
)

var byAddress = ratelimit.MustByIP(ratelimit.IPOptions{})

//go:embed static/style.css
var static embed.FS

func init() { gin.SetMode(gin.ReleaseMode) } // it would print every route

func (s *shop) handler() *gin.Engine {
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.Use(headers, s.recovered(), gategin.CrossOrigin(s.crossOrigin()), gategin.Sessions(s.sessions))
	engine.NoRoute(func(c *gin.Context) { s.fail(c.Writer, c.Request, errNotFound) })
	engine.StaticFileFS("/style.css", "static/style.css", http.FS(static))
	engine.GET("/", s.page(s.products))
	engine.GET("/cart", s.page(s.cart))
	engine.GET("/login", s.page(s.loginPage))

	change := engine.Group("/", s.limit(ratelimit.Rule{Policy: posts, Key: byAddress}))
	change.POST("/cart/:product/add", s.page(s.add))
	change.POST("/cart/:product/remove", s.page(s.remove))
	change.POST("/login", s.limitLogins(), s.page(s.login))
	change.POST("/logout", gategin.Logout(s.sessions, "/"))

	user := gategin.RequireLogin(s.sessions, "/login")
	engine.GET("/orders", user, s.page(s.ordersPage))
	change.POST("/checkout", user, s.limit(ratelimit.Rule{Policy: checkouts, Key: ratelimit.ByUser(userOf)}), s.page(s.checkout))
	return engine
}

// limit returns the middleware of the rules. It answers denials with a page of the shop.
func (s *shop) limit(rules ...ratelimit.Rule) gin.HandlerFunc {
	return gategin.MustRateLimit(s.limiter, ratelimit.GateOptions{ErrorHandler: s.refuse}, rules...)
}

// crossOrigin returns the protection against requests that change something and that
// another site made the browser send.
func (s *shop) crossOrigin() *http.CrossOriginProtection {
	p := http.NewCrossOriginProtection()
	p.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, session.CrossOrigin(p)(r)) }))
	return p
}

// userOf returns the user for rules. RequireLogin runs before them.
func userOf(r *http.Request) string {
	s, _ := session.From(r.Context())
	return s.UserID()
}

// headers sets the fields of every response, and bounds the size of forms.
func headers(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 16<<10)
}

// recovered answers when a page panics.
func (s *shop) recovered() gin.HandlerFunc {
	return gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, v any) { // nil: its own log would show cookies
		s.fail(c.Writer, c.Request, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
	})
}

// page makes a handler of a function that needs the session and may fail. Only page reads
// the session. So there is one place that answers 503, not an empty cart, when Redis does
// not answer.
func (s *shop) page(serve func(*gin.Context, *session.Session) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		visitor, err := gategin.Session(c)
		if err == nil {
			err = serve(c, visitor)
		}
		if err != nil {
			s.sessions.Refuse(c.Writer, c.Request, err) // calls fail
		}
	}
}

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"euro": euro, "demo": func() any { return demoPasswords }}).
	ParseFS(templateFiles, "templates/*.html"))

// A view is the data of the templates.
type view struct {
	Title string
	Data  any

	// Set by show.
	User    string
	InCart  int // number of things in the cart
	Flashes []session.Message
}

// show writes a page as the visitor sees it, with the messages that wait for them.
func (s *shop) show(c *gin.Context, visitor *session.Session, status int, name string, v view) error {
	inCart, err := theCart.Get(visitor)
	if err != nil {
		return err
	}
	v.User, v.InCart = visitor.UserID(), inCart.count()
	if v.Flashes, err = visitor.Flashes(c.Request.Context()); err != nil {
		return err
	}
	c.Header("Cache-Control", "no-store") // "back" after a logout must not show the page again
	render(c.Writer, status, name, v)
	return nil
}

func render(w http.ResponseWriter, status int, name string, v view) {
	var body bytes.Buffer // the whole page, so that a template that fails does not send half of it
	if err := templates.ExecuteTemplate(&body, name, v); err != nil {
		slog.Error("shop: a template failed", "name", name, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

// back redirects to a page of the shop with a message for it.
func back(c *gin.Context, visitor *session.Session, path, kind, text string) error {
	if err := visitor.Flash(session.Message{Kind: kind, Text: text}); err != nil {
		return err
	}
	c.Redirect(http.StatusSeeOther, path)
	return nil
}

var errNotFound = errors.New("no such page or product")

// A failure is the text for a visitor about an error.
type failure struct {
	Status      int
	Title, Text string
}

// refuse answers a request that the sessions or the limits refuse.
func (s *shop) refuse(w http.ResponseWriter, r *http.Request, refusal *gatekit.Refusal) {
	s.fail(w, r, refusal)
}

// fail answers when a page can't be shown. It leaves the session and the cookie alone.
func (s *shop) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := failure{http.StatusInternalServerError, "Something went wrong", "It was not your doing. Please try again."}
	var refused *gatekit.Refusal
	denied := errors.As(err, &refused) && len(refused.Violated) > 0
	switch {
	case denied && refused.Status == http.StatusTooManyRequests:
		f = failure{refused.Status, "One moment", "That was a lot at once. Please try again in a while."}
	case denied, errors.Is(err, session.ErrUnavailable):
		w.Header().Set("Retry-After", "2")
		f = failure{http.StatusServiceUnavailable, "Back in a moment", "Your cart is safe. Please try again shortly."}
	case errors.Is(err, session.ErrGone), errors.Is(err, session.ErrConflict), errors.Is(err, session.ErrStaleLogin):
		f = failure{http.StatusConflict, "Please try again", "Something else happened at the same moment. Nothing was changed."}
	case errors.Is(err, errNotFound):
		f = failure{http.StatusNotFound, "Not here", "The shop has no such page."}
	case refused != nil && refused.Status == http.StatusForbidden:
		f = failure{refused.Status, "Not from here", "The request came from another site, so nothing was done."}
	case refused != nil:
		f = failure{refused.Status, http.StatusText(refused.Status), "Nothing was changed."}
	case r.Context().Err() != nil: // the visitor left
	default:
		slog.ErrorContext(r.Context(), "shop: a page failed", "error", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	render(w, f.Status, "failure.html", view{Title: f.Title, Data: f})
}
