package ratelimit_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/ratelimit"
)

// The results of concurrent calls must be those of some order of the calls, one after the
// other, in which each call takes effect between its start and its end. That is
// linearizability; porcupine checks it. The window is an hour, so no permit comes back
// during the test.

const (
	historyQuota   = 6
	historyClients = 4
	historyCalls   = 8 // of each client; all together at most 64, the bits of limitState.live
)

type limitCall struct {
	kind string // take, peek, refund, reset
	key  string
	id   int   // of a take, and of the take that is refunded
	cost int64 // of either
}

type limitAnswer struct {
	allowed   bool
	remaining int64 // -1 if the answer does not have it
	unknown   bool  // the reply was lost: it may have taken effect, at some time
	unasked   bool  // the limiter did not ask Redis, after too many lost replies in a row: no part of the history
}

// limitState is one key: the permits spent, and the takes whose permits count.
type limitState struct {
	spent int64
	live  uint64
}

// limitModel describes what a limiter does if calls come one at a time.
var limitModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) (byKey [][]porcupine.Operation) {
		index := map[string]int{}
		for _, op := range history {
			key := op.Input.(limitCall).key
			if _, ok := index[key]; !ok {
				index[key] = len(byKey)
				byKey = append(byKey, nil)
			}
			byKey[index[key]] = append(byKey[index[key]], op)
		}
		return byKey
	},
	Init: func() any { return limitState{} },
	Step: func(state, input, output any) (bool, any) {
		s, call, answer := state.(limitState), input.(limitCall), output.(limitAnswer)
		allowed, bit := false, uint64(1)<<call.id
		switch call.kind {
		case "take":
			if allowed = s.spent+call.cost <= historyQuota; allowed {
				s.spent, s.live = s.spent+call.cost, s.live|bit
			}
		case "peek":
			allowed = s.spent+1 <= historyQuota
		case "refund":
			if allowed = s.live&bit != 0; allowed {
				s.spent, s.live = s.spent-call.cost, s.live&^bit
			}
		case "reset":
			return true, limitState{}
		}
		told := answer.remaining < 0 || answer.remaining == historyQuota-s.spent
		return answer.unknown || allowed == answer.allowed && told, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// recorder runs clients against a limiter and records their calls and the answers.
type recorder struct {
	t       *testing.T
	l       *ratelimit.Limiter
	policy  *ratelimit.Policy
	lossy   bool // replies are lost on the way
	started time.Time

	mu      sync.Mutex // guards what follows
	history []porcupine.Operation
	takes   map[string][]taken // by key, those that may be refunded, by anybody
	ids     int
}

type taken struct {
	limitCall
	decision ratelimit.Decision
}

func (r *recorder) record(client int, call limitCall, ask func() limitAnswer) {
	began := time.Since(r.started)
	answer := ask()
	if answer.unasked {
		time.Sleep(100 * time.Millisecond)
		return
	}
	op := porcupine.Operation{ClientId: client, Input: call, Call: int64(began), Output: answer, Return: int64(time.Since(r.started))}
	if answer.unknown {
		op.Return = int64(time.Hour) // later than all others: it may still be on its way
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, op)
}

func (r *recorder) client(client int, random *rand.Rand) {
	for range historyCalls {
		key := []string{"a", "b"}[random.IntN(2)]
		switch n := random.IntN(10); {
		case n < 5:
			r.take(client, key, 1+random.Int64N(3))
		case n < 8:
			r.refund(client, key, random)
		case n < 9 && !r.lossy:
			r.record(client, limitCall{kind: "reset", key: key}, func() limitAnswer {
				if err := r.l.Reset(r.t.Context(), r.policy, key); err != nil {
					r.t.Errorf("Reset: %v", err)
				}
				return limitAnswer{}
			})
		default:
			r.record(client, limitCall{kind: "peek", key: key}, func() limitAnswer {
				d, err := r.l.Peek(r.t.Context(), r.policy, key)
				return r.answer(d, err)
			})
		}
	}
}

func (r *recorder) take(client int, key string, cost int64) {
	r.mu.Lock()
	call := limitCall{kind: "take", key: key, id: r.ids, cost: cost}
	r.ids++
	r.mu.Unlock()
	r.record(client, call, func() limitAnswer {
		d, err := r.l.TakeN(r.t.Context(), r.policy, key, cost)
		if d.Allowed {
			r.mu.Lock()
			r.takes[key] = append(r.takes[key], taken{call, d})
			r.mu.Unlock()
		}
		return r.answer(d, err)
	})
}

func (r *recorder) answer(d ratelimit.Decision, err error) limitAnswer {
	switch {
	case err != nil:
		r.t.Errorf("asked for %d: %v", d.Cost(), err)
	case errors.Is(d.Degraded, gatekit.ErrUnknownOutcome):
		return limitAnswer{unknown: true}
	case d.Degraded != nil && r.lossy:
		return limitAnswer{unasked: true}
	case d.Degraded != nil:
		r.t.Errorf("asked for %d: degraded: %v", d.Cost(), d.Degraded)
	case d.Repeated: // it was sent again after a lost reply: what remains is as of then
		return limitAnswer{allowed: d.Allowed, remaining: -1}
	}
	return limitAnswer{allowed: d.Allowed, remaining: d.Remaining}
}

// refund gives back a decision of any client, if there is one.
func (r *recorder) refund(client int, key string, random *rand.Rand) {
	r.mu.Lock()
	takes := r.takes[key]
	if len(takes) == 0 {
		r.mu.Unlock()
		return
	}
	i := random.IntN(len(takes))
	last := takes[i]
	r.takes[key] = append(append([]taken(nil), takes[:i]...), takes[i+1:]...)
	r.mu.Unlock()
	call := last.limitCall
	call.kind = "refund"
	r.record(client, call, func() limitAnswer {
		n, err := r.l.Refund(r.t.Context(), last.decision)
		if errors.Is(err, gatekit.ErrUnknownOutcome) {
			return limitAnswer{unknown: true}
		}
		if err != nil {
			r.t.Errorf("Refund: %v", err)
		}
		return limitAnswer{allowed: n == 1, remaining: -1}
	})
}

// checkHistories records histories, and fails the test if no order explains one. It
// returns how many answers were lost.
func checkHistories(t *testing.T, l *ratelimit.Limiter, algorithm ratelimit.Algorithm, lossy bool, histories int) (lost int) {
	t.Helper()
	for h := range histories {
		r := &recorder{t: t, l: l, lossy: lossy, started: time.Now(), takes: map[string][]taken{}}
		r.policy = ratelimit.MustPolicy(fmt.Sprintf("history%d-%d", algorithm, h),
			ratelimit.Limit{Quota: historyQuota, Window: time.Hour, Algorithm: algorithm}).OnFailure(ratelimit.FailClosed)
		var clients sync.WaitGroup
		for c := range historyClients {
			clients.Go(func() { r.client(c, rand.New(rand.NewPCG(uint64(h), uint64(c)))) })
		}
		clients.Wait()
		for _, op := range r.history {
			if op.Output.(limitAnswer).unknown {
				lost++
			}
		}
		if result := porcupine.CheckOperationsTimeout(limitModel, r.history, 30*time.Second); result != porcupine.Ok {
			for _, op := range r.history {
				t.Logf("client %d, %d to %d: %s", op.ClientId, op.Call, op.Return, limitModel.DescribeOperation(op.Input, op.Output))
			}
			t.Fatalf("%v, history %d: %v: no order of these calls explains the answers", algorithm, h, result)
		}
	}
	return lost
}

var allAlgorithms = []ratelimit.Algorithm{ratelimit.SlidingWindow, ratelimit.SlidingBuckets, ratelimit.SlidingLog}

func TestHistoriesAreLinearizable(t *testing.T) {
	l, err := ratelimit.New(kvtest.Open(t, redistest.Single(t).Client(t), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range allAlgorithms {
		checkHistories(t, l, algorithm, false, 80)
	}
}

// With every seventh reply lost, what was asked may have taken effect once, or not at
// all: never twice. A Reset is sent again when its reply is lost, and may forget what was
// spent in between, so there is none here.
func TestHistoriesWithLostReplies(t *testing.T) {
	redistest.Long(t)
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	l, err := ratelimit.New(kvtest.Open(t, redistest.NewClient(t, proxy.Addr()), gatekit.Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second}), ratelimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	proxy.DropReplyEvery(7)
	for _, algorithm := range allAlgorithms {
		lost := checkHistories(t, l, algorithm, true, 40)
		t.Logf("%v: %d answers lost", algorithm, lost)
		if lost < 20 {
			t.Errorf("%v: %d answers lost: the proxy loses too few for a test", algorithm, lost)
		}
	}
}

// The model must refuse histories that no correct limiter has; otherwise the tests above
// prove nothing.
func TestHistoryModelRefuses(t *testing.T) {
	op := func(call, ret int64, in limitCall, out limitAnswer) porcupine.Operation {
		return porcupine.Operation{Input: in, Call: call, Output: out, Return: ret}
	}
	take := func(id int, cost int64) limitCall { return limitCall{kind: "take", id: id, cost: cost} }
	yes := func(remaining int64) limitAnswer { return limitAnswer{allowed: true, remaining: remaining} }
	no := func(remaining int64) limitAnswer { return limitAnswer{remaining: remaining} }
	first := op(1, 2, take(0, 4), yes(2))
	for _, c := range []struct {
		name string
		then []porcupine.Operation
		want bool
	}{
		{"the rest", []porcupine.Operation{op(3, 4, take(1, 2), yes(0))}, true},
		{"over the quota", []porcupine.Operation{op(3, 4, take(1, 3), yes(0))}, false},
		{"denied below the quota", []porcupine.Operation{op(3, 4, take(1, 2), no(2))}, false},
		{"wrong remainder", []porcupine.Operation{op(3, 4, limitCall{kind: "peek"}, yes(3))}, false},
		{"refunded", []porcupine.Operation{op(3, 4, limitCall{kind: "refund", cost: 4}, yes(-1)), op(5, 6, take(1, 6), yes(0))}, true},
		{"refunded twice", []porcupine.Operation{op(3, 4, limitCall{kind: "refund", cost: 4}, yes(-1)),
			op(5, 6, limitCall{kind: "refund", cost: 4}, yes(-1))}, false},
		{"refunded after a reset", []porcupine.Operation{op(3, 4, limitCall{kind: "reset"}, limitAnswer{}),
			op(5, 6, limitCall{kind: "refund", cost: 4}, yes(-1))}, false},
		{"lost, and spent", []porcupine.Operation{op(3, 99, take(1, 2), limitAnswer{unknown: true}), op(5, 6, take(2, 2), no(0))}, true},
		{"lost, and not spent", []porcupine.Operation{op(3, 99, take(1, 2), limitAnswer{unknown: true}), op(5, 6, take(2, 2), yes(0))}, true},
		{"lost, and spent twice", []porcupine.Operation{op(3, 99, take(1, 1), limitAnswer{unknown: true}), op(5, 6, take(2, 1), no(0))}, false},
		{"at the same time, in either order", []porcupine.Operation{op(3, 9, take(1, 2), no(0)), op(4, 8, take(2, 1), yes(1)), op(4, 8, take(3, 1), yes(0))}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := porcupine.CheckOperations(limitModel, append([]porcupine.Operation{first}, c.then...)); got != c.want {
				t.Errorf("explained %v, want %v", got, c.want)
			}
		})
	}
}
