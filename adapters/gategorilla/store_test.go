package gategorilla_test

import (
	"encoding/gob"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/session"
	"github.com/gorilla/sessions"
)

var _ sessions.Store = (*gategorilla.Store)(nil)

type note struct {
	Kind int
	Text string
}

func init() { gob.Register(note{}) }

// Flash messages over several requests, as in the tests of gorilla's and of other Redis
// stores.
func TestFlashes(t *testing.T) {
	for name, codec := range map[string]gategorilla.Codec{"gob": nil, "json": gategorilla.JSON{}} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, server *redistest.Server) {
				store := newStore(t, server.Client(t), gategorilla.Options{Codec: codec})
				v := begin(t, store, "id", "")
				if !v.IsNew || len(v.Flashes()) != 0 {
					t.Errorf("a new session: new %v, flashes %v", v.IsNew, v.Flashes())
				}
				v.AddFlash("foo")
				v.AddFlash("bar")
				v.AddFlash("baz", "key")
				id := v.saved(t)
				if v.ID != id {
					t.Errorf("session %q, cookie %q", v.ID, id)
				}

				v = begin(t, store, "id", id)
				if got := v.Flashes(); v.IsNew || !reflect.DeepEqual(got, []any{"foo", "bar"}) {
					t.Errorf("new %v, flashes %v", v.IsNew, got)
				}
				if got := v.Flashes("key"); !reflect.DeepEqual(got, []any{"baz"}) {
					t.Errorf("flashes under a key: %v", got)
				}
				if len(v.Flashes()) != 0 || len(v.Flashes("key")) != 0 {
					t.Error("flashes stay after they were read")
				}
				if again := v.saved(t); again != id {
					t.Error("the id changed")
				}

				v = begin(t, store, "id", id)
				if len(v.Flashes()) != 0 {
					t.Error("flashes are there in the next request")
				}
				v.Session.Options.MaxAge = -1
				noError(t, v.save())
				if c := v.cookie(); c.MaxAge >= 0 || c.Value != "" {
					t.Errorf("cookie of a deleted session: %v", c)
				}
				if v = begin(t, store, "id", id); !v.IsNew || v.ID != "" {
					t.Errorf("after the deletion: new %v, id %q", v.IsNew, v.ID)
				}
			})
		})
	}
}

func TestValues(t *testing.T) {
	store := newStore(t, redistest.Single(t).Client(t), gategorilla.Options{})
	v := begin(t, store, "id", "")
	want := map[any]any{"text": "x", 7: note{42, "foo"}, note{1, "key"}: []byte{0, 255}, "none": nil}
	for key, value := range want {
		v.Values[key] = value
	}
	id := v.saved(t)
	v = begin(t, store, "id", id)
	if !reflect.DeepEqual(v.Values, want) {
		t.Errorf("values %v, want %v", v.Values, want)
	}
	delete(v.Values, "text")
	noError(t, v.save())
	if _, found := begin(t, store, "id", id).Values["text"]; found {
		t.Error("a value that was deleted is there")
	}
}

func TestTypesThatDoNotFit(t *testing.T) {
	type unregistered struct{ A int }
	client := redistest.Single(t).Client(t)
	for _, c := range []struct {
		name       string
		codec      gategorilla.Codec
		key, value any
		want       string
	}{
		{"gob, unregistered", nil, "cart", unregistered{1}, "value cart of type gategorilla_test.unregistered: gob: type not registered"},
		{"gob, channel", nil, "cart", make(chan int), "value cart of type chan int"},
		{"json, key", gategorilla.JSON{}, 7, "x", "key 7 of type int"},
		{"json, channel", gategorilla.JSON{}, "cart", make(chan int), "chan int"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := newStore(t, client, gategorilla.Options{Codec: c.codec})
			v := begin(t, store, "id", "")
			v.Values["good"] = "x"
			v.Values[c.key] = c.value
			if err := v.save(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if v.cookie() != nil || v.ID != "" {
				t.Errorf("there is a cookie")
			}
		})
	}
}

