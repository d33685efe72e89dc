package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// A yardstick is a bare script of 3 commands. The other scripts are compared with it,
// because machines differ and are busy.
const yardstick = `
local t = redis.call('TIME')
local n = tonumber(redis.call('GET', KEYS[1]) or 0)
redis.call('SET', KEYS[1], string.format('%.0f', n + t[2]), 'PX', '60000')
return {1, n}`

const timeTurns = 15

// timed is one script in one state.
type timed struct {
	name  string
	calls int    // a turn
	ready func() // ahead of each turn; not measured
	do    func(i int)
	usec  []float64 // a call, of each turn
}

// TestSessionCosts reports what the scripts cost the server: µs of EVALSHA by INFO
// commandstats, without the network. All take turns of some calls in random order, so
// that neighbours on the machine slow them alike. Times decide nothing; it fails when a
// script does not do what the row says.
func TestSessionCosts(t *testing.T) {
	redistest.Long(t)
	r := newRig(t, redistest.NewSingle(t), nil)
	ctx := t.Context()
	bare := r.client.ScriptLoad(ctx, yardstick).Val()
	logins := 0
	create := func(user string, limit int, policy store.CapPolicy) store.SessionNewReply {
		logins++
		r.now += int64(logins % 2)
		c := r.create(user)
		c.Idle, c.Life = 30*24*time.Hour, 30*24*time.Hour // the rows move the clock
		c.Cap, c.CapPolicy = limit, policy
		eightValues(&c)
		reply, err := r.store.SessionCreate(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	login := func(user string) login {
		return r.login(user, eightValues, func(c *store.SessionCreate) { c.Idle, c.Life = 30*24*time.Hour, 30*24*time.Hour })
	}
	capped := func(limit int, policy store.CapPolicy) *timed {
		user := fmt.Sprint("capped", limit, string(rune(policy)))
		for range limit {
			create(user, limit, policy)
		}
		return &timed{name: fmt.Sprintf("login, evicting at cap %d (%c)", limit, policy), calls: 40, do: func(int) {
			want(t, "evicted", create(user, limit, policy).Evicted, 1)
		}}
	}
	l, rotated := login("bob"), login("bob")
	for range 5 {
		login("carol")
	}
	for range 1000 {
		login("dave")
	}
	var epoch int64
	var erin string // another one each turn, who has no epoch yet
	dave := r.user("dave")
	rows := []*timed{
		{name: "yardstick", calls: 100, do: func(int) { r.client.EvalSha(ctx, bare, []string{r.prefix + ":yardstick"}) }},
		{name: "login", calls: 40, do: func(int) { create(fmt.Sprint("user", logins), 0, 0) }},
		{name: "guest", calls: 40, do: func(int) { r.login("", eightValues) }},
		{name: "carry of a user", calls: 40, do: func(int) { logins++; r.login(fmt.Sprint("user", logins), eightValues, carrying(random(9))) }},
		{name: "carry of a guest", calls: 40, do: func(int) { r.login("", eightValues, carrying(random(9))) }},
		capped(10, store.CapEvictOldest), capped(10, store.CapEvictLeastRecent), capped(100, store.CapEvictOldest),
		{name: "commit of 1 field", calls: 40, do: func(i int) {
			want(t, "commit", r.commit(l, set("field1", fmt.Sprint("value-", i))), store.SessionOK)
		}},
		{name: "commit of 3 and a counter", calls: 40, do: func(int) {
			r.commit(l, set("field1", "1"), set("field2", "2"), set("field3", "3"), add("n", 1))
		}},
		{name: "touch, throttled", calls: 40, do: func(int) { want(t, "touch", r.touch(l).Status, store.SessionOK) }},
		{name: "touch, writing", calls: 40, do: func(int) { r.now += 60_000; want(t, "seen", r.touch(l).Seen, time.UnixMilli(r.now)) }},
		{name: "rotate", calls: 40, do: func(int) {
			want(t, "rotate", r.rotate(rotated, rotated.token, 1, "n").Status, store.SessionOK)
		}},
		{name: "confirm of the current", calls: 40, do: func(int) {
			want(t, "confirm", r.confirm(l, l.token).Status, store.SessionOK)
		}},
		{name: "pop", calls: 40, do: func(int) { _, _ = r.store.SessionPop(ctx, l.keys, 0, "field1") }},
		{name: "list of 5", calls: 40, do: func(int) { want(t, "listed", len(r.list("carol")), 5) }},
		{name: "list of 100", calls: 10, do: func(int) { _, _, _ = r.store.SessionList(ctx, dave, 0, "", 100) }},
		{name: "revoke by id, page of 500", calls: 4, do: func(int) { _, _ = r.store.SessionRevoke(ctx, dave, "none") }},
		{name: "revoke all 100 of a user", calls: 1, ready: func() {
			erin = random(8)
			for range 100 {
				login(erin)
			}
		}, do: func(int) { epoch, _ = r.epoch(erin, nil) }},
		{name: "revoke page of 100", calls: 1, ready: func() {
			erin = random(8)
			for range 200 {
				login(erin)
			}
			epoch, _ = r.epoch(erin, nil)
		}, do: func(int) { want(t, "revoked", r.revokePages(erin, epoch, ""), 100) }},
	}
	shuffled := slices.Clone(rows)
	for turn := range timeTurns + 1 {
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for _, row := range shuffled {
			if usec := row.turn(t, r); turn > 0 { // the first loads the scripts
				row.usec = append(row.usec, usec)
			}
		}
	}
	for _, row := range rows {
		slices.Sort(row.usec)
		slices.Sort(rows[0].usec)
		median, quarter := row.usec[timeTurns/2], row.usec[timeTurns/4]
		t.Logf("%-28s %6.1f µs of the server (lowest quarter %6.1f), %5.1f yardsticks", row.name, median, quarter, median/rows[0].usec[timeTurns/2])
	}
}

func (row *timed) turn(t *testing.T, r *rig) (usec float64) {
	t.Helper()
	if row.ready != nil {
		row.ready()
	}
	before := redistest.CommandStats(t, r.client)["evalsha"]
	for i := range row.calls {
		row.do(i)
	}
	after := redistest.CommandStats(t, r.client)["evalsha"]
	return float64(after.Usec-before.Usec) / float64(after.Calls-before.Calls)
}
