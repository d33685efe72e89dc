package compare

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/boj/redistore"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gatehttp"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/session"
	ginsessions "github.com/gin-contrib/sessions"
	ginredis "github.com/gin-contrib/sessions/redis"
	"github.com/gin-gonic/gin"
	"github.com/gorilla/sessions"
	"github.com/redis/go-redis/v9"
)

// A sessionKit is a column of the table of sessions.
type sessionKit struct {
	kit
	open func(t *testing.T, o clientOptions, addr string) (site, error)
}

var sessionKits = []sessionKit{
	{kit{"gatekit", ""}, openGatekitSite},
	{kit{"scs", "github.com/alexedwards/scs/v2"}, openSCS},
	{kit{"gorilla + redistore", "github.com/boj/redistore"}, openGorilla},
	{kit{"gin-contrib/sessions", "github.com/gin-contrib/sessions"}, openGin},
}

// A site is a program around a kit, with the pages of newPages.
type site struct {
	http.Handler
	revoke func(user string) error // ends all sessions of a user; nil if the kit has no call for it
}

// state is a request's session, in the terms of a kit. It saves changes as the kit's
// documentation says.
type state interface {
	get(name string) string
	set(name, value string) error
	login(user string) error // with a new token, if the kit has a call for that
	logout() error
}

// A gate in a request's context holds the request between reading the session and
// changing it.
type gate struct {
	loaded  chan struct{} // receives once a request has read its session
	release chan struct{} // closed to let them go on
}

type gateKey struct{}

// numbered are names of values, one for each of many requests.
var numbered = func() (names [50]string) {
	for i := range names {
		names[i] = fmt.Sprintf("v%02d", i)
	}
	return names
}()

// pages are the same for all kits: /login?user= and /logout, /set?name= sets a value, and
// every page says who is logged in and how many numbered values there are.
func pages(w http.ResponseWriter, r *http.Request, s state, refuse func(error)) {
	if g, ok := r.Context().Value(gateKey{}).(gate); ok {
		g.loaded <- struct{}{}
		<-g.release
	}
	var err error
	switch r.URL.Path {
	case "/login":
		err = s.login(r.FormValue("user"))
	case "/logout":
		err = s.logout()
	case "/set":
		err = s.set(r.FormValue("name"), "1")
	}
	if err != nil {
		refuse(err)
		return
	}
	n := 0
	for _, name := range numbered {
		if s.get(name) != "" {
			n++
		}
	}
	fmt.Fprintf(w, "user=%s values=%d", s.get("user"), n)
}

// serverError returns a function that answers 500, for kits that don't answer errors
// themselves.
func serverError(w http.ResponseWriter) func(error) {
	return func(err error) { http.Error(w, err.Error(), http.StatusInternalServerError) }
}

type gatekitState struct {
	*session.Session
	ctx context.Context
}

func openGatekitSite(t *testing.T, o clientOptions, addr string) (site, error) {
	client, err := newClient(t, o, addr)
	if err != nil {
		return site{}, err
	}
	m, err := session.New(kvtest.Open(t, client, gatekit.Options{}), session.Options{Cap: -1})
	if err != nil {
		return site{}, err
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse := func(err error) { m.Refuse(w, r, err) }
		s, err := session.From(r.Context())
		if err != nil {
			refuse(err)
			return
		}
		pages(w, r, gatekitState{s, r.Context()}, refuse)
	})
	revoke := func(user string) error { _, err := m.RevokeUser(context.Background(), user); return err }
	return site{gatehttp.Sessions(m)(h), revoke}, nil
}

func (s gatekitState) get(name string) string {
	if name == "user" {
		return s.UserID()
	}
	v, _ := session.NewKey[string](name).Get(s.Session)
	return v
}

func (s gatekitState) set(name, v string) error {
	return session.NewKey[string](name).Set(s.Session, v)
}
func (s gatekitState) login(user string) error { return s.Login(s.ctx, user, session.LoginOptions{}) }
func (s gatekitState) logout() error           { return s.Logout(s.ctx) }

type scsState struct {
	*scs.SessionManager
	ctx context.Context
}

