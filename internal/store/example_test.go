package store_test

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/store"
)

// A client whose options keep the budget of a decision, whatever Redis does.
func ExampleRecommendedOptions() {
	opts, err := store.RecommendedOptions("redis://localhost:6379/0")
	if err != nil {
		fmt.Println(err)
		return
	}
	client := redis.NewUniversalClient(opts)
	defer client.Close()
	fmt.Println(store.CheckClient(client, 0))

	careless := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer careless.Close()
	fmt.Println(store.CheckClient(careless, 0))
	// Output:
	// []
	// [ContextTimeoutEnabled is false: reads ignore the deadline and wait for ReadTimeout; set it]
}

// A client for calls that may take up to 300 ms: the options come from the budget.
func ExampleConnect() {
	client, err := store.Connect("redis://user:secret@localhost:6379/0?pool_size=50", 300*time.Millisecond)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = store.Connect("redis://user:sec/ret@localhost:6379", 0)
	fmt.Println(err)
	// Output:
	// gatekit: Redis URL: cannot be parsed: want redis://user:password@host:port/db, and / ? # @ % in a password as %2F %3F %23 %40 %25
}
