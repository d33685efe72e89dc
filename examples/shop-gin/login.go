package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/gatekit/gatekit/ratelimit"
	"github.com/gatekit/gatekit/session"
	"github.com/gin-gonic/gin"
)

// These policies limit wrong passwords: for one account from one address, and from one
// address for all accounts. There is no limit for an account from all addresses, by which
// anybody who knows a user's name could lock the user out. While Redis does not answer
// nobody logs in, because an uncounted login is a free guess.
var (
	perAccount = ratelimit.MustPolicy("shop-login-account", ratelimit.PerMinute(5), ratelimit.PerHour(20)).OnFailure(ratelimit.FailClosed)
	perAddress = ratelimit.MustPolicy("shop-login-address", ratelimit.PerMinute(20), ratelimit.PerHour(100)).OnFailure(ratelimit.FailClosed)
)

// limitLogins charges an attempt before the handler runs. The handler gives it back if
// the password was right. If attempts were counted afterwards, a hundred guesses sent at
// once would all pass.
func (s *shop) limitLogins() gin.HandlerFunc {
	return s.limit(
		ratelimit.Rule{Policy: perAddress, Key: byAddress},
		ratelimit.Rule{Policy: perAccount, Key: byGuess},
	)
}

// byGuess counts the guesses of each address at each account.
var byGuess = ratelimit.All(byAddress, byAccount)

// byAccount returns the user name as the key. It need not exist: the answers must not
// show which names exist.
func byAccount(r *http.Request) (string, error) {
	return ratelimit.Join("account", accountName(r)), nil
}

// accountName returns the one spelling of a user name, so that "Alice" and "alice" are
// counted as one account.
func accountName(r *http.Request) string {
	return strings.ToLower(strings.TrimSpace(r.PostFormValue("username")))
}

// A loginForm is the form with the result of the last try.
type loginForm struct{ Name, Problem, Next string }

func (s *shop) loginPage(c *gin.Context, visitor *session.Session) error {
	return s.show(c, visitor, http.StatusOK, "login.html", view{Title: "Log in", Data: loginForm{Next: session.Next(c.Request, "/cart")}})
}

func (s *shop) login(c *gin.Context, visitor *session.Session) error {
	name, next := accountName(c.Request), session.Next(c.Request, "/cart")
	if !s.users.verify(name, c.PostForm("password")) {
		form := loginForm{name, "That user name and password don't match.", next}
		return s.show(c, visitor, http.StatusUnauthorized, "login.html", view{Title: "Log in", Data: form})
	}
	s.giveBack(c.Request.Context())
	if err := visitor.Login(c.Request.Context(), name, session.LoginOptions{}); err != nil {
		return err
	}
	return back(c, visitor, next, "done", "Welcome, "+name+".")
}

// giveBack refunds the attempt, but no other charge of the request. It does so even if
// the client hangs up.
func (s *shop) giveBack(ctx context.Context) {
	attempt := slices.DeleteFunc(slices.Clone(ratelimit.FromContext(ctx)), func(d ratelimit.Decision) bool {
		return d.Policy() != perAccount && d.Policy() != perAddress
	})
	if _, err := s.limiter.RefundMany(context.WithoutCancel(ctx), attempt); err != nil {
		slog.WarnContext(ctx, "shop: an attempt stays counted until its window ends", "error", err)
	}
}

// demoPasswords are shown on the login page; there is no registration.
var demoPasswords = []struct{ Name, Password string }{
	{"alice", "down the rabbit hole"},
	{"bob", "yes we can fix it"},
}

// users stands for the shop's table of users. It does not change, so it is safe for
// concurrent use.
type users struct {
	salt   []byte
	byName map[string][]byte // hash of the password
	decoy  []byte
}

func demoUsers() *users {
	u := &users{salt: []byte(rand.Text()), byName: map[string][]byte{}} // a table in a database has a salt for each user
	for _, d := range demoPasswords {
		u.byName[d.Name] = u.stretch(d.Password)
	}
	u.decoy = u.stretch(rand.Text())
	return u
}

// verify checks a password. A name that does not exist takes the same time as one that
// does.
func (u *users) verify(name, password string) bool {
	hash, exists := u.byName[name]
	if !exists {
		hash = u.decoy
	}
	return subtle.ConstantTimeCompare(u.stretch(password), hash) == 1 && exists
}

// rounds are OWASP's figure for PBKDF2 with SHA-256; a guess then costs about a tenth of
// a second. Tests lower it.
var rounds = 600_000

func (u *users) stretch(password string) []byte {
	key, err := pbkdf2.Key(sha256.New, password, u.salt, rounds, sha256.Size)
	if err != nil {
		panic(err) // only for a wrong length in FIPS mode; ours are constants
	}
	return key
}
