package ginstore_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/adapters/gategorilla"
	"github.com/gatekit/gatekit/adapters/gategorilla/ginstore"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/gin-contrib/sessions"
	"github.com/gin-gonic/gin"
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
	router := gin.New()

	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	blobs, err := blob.New(kv, blob.Options{})
	if err != nil {
		log.Fatal(err)
	}
	store, err := ginstore.New(blobs, gategorilla.Options{})
	if err != nil {
		log.Fatal(err)
	}
	router.Use(sessions.Sessions("id", store))

	router.GET("/", func(c *gin.Context) {
		if store.Err(c, "id") != nil {
			c.String(http.StatusServiceUnavailable, "try again")
			return
		}
		s := sessions.Default(c)
		visits, _ := s.Get("visits").(int)
		s.Set("visits", visits+1)
		if err := s.Save(); err != nil {
			c.String(http.StatusConflict, "session is over")
			return
		}
		c.String(http.StatusOK, "visit %d", visits+1)
	})
	cookie := ""
	for range 2 {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("Cookie", cookie)
		router.ServeHTTP(w, r)
		fmt.Println(w.Body)
		cookie = w.Result().Cookies()[0].Name + "=" + w.Result().Cookies()[0].Value
	}
	// Output:
	// visit 1
	// visit 2
}
