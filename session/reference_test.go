package session_test

import (
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/browsertest"
	"github.com/gatekit/gatekit/internal/redistest"
)

func TestRandomRequestsAgreeWithTheReference(t *testing.T) {
	redistest.Long(t)
	each(t, func(t *testing.T, srv *redistest.Server) {
		n := 400
		if testing.Short() {
			n = 50
		}
		for range 3 {
			st := newSite(t, srv, func(c *settings) { c.Carry, c.Cap = []string{"kept"}, -1 })
			browsertest.Random(t, st.m, browsertest.Middleware, uint64(time.Now().UnixNano()), n)
			redistest.NoImmortalKeys(t, st.client, st.prefix)
		}
	})
}
