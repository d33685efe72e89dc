package store_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// rig is a store on one deployment, with a clock of its own.
type rig struct {
	t      testing.TB
	server *redistest.Server
	client redis.UniversalClient
	store  *store.Store
	prefix string
	tag    string
	now    int64 // unix ms
	global int64 // what callers believe the global epoch to be
}

const (
	idle = 30 * time.Minute
	life = 12 * time.Hour
)

func newRig(t testing.TB, s *redistest.Server, client redis.UniversalClient) *rig {
	t.Helper()
	if client == nil {
		client = s.Client(t)
	}
	r := &rig{t: t, server: s, client: client, prefix: redistest.Prefix(t), tag: random(2), now: time.Now().UnixMilli()}
	kv, err := store.New(client, store.Options{Prefix: r.prefix, Budget: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	r.store = kv
	return r
}

// each runs f on every deployment, and looks for keys without TTL afterwards.
func each(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		t.Parallel()
		r := newRig(t, s, nil)
		f(t, r)
		redistest.NoImmortalKeys(t, r.client, r.prefix)
	})
}

// random returns n characters of base64url.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// login is one session as the tests know it.
type login struct {
	keys  store.SessionKeys
	id    string
	token string // hash
}

func (r *rig) user(name string) store.SessionKeys {
	return store.SessionKeys{Tag: r.tag, User: name, Now: r.now}
}

func (r *rig) at(keys store.SessionKeys) store.SessionKeys {
	keys.Now = r.now
	return keys
}

// create is a session to be, of a user or a guest ("").
func (r *rig) create(user string) store.SessionCreate {
	return store.SessionCreate{
		Keys:     store.SessionKeys{Tag: r.tag, Member: random(32), User: user, Now: r.now},
		PublicID: random(22), TokenHash: random(43), Idle: idle, Life: life, GlobalEpoch: r.global,
		// Long ago by the test's clock, which stands still; ahead of all epochs.
		Authenticated: time.Now().Add(time.Hour),
	}
}

func (r *rig) login(user string, modify ...func(*store.SessionCreate)) login {
	r.t.Helper()
	c := r.create(user)
	for _, f := range modify {
		f(&c)
	}
	reply, err := r.store.SessionCreate(r.t.Context(), c)
	if err != nil || reply.Status != store.SessionOK {
		r.t.Fatalf("create: %+v, %v", reply, err)
	}
	return login{c.Keys, c.PublicID, c.TokenHash}
}

func (r *rig) load(l login) store.SessionRecord {
	r.t.Helper()
	record, err := r.store.SessionLoad(r.t.Context(), r.at(l.keys))
	if err != nil {
		r.t.Fatalf("load: %v", err)
	}
	return record
}

func (r *rig) touch(l login) store.SessionTouchReply {
	r.t.Helper()
	reply, err := r.store.SessionTouch(r.t.Context(), store.SessionTouch{Keys: r.at(l.keys), GlobalEpoch: r.global, Every: time.Minute})
	if err != nil {
		r.t.Fatalf("touch: %v", err)
	}
	return reply
}

func (r *rig) commit(l login, modify ...func(*store.SessionCommit)) store.SessionStatus {
	r.t.Helper()
	c := store.SessionCommit{Keys: r.at(l.keys), GlobalEpoch: r.global, Nonce: random(11)}
	for _, f := range modify {
		f(&c)
	}
	reply, err := r.store.SessionCommit(r.t.Context(), c)
	if err != nil {
		r.t.Fatalf("commit: %v", err)
	}
	return reply.Status
}

func set(name, value string) func(*store.SessionCommit) {
	return func(c *store.SessionCommit) { c.Set = append(c.Set, store.Field{Name: name, Value: value}) }
}

func add(name string, n int64) func(*store.SessionCommit) {
	return func(c *store.SessionCommit) { c.Add = append(c.Add, store.Delta{Name: name, Add: n}) }
}

func remove(name string) func(*store.SessionCommit) {
	return func(c *store.SessionCommit) { c.Delete = append(c.Delete, name) }
}

