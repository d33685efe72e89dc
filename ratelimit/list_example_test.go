package ratelimit_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/ratelimit"
)

// A list of networks that are denied, to which an operator adds one while it is in use.
func ExampleList() {
	client, stop := embedded()
	defer stop()

	kv, err := gatekit.Open(client, gatekit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(kv, ratelimit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	address, err := ratelimit.NewClientIP(ratelimit.IPOptions{}) // behind proxies: list them
	if err != nil {
		log.Fatal(err)
	}
	office, err := ratelimit.NewList(ratelimit.ListOptions{Address: address},
		ratelimit.ListEntries{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	if err != nil {
		log.Fatal(err)
	}
	denied, err := ratelimit.NewList(ratelimit.ListOptions{
		Address: address,
		Matched: func(*http.Request) { fmt.Println("one more for the metrics") },
	}, ratelimit.ListEntries{})
	if err != nil {
		log.Fatal(err)
	}
	gate, err := ratelimit.NewGate(limiter, ratelimit.GateOptions{Deny: denied},
		ratelimit.Rule{Policy: ratelimit.MustPolicy("ip", ratelimit.PerMinute(100)), Key: ratelimit.MustByIP(ratelimit.IPOptions{}), Allow: office})
	if err != nil {
		log.Fatal(err)
	}
	send := func(remote string) {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(context.Background(), "GET", "/", nil)
		r.RemoteAddr = remote
		r, err := gate.Admit(w.Header(), r, "")
		if err != nil {
			gate.Refuse(w, r, err)
		}
		fmt.Printf("%s: %d %q\n", remote, w.Code, w.Header().Get("RateLimit"))
	}
	send("198.51.100.7:1234")
	send("203.0.113.9:1234")
	err = denied.Replace(ratelimit.ListEntries{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	if err != nil {
		log.Fatal(err) // the old entries are in force
	}
	send("203.0.113.9:1234")
	// Output:
	// 198.51.100.7:1234: 200 ""
	// 203.0.113.9:1234: 200 "\"ip\";r=99;t=60"
	// one more for the metrics
	// 203.0.113.9:1234: 403 ""
}
