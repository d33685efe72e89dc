package fromscs_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit/adapters/fromscs"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/sessiontest"
	"github.com/redis/go-redis/v9"
)

// A visitor logs in at the program with scs, and comes back after the switch.
func Example() {
	server, err := miniredis.Run() // a Redis inside the process
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()

	// Before:
	old := newSCS() // in a program: scs.New()
	old.Store = goredisstore.New(client)
	before := old.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		old.Put(r.Context(), "userID", "alice")
	}))

	// After:
	reader, err := fromscs.New(fromscs.Options{
		Map: func(values map[string]any) (session.Carried, error) {
			user, _ := values["userID"].(string)
			return session.Carried{UserID: user}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	m, err := session.New(client, session.Config{Legacy: reader})
	if err != nil {
		log.Fatal(err)
	}
	after := sessiontest.Middleware(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err != nil {
			m.Refuse(w, r, err)
			return
		}
		fmt.Fprint(w, s.UserID())
	}))

	w := httptest.NewRecorder()
	before.ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(w.Result().Cookies()[0])
	w = httptest.NewRecorder()
	after.ServeHTTP(w, r)
	fmt.Println(w.Body, w.Result().Cookies()[0].Name)
	// Output: alice __Host-id
}