// Bytes that the codec can't read are an error. They are not an empty session, since the
// next Save would overwrite them with it.
func TestSessionOfAnotherCodec(t *testing.T) {
	blobs, _ := newBlobs(t, redistest.Single(t).Client(t))
	first, err := gategorilla.New(blobs, gategorilla.Options{Codec: gategorilla.JSON{}})
	noError(t, err)
	second, err := gategorilla.New(blobs, gategorilla.Options{})
	noError(t, err)
	v := begin(t, first, "id", "")
	v.Values["color"] = "red"
	id := v.saved(t)
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "id", Value: id})
	g, err := second.Get(r, "id")
	if err == nil || g == nil || len(g.Values) != 0 {
		t.Fatalf("read as gob: %v, %v", g, err)
	}
	if sessions.Save(r, httptest.NewRecorder()) == nil {
		t.Error("written over")
	}
	if got := begin(t, first, "id", id).Values["color"]; got != "red" {
		t.Errorf("color is %v", got)
	}
}

func TestTooLarge(t *testing.T) {
	store := newStore(t, redistest.Single(t).Client(t), gategorilla.Options{})
	v := begin(t, store, "id", "")
	v.Values["big"] = make([]byte, 64<<10)
	if err := v.Session.Save(v.r, v.w); !errors.Is(err, session.ErrTooLarge) || v.cookie() != nil {
		t.Errorf("error %v, cookie %v", err, v.cookie())
	}
	v.Values["big"] = make([]byte, 60<<10)
	noError(t, v.save())
}

func TestCookieOptions(t *testing.T) {
	client := redistest.Single(t).Client(t)
	v := begin(t, newStore(t, client, gategorilla.Options{}), "id", "")
	v.saved(t)
	if c := v.cookie(); !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.MaxAge != 30*24*60*60 {
		t.Errorf("by default: %v", c)
	}
	given := &sessions.Options{Path: "/shop", Domain: "example.com", MaxAge: 60}
	store := newStore(t, client, gategorilla.Options{Cookie: given})
	given.Path = "/changed"
	v = begin(t, store, "id", "")
	store.Options.Path = "/later" // of sessions from now on
	v.saved(t)
	if c := v.cookie(); c.Path != "/shop" || c.Domain != "example.com" || c.MaxAge != 60 || c.Secure {
		t.Errorf("as given: %v", c)
	}
	v.Session.Options.Path = "/own"
	noError(t, v.Session.Save(v.r, v.w))
	if c := v.cookie(); c.Path != "/own" {
		t.Errorf("of one session: %v", c)
	}
	if _, err := store.Get(v.r, "no cookie name"); err == nil {
		t.Error("a malformed name was taken")
	}
}

// MaxAge is also how long the session lives in Redis. 0 means a cookie that ends with the
// browser, not a deletion.
func TestMaxAge(t *testing.T) {
	client := redistest.Single(t).Client(t)
	blobs, prefix := newBlobs(t, client)
	store, err := gategorilla.New(blobs, gategorilla.Options{BrowserLife: time.Hour})
	noError(t, err)
	left := func() time.Duration {
		keys := redistest.Keys(t, client, prefix)
		if len(keys) != 1 {
			t.Fatalf("keys %q", keys)
		}
		return client.PTTL(t.Context(), keys[0]).Val()
	}
	v := begin(t, store, "id", "")
	v.Session.Options.MaxAge = 600
	v.saved(t)
	if ttl := left(); ttl > 600*time.Second || ttl < 590*time.Second {
		t.Errorf("lives for %v, want 10 min", ttl)
	}
	v.Session.Options.MaxAge = 0
	noError(t, v.Session.Save(v.r, v.w))
	if c := v.cookie(); c.MaxAge != 0 || !c.Expires.IsZero() || c.Value == "" {
		t.Errorf("cookie %v, want one until the browser ends", c)
	}
	if ttl := left(); ttl > time.Hour || ttl < 59*time.Minute {
		t.Errorf("lives for %v, want 1 h", ttl)
	}
}

