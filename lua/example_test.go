package lua_test

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/lua"
)

// A client whose options keep the budget of a decision, whatever Redis does.
func ExampleRecommendedOptions() {
	opts, err := lua.RecommendedOptions("redis://localhost:6379/0")
	if err != nil {
		fmt.Println(err)
		return
	}
	client := redis.NewUniversalClient(opts)
	defer client.Close()
	fmt.Println(lua.CheckClient(client))

	careless := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer careless.Close()
	fmt.Println(lua.CheckClient(careless))
	// Output:
	// []
	// [ContextTimeoutEnabled is false: reads ignore the deadline and wait for ReadTimeout]
}
