package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/kvtest"
	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/ratelimit"
)

// BenchmarkServerTime measures the time of a decision on the Redis server: µs of EVALSHA
// by INFO commandstats, without the network. It compares SlidingWindow and
// SlidingBuckets, as the limiter sends them, with the two usual algorithms, which here
// return the same values: GCRA, which is two commands but lets twice the quota pass, and
// a log in a sorted set.
//
// All are measured in turns of about 100 ms, in random order, so that a busy machine
// slows them alike. It fails if SlidingWindow takes longer than promised, both by the
// median of the turns and by the fastest turns.
func BenchmarkServerTime(b *testing.B) {
	client := redistest.NewSingle(b).Client(b)
	var table strings.Builder
	fmt.Fprintf(&table, "server time of a decision, µs: median (fastest) of %d turns\n| |", serverTimeRounds)
	for _, c := range rivals {
		fmt.Fprintf(&table, " %s |", c.name)
	}
	fmt.Fprintf(&table, " window / GCRA | window / set | denied |\n|---|%s---|---|---|\n", strings.Repeat("---|", len(rivals)))
	for _, row := range serverTimeRows {
		m := measureRow(b, client, row)
		fmt.Fprintf(&table, "| %s |", row.name)
		for _, c := range rivals {
			fmt.Fprintf(&table, " %.1f (%.1f) |", m.median(c), m.fastest(c))
		}
		medians, fastest := m.median(windowRival)/m.median(gcraRival), m.fastest(windowRival)/m.fastest(gcraRival)
		toSet, fastestToSet := m.median(windowRival)/m.median(zsetRival), m.fastest(windowRival)/m.fastest(zsetRival)
		fmt.Fprintf(&table, " %.2f (%.2f) | %.2f (%.2f) | %.0f%% |\n", medians, fastest, toSet, fastestToSet, 100*m.denied)
		b.ReportMetric(medians, row.metric+"/gcra")
		if medians > row.bound && fastest > row.bound {
			b.Errorf("%s: %.2f times GCRA, by the fastest turns %.2f; promised is %.2f", row.name, medians, fastest, row.bound)
		}
		if toSet > 1 && fastestToSet > 1 {
			b.Errorf("%s: %.2f times the sorted set, by the fastest turns %.2f", row.name, toSet, fastestToSet)
		}
	}
	b.Log(strings.TrimSpace(table.String()))
}

const (
	serverTimeRounds = 9
	serverTimeCalls  = 6000   // a turn
	serverTimeRate   = 40_000 // calls a second where the load has to be as large as the quota
)

// serverTimeRow is one kind of load: calls on random ones of so many keys.
type serverTimeRow struct {
	name, metric string
	keys, quota  int
	window       time.Duration // 0: such that serverTimeRate uses up the quota
	full         bool          // each key holds its quota, spread over the window, before a turn; or else
	used         bool          // it is used up once; or else each key was hit once
	bound        float64       // promised, in times of GCRA
}

var serverTimeRows = []serverTimeRow{
	{name: "admitted, 100,000 keys, quota 100", metric: "cold", keys: 100_000, quota: 100, window: time.Minute, bound: 1.25},
	{name: "admitted, 1,000 full lists, quota 100", metric: "full-100", keys: 1000, quota: 100, full: true, bound: 1.5},
	{name: "admitted, 100 full lists, quota 1,000", metric: "full-1000", keys: 100, quota: 1000, full: true, bound: 1.5},
	{name: "denied, quota 100", metric: "denied-100", keys: 1, quota: 100, window: time.Hour, used: true, bound: 1.25},
	{name: "denied, quota 4,000", metric: "denied-4000", keys: 1, quota: 4000, window: time.Hour, used: true, bound: 1.25},
}

// rival is one way to limit.
type rival struct {
	name   string
	source string // the script; or
	alg    ratelimit.Algorithm
	argv   func(row serverTimeRow) []any
	// fill gives a key the permits of the stamps, oldest first.
	fill func(pipe redis.Pipeliner, key string, row serverTimeRow, stamps []int64)
}

var (
	windowRival  = &rival{name: "SlidingWindow", alg: ratelimit.SlidingWindow, fill: fillList}
	bucketsRival = &rival{name: "SlidingBuckets", alg: ratelimit.SlidingBuckets, fill: fillBuckets}
	gcraRival    = &rival{name: "GCRA", source: gcraSource, argv: intervalAndBurst, fill: fillArrival}
	zsetRival    = &rival{name: "sorted set", source: zsetSource, argv: windowAndQuota, fill: fillSet}
	rivals       = []*rival{windowRival, bucketsRival, gcraRival, zsetRival}
)

// gcraSource is the generic cell rate algorithm in as few commands as it takes.
const gcraSource = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local interval, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
if arrival < now then arrival = now end
local next = arrival + interval * cost
if next - burst > now then
  return {0, 0, next - burst - now, arrival - now}