// The store makes the ids. A client can't choose one, not even an id that had a session
// before.
func TestNoFixation(t *testing.T) {
	store := newStore(t, redistest.Single(t).Client(t), gategorilla.Options{})
	v := begin(t, store, "id", "")
	old := v.saved(t)
	v.Session.Options.MaxAge = -1
	noError(t, v.save())
	for name, cookie := range map[string]string{
		"1 letter": "x", "43 letters": strings.Repeat("A", 43), "5000 letters": strings.Repeat("A", 5000),
		"word": "unread", "handle": "handle:" + strings.Repeat("A", 22), "deleted": old,
	} {
		t.Run(name, func(t *testing.T) {
			v := begin(t, store, "id", cookie)
			if !v.IsNew || v.ID != "" || v.Values == nil {
				t.Errorf("cookie %.10q: new %v, id %q, values %v; want new, no id and values", cookie, v.IsNew, v.ID, v.Values)
			}
			if id := v.saved(t); id == cookie || len(id) != 43 {
				t.Errorf("cookie %.10q became id %q, want another of 43 letters", cookie, id)
			}
		})
	}
	// In the request that deleted it, a session may be saved again, as another one.
	again := begin(t, store, "id", begin(t, store, "id", "").saved(t))
	first := again.ID
	again.Session.Options.MaxAge = -1
	noError(t, again.save())
	again.Session.Options.MaxAge = 60
	if id := again.saved(t); id == first || id == "" {
		t.Errorf("id %q after %q", id, first)
	}
}

func TestNamesAreApart(t *testing.T) {
	store := newStore(t, redistest.Single(t).Client(t), gategorilla.Options{})
	id := begin(t, store, "a", "").saved(t)
	if v := begin(t, store, "b", id); !v.IsNew {
		t.Error("a session of one name was found under another")
	}
	if v := begin(t, store, "a", id); v.IsNew {
		t.Error("the session is gone")
	}
}

func TestTwoCookiesOfOneName(t *testing.T) {
	store := newStore(t, redistest.Single(t).Client(t), gategorilla.Options{})
	one, two := begin(t, store, "id", "").saved(t), begin(t, store, "id", "").saved(t)
	for _, c := range []struct {
		header string
		isNew  bool
	}{{"id=" + one + "; id=" + two, true}, {"id=" + one + "; id=" + one, false}, {"id=x; id=" + two, false}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", c.header)
		if g, err := store.New(r, "id"); err != nil || g.IsNew != c.isNew {
			t.Errorf("%.8s...: new %v, error %v", c.header, g.IsNew, err)
		}
	}
}

// Other stores have this fault: a request that read the session before the logout writes
// it back afterwards.
func TestLateSaveRevivesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		store := newStore(t, server.Client(t), gategorilla.Options{})
		for name, end := range map[string]func(v visit) error{
			"logout": func(v visit) error { v.Session.Options.MaxAge = -1; return v.save() },
			"login":  func(v visit) error { return store.Renew(v.r, v.w, "id") },
		} {
			v := begin(t, store, "id", "")
			v.Values["user"] = "alice"
			id := v.saved(t)
			slow, ending := begin(t, store, "id", id), begin(t, store, "id", id)
			noError(t, end(ending))
			slow.Values["slow"] = true
			if err := slow.Session.Save(slow.r, slow.w); !errors.Is(err, session.ErrGone) || slow.cookie() != nil {
				t.Errorf("late save after a %s: %v, cookie %v", name, err, slow.cookie())
			}
			if err := store.Renew(slow.r, slow.w, "id"); !errors.Is(err, session.ErrGone) || slow.cookie() != nil {
				t.Errorf("late renewal after a %s: %v, cookie %v", name, err, slow.cookie())
			}
			if v := begin(t, store, "id", id); !v.IsNew {
				t.Errorf("%s: the session is there again", name)
			}
		}
	})
}

// A session that expired while the request ran is not made anew either.
func TestLateSaveAfterTheEnd(t *testing.T) {
	client := redistest.Single(t).Client(t)
	blobs, prefix := newBlobs(t, client)
	store, err := gategorilla.New(blobs, gategorilla.Options{})
	noError(t, err)
	v := begin(t, store, "id", begin(t, store, "id", "").saved(t))
	for _, key := range redistest.Keys(t, client, prefix) {
		noError(t, client.Del(t.Context(), key).Err()) // as its TTL would
	}
	if err := v.Session.Save(v.r, v.w); !errors.Is(err, session.ErrGone) {
		t.Errorf("error %v", err)
	}
}

