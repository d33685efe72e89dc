package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync/atomic"

	"github.com/gatekit/gatekit/ratelimit"
)

// A tenant is a customer: its keys are limited together.
type tenant struct {
	id    string
	plan  plan
	quota atomic.Pointer[quota] // set by the operator; nil means the plan's
}

// A credential is the program's record of an API key. A key is "gk_", a public id, "_"
// and a secret.
type credential struct {
	hash   [sha256.Size]byte // of the whole key. A secret of 130 random bits needs no slow hash, unlike a password.
	tenant *tenant           // nil for the operator
}

// tenants stands for the database of customers. Its maps do not change, so it is safe for
// concurrent use.
type tenants struct {
	byID  map[string]*tenant
	byKey map[string]credential // by the public id of the key
}

// A caller sends a request: a tenant, the operator, or (the zero value) somebody
// without a valid key.
type caller struct {
	tenant   *tenant
	operator bool
}

func (c caller) known() bool { return c.tenant != nil || c.operator }

// find returns the caller whose key it is. It compares hashes in constant time, so the
// time of the answer does not show how much of a guess was right.
func (t *tenants) find(key string) caller {
	c, ok := t.byKey[publicID(key)]
	hash := sha256.Sum256([]byte(key))
	if subtle.ConstantTimeCompare(hash[:], c.hash[:]) != 1 || !ok {
		return caller{}
	}
	return caller{c.tenant, c.tenant == nil}
}

// publicID returns the part of a key that logs may show. Each key has another one.
func publicID(key string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(key, "gk_"), "_")
	return id
}

// demoKeys are the keys that the program prints.
type demoKeys struct{ acme, initech, operator string }

func demoTenants() (*tenants, demoKeys) {
	acme, initech := &tenant{id: "acme", plan: pro}, &tenant{id: "initech", plan: free}
	t := &tenants{byID: map[string]*tenant{acme.id: acme, initech.id: initech}, byKey: map[string]credential{}}
	return t, demoKeys{t.newKey("acme1", acme), t.newKey("initech1", initech), t.newKey("operator", nil)}
}

// newKey makes a key and keeps its hash.
func (t *tenants) newKey(id string, owner *tenant) string {
	key := "gk_" + id + "_" + rand.Text()
	t.byKey[id] = credential{sha256.Sum256([]byte(key)), owner}
	return key
}

// key is the limiter's key of the tenant, the same for all of its API keys.
func (t *tenant) key() string { return ratelimit.Join("tenant", t.id) }
