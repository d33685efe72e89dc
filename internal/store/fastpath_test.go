package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
)

// TestFastPathIsTheGeneralPath runs limit_take with and without parts/fastpath.lua and
// parts/fastbuckets.lua on random traces: steps of the clock in both directions, quotas
// that change, dead tails of any length. Replies, keys and expiries must be the same.
func TestFastPathIsTheGeneralPath(t *testing.T) {
	redistest.Long(t)
	t.Parallel()
	for _, c := range []struct{ letter, part, show string }{
		{"w", "parts/fastpath.lua", "local l = redis.call('LRANGE', KEYS[1], 0, -1) l[#l + 1] = redis.call('PTTL', KEYS[1]) return l"},
		{"b", "parts/fastbuckets.lua", "return {redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1])}"},
	} {
		t.Run(c.letter, func(t *testing.T) {
			general := strings.Replace(limitTake.text, code(c.part), "", 1)
			if general == limitTake.text {
				t.Fatalf("limit_take is not joined from %s", c.part)
			}
			client, prefix := redistest.Single(t).Client(t), redistest.Prefix(t)
			var shas [3]string
			for i, text := range []string{limitTake.text, general, c.show} {
				var err error
				if shas[i], err = client.ScriptLoad(t.Context(), text).Result(); err != nil {
					t.Fatal(err)
				}
			}
			for trace := range uint64(300) {
				key, random := fmt.Sprintf("%s%d", prefix, trace), rand.New(rand.NewPCG(trace, 1))
				if difference := compareTrace(t, client, shas, key, c.letter, random); difference != "" {
					t.Fatalf("trace %d: %s", trace, difference)
				}
			}
		})
	}
}

// compareTrace says how the first two scripts differ on a random trace of an algorithm;
// the third one shows what they left. Lists take the fast path with cost 1 only.
func compareTrace(t *testing.T, client redis.UniversalClient, shas [3]string, key, letter string, random *rand.Rand) string {
	t.Helper()
	ctx := t.Context()
	window := []int64{10_000, 1_000_000, 60_000_000}[random.IntN(3)]
	quota := 1 + random.Int64N(30)
	now := int64(1_700_000_000_000_000) + random.Int64N(1_000_000)
	pairs := make([][2]*redis.Cmd, 0, 80)
	pipe := client.Pipeline()
	for range cap(pairs) {
		switch random.IntN(12) {
		case 0: // the same µs again
		case 1:
			now++
		case 2:
			now += window
		case 3:
			now += window + random.Int64N(window)
		case 4:
			now -= 1 + random.Int64N(window)
		case 5:
			if random.IntN(4) == 0 {
				now -= 3_600_000_000
			}
		case 6:
			quota = 1 + random.Int64N(30)
		default:
			now += random.Int64N(2*window/quota + 1)
		}
		cost := int64(1)
		if letter == "b" && random.IntN(3) == 0 {
			cost = 1 + random.Int64N(quota)
		}
		var pair [2]*redis.Cmd
		for i := range pair {
			name := fmt.Sprintf("%s-%d", key, i)
			pipe.EvalSha(ctx, shas[i], []string{name}, now, cost, letter, quota, window)
			pair[i] = pipe.EvalSha(ctx, shas[2], []string{name})
		}
		pairs = append(pairs, pair)
	}
	cmds, err := pipe.Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range pairs {
		replies := [2]string{fmt.Sprint(cmds[4*i].(*redis.Cmd).Val()), fmt.Sprint(cmds[4*i+2].(*redis.Cmd).Val())}
		a, b := pairs[i][0].Val().([]any), pairs[i][1].Val().([]any)
		ttls := [2]int64{a[len(a)-1].(int64), b[len(b)-1].(int64)}
		// The two expiries were set at different instants of the real clock.
		close := max(ttls[0], ttls[1])-min(ttls[0], ttls[1]) < time.Second.Milliseconds() && (ttls[0] < 0) == (ttls[1] < 0)
		if replies[0] != replies[1] || !slices.Equal(a[:len(a)-1], b[:len(b)-1]) || !close {
			return fmt.Sprintf("step %d, quota %d, window %d µs, %v\nfastpath: %s %v\ngeneral:  %s %v", i, quota, window, cmds[4*i].Args()[3:], replies[0], a, replies[1], b)
		}
	}
	return ""
}
