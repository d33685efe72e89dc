package fromscs_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/fromscs"
	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/session"
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
		old.Put(r.Context(), "theme", "dark")
	}))

	// After:
	reader, err := fromscs.New(fromscs.Options{
		Map: func(values map[string]any) (session.Carried, error) {
			user, _ := values["userID"].(string)
			theme, _ := values["theme"].(string)
			return session.Carried{UserID: user, Values: map[string]any{"theme": theme}}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	m, err := session.New(kv, session.Options{Legacy: reader})
	if err != nil {
		log.Fatal(err)
	}
	theme := session.NewKey[string]("theme")
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err != nil {
			m.Refuse(w, r, err)
			return
		}
		look, _ := theme.Get(s)
		fmt.Fprint(w, s.UserID(), " ", look)
	})
	site := browsertest.Middleware(m, mux) // in a program: gatehttp.Sessions(m)(mux)

	w := httptest.NewRecorder()
	before.ServeHTTP(w, httptest.NewRequest("POST", "/login", nil))
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(w.Result().Cookies()[0])
	w = httptest.NewRecorder()
	site.ServeHTTP(w, r)
	fmt.Println(w.Body, w.Result().Cookies()[0].Name)
	// Output: alice dark __Host-id
}
