package gategorilla_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/alicebob/miniredis/v2"
	"github.com/boj/redistore"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// A visitor logs in at the program with boj/redistore, and comes back after the switch.
func ExampleFromBoj() {
	server, err := miniredis.Run() // a Redis inside the process
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	hashKey, blockKey := []byte("0123456789abcdef0123456789abcdef"), []byte("fedcba9876543210")

	// Before:
	store, err := redistore.NewRediStore(1, "tcp", server.Addr(), "", "", hashKey, blockKey)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	before := func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, "shop")
		s.Values["user"] = "alice"
		_ = s.Save(r, w)
	}

	// After:
	carry := func(values map[any]any) (session.Carried, error) {
		user, _ := values["user"].(string)
		return session.Carried{UserID: user, Persistent: true}, nil
	}
	reader, err := gategorilla.FromBoj(gategorilla.LegacyOptions{
		Cookie:   http.Cookie{Name: "shop"},
		KeyPairs: [][]byte{hashKey, blockKey},
		Map:      carry,
	})
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	m, err := session.New(kv, session.Options{Legacy: reader})
	if err != nil {
		log.Fatal(err)
	}

	w := httptest.NewRecorder()
	before(w, httptest.NewRequest("POST", "/login", nil))
	fmt.Println(visitOld(m, w.Result().Cookies()[0]))
	// Output: alice __Host-id
}

// The old store can't be imported beside this module's; its session is written by hand
// here.
func ExampleFromRbcervilla() {
	server, err := miniredis.Run() // a Redis inside the process
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	id, stored := rbcervillaSession("alice")
	_ = server.Set("session:"+id, stored)

	carry := func(values map[any]any) (session.Carried, error) {
		user, _ := values["user"].(string)
		return session.Carried{UserID: user}, nil
	}
	reader, err := gategorilla.FromRbcervilla(gategorilla.LegacyOptions{Cookie: http.Cookie{Name: "shop"}, Map: carry})
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	m, err := session.New(kv, session.Options{Legacy: reader})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(visitOld(m, &http.Cookie{Name: "shop", Value: id}))
	// Output: alice __Host-id
}

// visitOld is a request with the old cookie: who it is from, and the name of the cookie
// that it is answered with.
func visitOld(m *session.Manager, old *http.Cookie) (user, cookie string) {
	site := browsertest.Middleware(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err != nil {
			m.Refuse(w, r, err)
			return
		}
		user = s.UserID()
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(old)
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		cookie = c.Name
	}
	return user, cookie
}