end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', string.format('%.0f', math.ceil((next - now) / 1000)))
return {1, math.floor((burst - (next - now)) / interval), 0, next - now}
`

func intervalAndBurst(row serverTimeRow) []any {
	return []any{row.window.Microseconds() / int64(row.quota), row.window.Microseconds(), 1}
}

func fillArrival(pipe redis.Pipeliner, key string, row serverTimeRow, stamps []int64) {
	interval := row.window.Microseconds() / int64(row.quota)
	pipe.Set(context.Background(), key, stamps[len(stamps)-1]+interval*int64(len(stamps)), row.window)
}

// zsetSource is a log in a sorted set as in many tutorials, but it uses the server's
// clock and does not store denials.
const zsetSource = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local window, quota, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - window))
local n = redis.call('ZCARD', KEYS[1])
if n + cost > quota then
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  return {0, quota - n, oldest[2] + window - now, 0}
end
local stamp = string.format('%.0f', now)
redis.call('ZADD', KEYS[1], stamp, stamp .. ':' .. n)
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(window / 1000)))
return {1, quota - n - cost, 0, 0}
`

func windowAndQuota(row serverTimeRow) []any {
	return []any{row.window.Microseconds(), row.quota, 1}
}

func fillSet(pipe redis.Pipeliner, key string, row serverTimeRow, stamps []int64) {
	members := make([]redis.Z, len(stamps))
	for i, s := range stamps {
		members[i] = redis.Z{Score: float64(s), Member: fmt.Sprintf("%d:%d", s, i)}
	}
	pipe.ZAdd(context.Background(), key, members...)
	pipe.PExpire(context.Background(), key, row.window)
}

func fillList(pipe redis.Pipeliner, key string, row serverTimeRow, stamps []int64) {
	members := make([]any, len(stamps))
	for i, s := range stamps {
		members[i] = s
	}
	pipe.RPush(context.Background(), key, members...)
	pipe.PExpire(context.Background(), key, 2*row.window)
}

func fillBuckets(pipe redis.Pipeliner, key string, row serverTimeRow, stamps []int64) {
	span := (row.window.Microseconds() + 15) / 16
	permits, indexes := map[int64]int64{}, []int64{} // newest first
	for _, s := range slices.Backward(stamps) {
		if permits[s/span] == 0 {
			indexes = append(indexes, s/span)
		}
		permits[s/span]++
	}
	rest, tail := int64(0), ""
	for _, index := range indexes[1:] {
		rest += permits[index]
		tail += fmt.Sprintf(";%d=%d", index, permits[index])
	}
	top, oldest := indexes[0], indexes[len(indexes)-1]
	pipe.Set(context.Background(), key, fmt.Sprintf("0 %d %d %d %d%s", top, permits[top], rest, oldest, tail), 2*row.window)
}

// preparedRival is a rival in one row, ready to run.
type preparedRival struct {
	*rival
	words []any // of the command; the fourth is the key
	form  string
	keys  []string
}

// prepare records the words of our own commands as the limiter sends them.
func prepare(b *testing.B, client redis.UniversalClient, c *rival, row serverTimeRow) preparedRival {
	b.Helper()
	p := preparedRival{rival: c}
	if c.source != "" {
		sha, err := client.ScriptLoad(context.Background(), c.source).Result()
		if err != nil {
			b.Fatal(err)
		}
		// The name is as long as ours.
		p.form = fmt.Sprintf("%s:l:{%%s}:minute:w%d", c.name[:2], row.window.Microseconds())
		p.words = append([]any{"evalsha", sha, 1, ""}, c.argv(row)...)
	} else {
		p.words = wordsOfTake(b, client, c.alg, row)
		key := p.words[3].(string)
		p.form = key[:strings.Index(key, "{")] + "{%s}" + key[strings.Index(key, "}")+1:]
	}
	for i := range row.keys {
		tag := store.MakeTag("limit", "servertime", fmt.Sprint(i))
		p.keys = append(p.keys, fmt.Sprintf(p.form, tag))
	}
	return p
}

type wordsHook struct{ words []any }

func (h *wordsHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *wordsHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *wordsHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			h.words = slices.Clone(cmd.Args())
			h.words[1] = fmt.Sprint(h.words[1]) // it turns into the text, should the script not be there yet
		}
		return next(ctx, cmd)
	}
}