func TestRenew(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		store := newStore(t, server.Client(t), gategorilla.Options{})
		v := begin(t, store, "id", "")
		v.Values["color"] = "red"
		guest := v.saved(t)
		v = begin(t, store, "id", guest)
		v.Values["user"] = "alice"
		noError(t, store.Renew(v.r, v.w, "id"))
		user := v.cookie().Value
		if user == guest || v.ID != user {
			t.Errorf("id %q, cookie %q, before %q", v.ID, user, guest)
		}
		if v := begin(t, store, "id", guest); !v.IsNew {
			t.Error("the old id is good")
		}
		if got := begin(t, store, "id", user).Values; got["user"] != "alice" || got["color"] != "red" {
			t.Errorf("values %v", got)
		}
		// A save after it in the same request, as middlewares do, goes to the new id.
		v.Values["more"] = true
		if id := v.saved(t); id != user {
			t.Errorf("saved as %q, want %q", id, user)
		}
		fresh := begin(t, store, "id", "")
		noError(t, store.Renew(fresh.r, fresh.w, "id"))
		if fresh.ID == "" || fresh.cookie().Value != fresh.ID {
			t.Errorf("a new session was renewed to %q", fresh.ID)
		}
	})
}

func TestIDsStayOutOfRedis(t *testing.T) {
	client := redistest.Single(t).Client(t)
	blobs, prefix := newBlobs(t, client)
	store, err := gategorilla.New(blobs, gategorilla.Options{})
	noError(t, err)
	first := begin(t, store, "id", "").saved(t)
	v := begin(t, store, "id", first)
	noError(t, store.Renew(v.r, v.w, "id"))
	keys := redistest.Keys(t, client, prefix)
	if len(keys) != 2 {
		t.Errorf("keys %q", keys)
	}
	for _, key := range keys {
		value, err := client.Get(t.Context(), key).Result()
		noError(t, err)
		for _, id := range []string{first, v.ID} {
			if strings.Contains(key+" "+value, id[:12]) {
				t.Errorf("%s holds an id", key)
			}
		}
	}
	redistest.NoImmortalKeys(t, client, prefix)
}

// A store that is down logs nobody out, also where the program ignores the error of Get.
func TestStoreDown(t *testing.T) {
	redistest.Long(t)
	server := redistest.NewSingle(t)
	blobs, _ := newBlobs(t, server.Client(t))
	store, err := gategorilla.New(blobs, gategorilla.Options{})
	noError(t, err)
	v := begin(t, store, "id", "")
	v.Values["user"] = "alice"
	id := v.saved(t)
	request := func() (*http.Request, *httptest.ResponseRecorder, *sessions.Session) {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.AddCookie(&http.Cookie{Name: "id", Value: id})
		g, err := store.Get(r, "id")
		if !errors.Is(err, session.ErrUnavailable) || g == nil || strings.Contains(fmt.Sprint(err, g), id) {
			t.Fatalf("session %v, error %v", g, err)
		}
		return r, w, g
	}
	server.Freeze(t)
	r, w, g := request()
	logoutR, logoutW, logout := request()
	logout.Options.MaxAge = -1
	if err := logout.Save(logoutR, logoutW); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("logout: %v", err)
	}
	server.Thaw(t)
	// Redis is back, and would take the write of an empty session.
	for key := range g.Values {
		delete(g.Values, key)
	}
	g.Options = &sessions.Options{Path: "/", MaxAge: 60}
	g.Values["cart"] = "new"
	if err := g.Save(r, w); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("save: %v", err)
	}
	if err := store.Renew(r, w, "id"); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("renew: %v", err)
	}
	for _, w := range []*httptest.ResponseRecorder{w, logoutW} {
		if c := w.Header()["Set-Cookie"]; c != nil {
			t.Errorf("cookie %q", c)
		}
	}
	if got := begin(t, store, "id", id).Values["user"]; got != "alice" {
		t.Errorf("user is %v", got)
	}
	// The logout that was asked for while Redis was away works in the same request, once
	// it is back.
	if err := logout.Save(logoutR, logoutW); err != nil {
		t.Error(err)
	}
	if v := begin(t, store, "id", id); !v.IsNew {
		t.Error("logged out, and there")
	}
}

func TestNewRefuses(t *testing.T) {
	blobs, _ := newBlobs(t, redistest.NewClient(t, "127.0.0.1:1"))
	if _, err := gategorilla.New(nil, gategorilla.Options{}); err == nil || !strings.Contains(err.Error(), "*blob.Store is nil: make it") {
		t.Error("took no blobs")
	}
	if _, err := gategorilla.New(blobs, gategorilla.Options{BrowserLife: time.Millisecond}); err == nil {
		t.Error("took a life of 1 ms")
	}
}
