package ratelimit_test

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gatekit/gatekit/ratelimit"
)

// Plans from a file, which are replaced while the program runs.
func ExamplePolicies() {
	var plans ratelimit.Policies
	err := json.Unmarshal([]byte(`{
		"free": {"name": "api", "limits": [{"name": "minute", "quota": 10, "window": "1m"}]},
		"pro":  {"name": "api", "limits": [{"name": "minute", "quota": 100, "window": "1m"}]}
	}`), &plans)
	fmt.Println(plans.Get("pro").Limits()[0].Quota, err)

	// The program cannot do without the plan that everybody begins with.
	if err := plans.Require("free"); err != nil {
		fmt.Println(err)
	}
	rule := ratelimit.Rule{
		PolicyFunc: plans.Choose(func(r *http.Request) string { return r.Header.Get("X-Plan") }), // of a trusted proxy
		Key:        ratelimit.ByHeader("X-Api-Key"),
	}
	_ = rule

	// Later, from a signal or from an operator's request. A wrong set changes nothing.
	err = json.Unmarshal([]byte(`{
		"free": {"name": "api", "limits": [{"name": "minute", "quota": 5000, "window": "1m"}]}
	}`), &plans)
	fmt.Println(err)
	fmt.Println(plans.Get("free").Limits()[0].Quota)
	// Output:
	// 100 <nil>
	// ratelimit: policies["free"].limits[0].quota 5000: want 1 to 4096 with SlidingWindow; SlidingBuckets takes more
	// 10
}
