package session_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session"
	"github.com/redis/go-redis/v9"
)

// wrap is what an adapter's middleware does, for example gatehttp.Sessions.
func wrap(m *session.Manager, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = m.Serve(w, r, func(w http.ResponseWriter, r *http.Request) error {
			next(w, r)
			return nil
		})
	})
}

func Example() {
	server, err := miniredis.Run() // a Redis inside the process
	if err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()

	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		panic(err)
	}
	m, err := session.New(kv, session.Options{})
	if err != nil {
		panic(err)
	}
	var visits = session.NewCounter("visits")
	site := wrap(m, func(w http.ResponseWriter, r *http.Request) {
		s, err := session.From(r.Context())
		if err != nil {
			m.Refuse(w, r, err)
			return
		}
		if r.URL.Path == "/login" { // the password is right
			err = s.Login(r.Context(), "alice", session.LoginOptions{})
		} else {
			err = visits.Add(s, 1)
		}
		if err != nil {
			m.Refuse(w, r, err)
			return
		}
		n, _ := visits.Get(s)
		fmt.Fprintf(w, "user %q, visit %d", s.UserID(), n)
	})

	cookie := ""
	for _, path := range []string{"/", "/", "/login", "/"} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if c := w.Header().Get("Set-Cookie"); c != "" {
			cookie, _, _ = strings.Cut(c, ";")
		}
		fmt.Println(w.Body)
	}
	// Output:
	// user "", visit 1
	// user "", visit 2
	// user "alice", visit 0
	// user "alice", visit 1
}

func ExampleKey_Update() {
	m, stop := exampleManager()
	defer stop()
	type profile struct{ Theme, Lang string }
	settings := session.NewKey[profile]("settings")
	wrap(m, func(w http.ResponseWriter, r *http.Request) {
		s, _ := session.From(r.Context())
		p, err := settings.Update(r.Context(), s, func(p profile) (profile, error) {
			p.Theme = "dark" // a parallel request that sets Lang loses nothing
			return p, nil
		})
		fmt.Println(p.Theme, err)
	}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
	// Output: dark <nil>
}

func ExampleManager_RevokeUser() {
	m, stop := exampleManager()
	defer stop()
	for range 3 {
		wrap(m, func(w http.ResponseWriter, r *http.Request) {
			s, _ := session.From(r.Context())
			_ = s.Login(r.Context(), "alice", session.LoginOptions{})
		}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
	}
	ctx := context.Background()
	infos, _, _ := m.List(ctx, "alice", "")
	n, err := m.RevokeUser(ctx, "alice")
	fmt.Println(len(infos), n, err)
	// Output: 3 3 <nil>
}

func ExampleEncrypt() {
	key := []byte("0123456789abcdef0123456789abcdef") // 32 bytes, from a secret store
	codec, err := session.Encrypt(nil, key)
	fmt.Println(codec != nil, err)
	_, err = session.Encrypt(nil, key[:16])
	fmt.Println(err)
	// Output:
	// true <nil>
	// session: Encrypt: key 0 has 16 bytes: want 32
}

func exampleManager() (*session.Manager, func()) { return managerWith(session.Options{}) }
