package gategorilla_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/redis/go-redis/v9"
)

func Example() {
	server, err := miniredis.Run() // a Redis in this process; programs connect to theirs, see gatekit.Connect
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()

	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	blobs, err := blob.New(kv, blob.Options{})
	if err != nil {
		log.Fatal(err)
	}
	store, err := gategorilla.New(blobs, gategorilla.Options{})
	if err != nil {
		log.Fatal(err)
	}

	refuse := func(w http.ResponseWriter, err error) {
		if errors.Is(err, session.ErrUnavailable) {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		http.Error(w, "session is over", http.StatusConflict)
	}
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, "id")
		if err != nil {
			refuse(w, err)
			return
		}
		visits, _ := s.Values["visits"].(int)
		s.Values["visits"] = visits + 1
		save := s.Save
		if r.URL.Path == "/login" { // the password is right
			s.Values["user"] = "alice"
			save = func(r *http.Request, w http.ResponseWriter) error { return store.Renew(r, w, "id") }
		}
		if err := save(r, w); err != nil {
			refuse(w, err)
			return
		}
		fmt.Fprintf(w, "user %v, visit %v", s.Values["user"], s.Values["visits"])
	})
	cookie := ""
	for _, path := range []string{"/", "/login", "/"} {
		r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		r.Header.Set("Cookie", cookie)
		site.ServeHTTP(w, r)
		fmt.Println(w.Body)
		cookie = w.Result().Cookies()[0].Name + "=" + w.Result().Cookies()[0].Value
	}
	// Output:
	// user <nil>, visit 1
	// user alice, visit 2
	// user alice, visit 3
}