func wordsOfTake(b *testing.B, client redis.UniversalClient, alg ratelimit.Algorithm, row serverTimeRow) []any {
	b.Helper()
	own := redistest.NewClient(b, client.(*redis.Client).Options().Addr)
	hook := &wordsHook{}
	own.AddHook(hook)
	limiter, err := ratelimit.New(kvtest.Open(b, own, gatekit.Options{Budget: 10 * time.Second}), ratelimit.Options{})
	if err != nil {
		b.Fatal(err)
	}
	policy, err := ratelimit.NewPolicy("servertime", ratelimit.Limit{Name: "minute", Quota: int64(row.quota), Window: row.window, Algorithm: alg})
	if err != nil {
		b.Fatal(err)
	}
	if d, err := limiter.Take(context.Background(), policy, "words"); err != nil || d.Degraded != nil {
		b.Fatal(err, d.Degraded)
	}
	for i, word := range hook.words {
		if s, ok := word.(*string); ok {
			hook.words[i] = *s
		}
	}
	return hook.words
}

// serverTimes are the µs of each turn.
type serverTimes struct {
	turns  map[*rival][]float64
	denied float64 // share, of the calls of SlidingWindow
}

func (m serverTimes) median(c *rival) float64  { return m.turns[c][len(m.turns[c])/2] }
func (m serverTimes) fastest(c *rival) float64 { return m.turns[c][0] }

func measureRow(b *testing.B, client redis.UniversalClient, row serverTimeRow) serverTimes {
	b.Helper()
	if row.window == 0 {
		row.window = time.Duration(row.keys*row.quota) * time.Second / serverTimeRate
	}
	var all []preparedRival
	for _, c := range rivals {
		p := prepare(b, client, c, row)
		all = append(all, p)
		switch {
		case row.used:
			p.run(b, client, row.quota+10, 0)
		case !row.full:
			p.hitAll(b, client)
		}
	}
	m, denied := serverTimes{turns: map[*rival][]float64{}}, 0
	for range serverTimeRounds {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, p := range all {
			rate := 0
			if row.full {
				rate = serverTimeRate
				p.fillAll(b, client, row)
			}
			p.run(b, client, serverTimeCalls/4, rate)
			before := redistest.CommandStats(b, client)["evalsha"]
			n := p.run(b, client, serverTimeCalls, rate)
			after := redistest.CommandStats(b, client)["evalsha"]
			if p.rival == windowRival {
				denied += n
			}
			m.turns[p.rival] = append(m.turns[p.rival], float64(after.Usec-before.Usec)/float64(after.Calls-before.Calls))
		}
	}
	for _, turns := range m.turns {
		slices.Sort(turns)
	}
	m.denied = float64(denied) / serverTimeCalls / serverTimeRounds
	if err := client.FlushAll(context.Background()).Err(); err != nil {
		b.Fatal(err)
	}
	return m
}

const pipelineSize = 64

// run calls on random keys, as fast as it goes or at a rate, and counts denials.
func (p preparedRival) run(b *testing.B, client redis.UniversalClient, calls, rate int) (denied int) {
	b.Helper()
	start := time.Now()
	for done := 0; done < calls; done += pipelineSize {
		if rate > 0 {
			time.Sleep(time.Duration(done)*time.Second/time.Duration(rate) - time.Since(start))
		}
		denied += p.call(b, client, min(pipelineSize, calls-done), func(int) string { return p.keys[rand.IntN(len(p.keys))] })
	}
	return denied
}

func (p preparedRival) hitAll(b *testing.B, client redis.UniversalClient) {
	b.Helper()
	for i := 0; i < len(p.keys); i += pipelineSize {
		p.call(b, client, min(pipelineSize, len(p.keys)-i), func(n int) string { return p.keys[i+n] })
	}
}

func (p preparedRival) call(b *testing.B, client redis.UniversalClient, n int, key func(int) string) (denied int) {
	b.Helper()
	ctx, pipe, cmds := context.Background(), client.Pipeline(), make([]*redis.IntSliceCmd, n)
	for i := range cmds {
		words := slices.Clone(p.words)
		words[3] = key(i)
		cmds[i] = redis.NewIntSliceCmd(ctx, words...)
		_ = pipe.Process(ctx, cmds[i])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		b.Fatalf("%s: %v", p.name, err)
	}
	for _, cmd := range cmds {
		if cmd.Val()[0] == 0 {
			denied++
		}
	}
	return denied
}

// fillAll gives each key almost its quota, at random instants of the last window.
func (p preparedRival) fillAll(b *testing.B, client redis.UniversalClient, row serverTimeRow) {
	b.Helper()
	ctx := context.Background()
	server, err := client.Time(ctx).Result()
	if err != nil {
		b.Fatal(err)
	}
	now, stamps := server.UnixMicro(), make([]int64, row.quota*95/100)
	for _, key := range p.keys {
		for i := range stamps {
			stamps[i] = now - rand.Int64N(row.window.Microseconds())
		}
		slices.Sort(stamps)
		pipe := client.Pipeline()
		pipe.Del(ctx, key)
		p.fill(pipe, key, row, stamps)
		if _, err := pipe.Exec(ctx); err != nil {
			b.Fatalf("%s: fill: %v", p.name, err)
		}
	}
}