func (r *rig) drop(l login, marker bool) store.SessionStatus {
	r.t.Helper()
	reply, err := r.store.SessionDrop(r.t.Context(), r.at(l.keys), marker, "logout")
	if err != nil {
		r.t.Fatalf("drop: %v", err)
	}
	return reply.Status
}

func (r *rig) confirm(l login, token string) store.SessionConfirmReply {
	r.t.Helper()
	reply, err := r.store.SessionConfirm(r.t.Context(), store.SessionConfirm{Keys: r.at(l.keys), GlobalEpoch: r.global, TokenHash: token})
	if err != nil {
		r.t.Fatalf("confirm: %v", err)
	}
	return reply
}

// rotate presents a token and offers next under nonce.
func (r *rig) rotate(l login, token string, nonce int64, next string) store.SessionOffer {
	r.t.Helper()
	reply, err := r.store.SessionRotate(r.t.Context(), store.SessionRotate{
		Keys: r.at(l.keys), GlobalEpoch: r.global, TokenHash: token, Nonce: nonce, NextHash: next})
	if err != nil {
		r.t.Fatalf("rotate: %v", err)
	}
	return reply
}

func (r *rig) elevate(l login, token, next string, level int) store.SessionElevateReply {
	r.t.Helper()
	reply, err := r.store.SessionElevate(r.t.Context(), store.SessionElevate{
		Keys: r.at(l.keys), GlobalEpoch: r.global, TokenHash: token, NextHash: next, Level: level})
	if err != nil {
		r.t.Fatalf("elevate: %v", err)
	}
	return reply
}

// list goes through all pages and returns the public ids.
func (r *rig) list(user string) []string {
	r.t.Helper()
	var ids []string
	for _, info := range r.infos(user, 100) {
		ids = append(ids, info.PublicID)
	}
	return ids
}

func (r *rig) infos(user string, n int) (all []store.SessionInfo) {
	r.t.Helper()
	for cursor := ""; ; {
		page, next, err := r.store.SessionList(r.t.Context(), r.user(user), r.global, cursor, n)
		if err != nil {
			r.t.Fatalf("list: %v", err)
		}
		all = append(all, page...)
		if cursor = next; next == "" {
			return all
		}
	}
}

func (r *rig) epoch(user string, keep *store.SessionKeys) (int64, store.SessionStatus) {
	r.t.Helper()
	reply, err := r.store.SessionEpoch(r.t.Context(), r.user(user), keep, r.global, life)
	if err != nil {
		r.t.Fatalf("epoch: %v", err)
	}
	return reply.Epoch, reply.Status
}

// revokePages removes what the epoch has ended, from the cursor on.
func (r *rig) revokePages(user string, epoch int64, cursor string) (total int) {
	r.t.Helper()
	for {
		n, next, err := r.store.SessionRevokePage(r.t.Context(), r.user(user), epoch, cursor)
		if err != nil {
			r.t.Fatalf("revoke page: %v", err)
		}
		total += n
		if cursor = next; next == "" {
			return total
		}
	}
}

func (r *rig) recordKey(l login) string {
	return fmt.Sprintf("%s:s:{%s}:%s", r.prefix, l.keys.Tag, l.keys.Member)
}

func (r *rig) userKey(kind, user string) string {
	tag := store.MakeTag("user", user)
	return fmt.Sprintf("%s:%s:{%s}:%s", r.prefix, kind, r.tag, tag[:])
}

// members returns the members of the index.
func (r *rig) members(user string) []string {
	r.t.Helper()
	return r.client.ZRange(r.t.Context(), r.userKey("u", user), 0, -1).Val()
}

func (r *rig) pttl(key string) time.Duration {
	r.t.Helper()
	return r.client.PTTL(r.t.Context(), key).Val()
}

func about(got, want time.Duration) bool { return (got - want).Abs() < 20*time.Second }

func value(record store.SessionRecord, name string) string {
	v, ok := record.Value(name)
	if !ok {
		return "(none)"
	}
	return string(v)
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}
