package blob_test

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/redis/go-redis/v9"
)

// What is deleted stays deleted: a request that read the blob before can't bring it back.
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
	blobs, err := blob.New(kv, blob.Options{})
	if err != nil {
		panic(err)
	}
	ctx, hour := context.Background(), time.Now().Add(time.Hour)
	_ = blobs.Commit(ctx, "a secret token", []byte("cart: 2 books"), hour)
	data, found, _ := blobs.Find(ctx, "a secret token")
	fmt.Println(string(data), found)
	_ = blobs.Delete(ctx, "a secret token")
	fmt.Println(blobs.Commit(ctx, "a secret token", data, hour))
	// Output:
	// cart: 2 books true
	// blob: write: gone
}
