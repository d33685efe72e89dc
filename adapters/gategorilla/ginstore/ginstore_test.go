package ginstore_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/adapters/gategorilla/ginstore"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/gin-contrib/sessions"
	"github.com/gin-contrib/sessions/tester"
	"github.com/gin-gonic/gin"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultWriter = io.Discard
	redistest.Main(m)
}

func newStore(t *testing.T, client gatekit.Client, budget time.Duration) *ginstore.Store {
	t.Helper()
	blobs, err := blob.New(kvtest.Open(t, client, gatekit.Options{Prefix: redistest.Prefix(t), Budget: budget}), blob.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := ginstore.New(blobs, gategorilla.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// The suite that gin-contrib/sessions publishes for stores.
func TestConformance(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		create := func(t *testing.T) sessions.Store { return newStore(t, server.Client(t), 2*time.Second) }
		for name, test := range map[string]func(*testing.T){
			"GetSet":    func(t *testing.T) { tester.GetSet(t, create) },
			"DeleteKey": func(t *testing.T) { tester.DeleteKey(t, create) },
			"Flashes":   func(t *testing.T) { tester.Flashes(t, create) },
			"Clear":     func(t *testing.T) { tester.Clear(t, create) },
			"Options":   func(t *testing.T) { tester.Options(t, create) },
			"Many":      func(t *testing.T) { tester.Many(t, create) },
		} {
			t.Run(name, test)
		}
	})
}

// site is a program of a few routes.
func site(store *ginstore.Store) http.Handler {
	router := gin.New()
	router.Use(sessions.Sessions("id", store))
	fail := func(c *gin.Context, err error) bool {
		switch {
		case errors.Is(err, session.ErrUnavailable):
			c.AbortWithStatus(http.StatusServiceUnavailable)
		case errors.Is(err, session.ErrGone):
			c.AbortWithStatus(http.StatusConflict)
		case err != nil:
			c.AbortWithStatus(http.StatusInternalServerError)
		}
		return err != nil
	}
	router.GET("/login", func(c *gin.Context) {
		s := sessions.Default(c)
		s.Set("user", "alice")
		if !fail(c, store.Renew(c, "id")) {
			c.Status(http.StatusOK)
		}
	})
	router.GET("/careless", func(c *gin.Context) { // as programs are that never hear of a store that is down
		s := sessions.Default(c)
		s.Clear()
		s.Set("cart", "new")
		if !fail(c, s.Save()) {
			c.Status(http.StatusOK)
		}
	})
	router.GET("/logout", func(c *gin.Context) {
		s := sessions.Default(c)
		s.Options(sessions.Options{Path: "/", MaxAge: -1})
		if !fail(c, s.Save()) {
			c.Status(http.StatusOK)
		}
	})
	router.GET("/who", func(c *gin.Context) {
		if fail(c, store.Err(c, "id")) {
			return
		}
		user, _ := sessions.Default(c).Get("user").(string)
		c.String(http.StatusOK, user)
	})
	return router
}

// wants sends a request and returns the cookie after it.
func wants(t *testing.T, site http.Handler, path, cookie string, code int, body string) string {
	t.Helper()
	r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "id", Value: cookie})
	}
	site.ServeHTTP(w, r)
	if w.Code != code || w.Body.String() != body {
		t.Errorf("%s: %d %q, want %d %q", path, w.Code, w.Body, code, body)
	}
	for _, c := range w.Result().Cookies() {
		cookie = c.Value
	}
	return cookie
}

func TestLoginAndLogout(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		site := site(newStore(t, server.Client(t), 2*time.Second))
		guest := wants(t, site, "/careless", "", 200, "")
		user := wants(t, site, "/login", guest, 200, "")
		if user == guest {
			t.Error("the login kept the id")
		}
		wants(t, site, "/who", guest, 200, "")
		wants(t, site, "/who", user, 200, "alice")
		if after := wants(t, site, "/logout", user, 200, ""); after != "" {
			t.Errorf("cookie %q after the logout", after)
		}
		wants(t, site, "/who", user, 200, "")
	})
}

func TestStoreDown(t *testing.T) {
	redistest.Long(t)
	server := redistest.NewSingle(t)
	site := site(newStore(t, server.Client(t), time.Second))
	user := wants(t, site, "/login", "", 200, "")
	server.Freeze(t)
	for _, path := range []string{"/who", "/careless", "/login", "/logout"} {
		t.Run(path, func(t *testing.T) {
			if after := wants(t, site, path, user, 503, ""); after != user {
				t.Errorf("the cookie became %q", after)
			}
		})
	}
	server.Thaw(t)
	wants(t, site, "/who", user, 200, "alice")
}

func TestOptionsReplaceTheDefaults(t *testing.T) {
	store := newStore(t, redistest.Single(t).Client(t), time.Second)
	store.Options(sessions.Options{Path: "/shop", MaxAge: 60})
	r, w := httptest.NewRequest("GET", "/careless", nil), httptest.NewRecorder()
	site(store).ServeHTTP(w, r)
	c := w.Result().Cookies()
	if len(c) != 1 || c[0].Path != "/shop" || c[0].MaxAge != 60 || c[0].Secure {
		t.Errorf("cookies %v", c)
	}
	if _, err := ginstore.New(nil, gategorilla.Options{}); err == nil {
		t.Error("took no blobs")
	}
}