func openSCS(t *testing.T, o clientOptions, addr string) (site, error) {
	client, err := newClient(t, o, addr)
	if err != nil {
		return site{}, err
	}
	// This is what scs.New returns, without the store in memory. Its goroutine would
	// stay, since ending it races with its start.
	m := &scs.SessionManager{
		Lifetime:  24 * time.Hour,
		Store:     goredisstore.New(client.(*redis.Client)),
		Codec:     scs.GobCodec{},
		ErrorFunc: func(w http.ResponseWriter, _ *http.Request, err error) { serverError(w)(err) },
		Cookie:    scs.SessionCookie{Name: "session", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Persist: true},
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pages(w, r, scsState{m, r.Context()}, serverError(w))
	})
	revoke := func(user string) error {
		return m.Iterate(context.Background(), func(ctx context.Context) error {
			if m.GetString(ctx, "user") == user {
				return m.Destroy(ctx)
			}
			return nil
		})
	}
	return site{m.LoadAndSave(h), revoke}, nil
}

func (s scsState) get(name string) string       { return s.GetString(s.ctx, name) }
func (s scsState) set(name, value string) error { s.Put(s.ctx, name, value); return nil }
func (s scsState) logout() error                { return s.Destroy(s.ctx) }
func (s scsState) login(user string) error {
	if err := s.RenewToken(s.ctx); err != nil {
		return err
	}
	s.Put(s.ctx, "user", user)
	return nil
}

// signingKey signs cookies.
var signingKey = []byte("0123456789abcdef0123456789abcdef")

type gorillaState struct {
	*sessions.Session
	w http.ResponseWriter
	r *http.Request
}

func openGorilla(t *testing.T, o clientOptions, addr string) (site, error) {
	open := func() (*redistore.RediStore, error) {
		return redistore.NewRediStore(10, "tcp", addr, "", "", signingKey)
	}
	if o == recommended {
		open = func() (*redistore.RediStore, error) { return redistore.NewRediStoreWithPool(newPool(addr), signingKey) }
	}
	store, err := open()
	if err != nil {
		return site{}, err
	}
	t.Cleanup(func() { store.Close() })
	return site{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "session")
		if err != nil {
			serverError(w)(err)
			return
		}
		pages(w, r, gorillaState{s, w, r}, serverError(w))
	})}, nil
}

func (s gorillaState) get(name string) string { v, _ := s.Values[name].(string); return v }

func (s gorillaState) set(name, value string) error {
	s.Values[name] = value
	return s.Save(s.r, s.w)
}

func (s gorillaState) login(user string) error { return s.set("user", user) }

func (s gorillaState) logout() error {
	s.Options.MaxAge = -1
	return s.Save(s.r, s.w)
}

type ginState struct{ ginsessions.Session }

func openGin(t *testing.T, o clientOptions, addr string) (site, error) {
	open := func() (ginredis.Store, error) { return ginredis.NewStore(10, "tcp", addr, "", "", signingKey) }
	if o == recommended {
		open = func() (ginredis.Store, error) { return ginredis.NewStoreWithPool(newPool(addr), signingKey) }
	}
	store, err := open()
	if err != nil {
		return site{}, err
	}
	under, err := ginredis.GetRedisStore(store)
	if err != nil {
		return site{}, err
	}
	t.Cleanup(func() { under.Close() })
	engine := gin.New()
	engine.Use(ginsessions.Sessions("session", store))
	engine.Any("/*page", func(c *gin.Context) {
		s := ginsessions.Default(c)
		s.Get("user") // reads the session
		pages(c.Writer, c.Request, ginState{s}, serverError(c.Writer))
	})
	return site{Handler: engine}, nil
}

func (s ginState) get(name string) string { v, _ := s.Get(name).(string); return v }

func (s ginState) set(name, value string) error {
	s.Set(name, value)
	return s.Save()
}

func (s ginState) login(user string) error { return s.set("user", user) }

func (s ginState) logout() error {
	s.Options(ginsessions.Options{Path: "/", MaxAge: -1})
	return s.Save()
}
