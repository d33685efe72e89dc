package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// capture is a client that sends nothing and remembers the commands.
type capture struct{ commands [][]any }

var errCaptured = errors.New("not sent")

func (c *capture) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *capture) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		c.commands = append(c.commands, cmd.Args())
		cmd.SetErr(errCaptured)
		return errCaptured
	}
}
func (c *capture) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

var (
	headerLine = regexp.MustCompile(`^-- ((?:KEYS|ARGV)\[\d+\+?\]|RETURNS|EXPIRES|COST|RETRY)\s+\S`)
	usedWords  = regexp.MustCompile(`\b(KEYS|ARGV)\[(\d+)\]`)
)

// The header of each script of sessions and blobs names the keys and arguments that it
// reads and that its Go method passes.
func TestSessionContracts(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	sent := &capture{}
	client.AddHook(sent)
	s, err := New(client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	user := SessionKeys{Tag: "aa", Member: strings.Repeat("m", 32), User: "alice"}
	guest := user
	guest.User = ""
	calls := func(keys SessionKeys) {
		_, _ = s.SessionCreate(ctx, SessionCreate{Keys: keys, Idle: time.Minute, Life: time.Minute, Values: []Field{{"a", "1"}}})
		_, _ = s.SessionTouch(ctx, SessionTouch{Keys: keys})
		_, _ = s.SessionCommit(ctx, SessionCommit{Keys: keys, Set: []Field{{"a", "1"}}})
		_, _ = s.SessionRotate(ctx, SessionRotate{Keys: keys})
		_, _ = s.SessionConfirm(ctx, SessionConfirm{Keys: keys})
		_, _ = s.SessionElevate(ctx, SessionElevate{Keys: keys})
		_, _ = s.SessionDrop(ctx, keys, true, "logout")
		_, _ = s.SessionPop(ctx, keys, 0, "a")
		_, _ = s.SessionSetNX(ctx, keys, 0, "a", "1")
		_, _ = s.SessionCompareAndSet(ctx, SessionSwap{Keys: keys, Name: "a"})
	}
	calls(guest)
	for _, args := range sent.commands {
		if args[0] == "evalsha" && args[2] != 1 {
			t.Errorf("%s of a guest has %v keys, want 1", args[1], args[2])
		}
	}
	calls(user)
	_, _ = s.SessionCreate(ctx, SessionCreate{Keys: user, Idle: time.Minute, Life: time.Minute, From: guest})
	_, _ = s.SessionCreate(ctx, SessionCreate{Keys: user, Idle: time.Minute, Life: time.Minute, Old: "old", OldLife: time.Minute})
	_, _ = s.SessionSettle(ctx, user, guest)
	_, _, _ = s.SessionList(ctx, user, 0, "", 10)
	_, _ = s.SessionRevoke(ctx, user, "id")
	_, _, _ = s.SessionRevokePage(ctx, user, 1, "")
	_, _ = s.SessionEpoch(ctx, user, &user, 0, time.Hour)
	_, _, _ = s.BlobFind(ctx, BlobKey{})
	_, _ = s.BlobCommit(ctx, BlobCommit{Life: time.Minute})
	_, _ = s.BlobDelete(ctx, BlobKey{})

	passed := map[string][2]int{} // by sha: keys, arguments
	for _, args := range sent.commands {
		if args[0] == "evalsha" {
			passed[fmt.Sprint(args[1])] = [2]int{args[2].(int), len(args) - 3 - args[2].(int)}
		}
	}
	for _, script := range scripts {
		if isLimitScript(script) { // they have a test of their own
			continue
		}
		raw, err := files.ReadFile(script.name + ".lua")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(raw), "-- "+script.name+": ") {
			t.Errorf("%s does not begin with its name", script.name)
		}
		documented := map[string][]int{}
		rest := map[string]bool{} // of arguments documented as "ARGV[15+]"
		seen := map[string]bool{}
		for line := range strings.Lines(string(raw)) {
			m := headerLine.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			kind, index, found := strings.Cut(strings.TrimSuffix(m[1], "]"), "[")
			seen[kind] = true
			if !found {
				if kind == "RETRY" && strings.Contains(line, " safe:") != (script.retry != unsafe) {
					t.Errorf("%s: RETRY line and script.go differ", script.name)
				}
				continue
			}
			n, _ := strconv.Atoi(strings.TrimSuffix(index, "+"))
			documented[kind] = append(documented[kind], n)
			rest[kind] = rest[kind] || strings.HasSuffix(index, "+")
		}
		for _, kind := range []string{"KEYS", "ARGV", "RETURNS", "EXPIRES", "COST", "RETRY"} {
			t.Run(kind, func(t *testing.T) {
				if !seen[kind] {
					t.Errorf("%s has no %s line", script.name, kind)
				}
			})
		}
		reads := map[string][]int{}
		for _, m := range usedWords.FindAllStringSubmatch(script.text, -1) {
			n, _ := strconv.Atoi(m[2])
			if !slices.Contains(reads[m[1]], n) {
				reads[m[1]] = append(reads[m[1]], n)
			}
		}
		for i, kind := range []string{"KEYS", "ARGV"} {
			d, r := documented[kind], reads[kind]
			slices.Sort(r)
			for at, n := range d {
				if n != at+1 {
					t.Errorf("%s: %s are documented as %v", script.name, kind, d)
				}
			}
			fixed := d
			if rest[kind] {
				fixed = d[:len(d)-1]
			}
			if !slices.Equal(fixed, r) {
				t.Errorf("%s reads %s %v, documents %v", script.name, kind, r, fixed)
			}
			n, ok := passed[string(script.sha)]
			if !ok {
				t.Errorf("%s is sent by no method of this test", script.name)
			} else if n[i] < len(fixed) || n[i] > len(fixed) && !rest[kind] {
				t.Errorf("%s is passed %d %s, documents %v", script.name, n[i], kind, d)
			}
		}
	}
}

func TestSessionScriptsFormatNumbers(t *testing.T) {
	// .. and tostring keep 14 digits of a number; TIME must be read once.
	for _, script := range scripts {
		if isLimitScript(script) { // they have a test of their own
			continue
		}
		t.Run(script.name, func(t *testing.T) {
			if strings.Contains(script.text, "tostring") || regexp.MustCompile(`\.\. *(ms|now)\b`).MatchString(script.text) {
				t.Errorf("%s renders a number without int", script.name)
			}
			if n := strings.Count(script.text, "'TIME'"); n > 1 {
				t.Errorf("%s reads the clock %d times", script.name, n)
			}
		})
	}
}

// parsed is what a record says, for comparison.
func parsed(r *SessionRecord) string {
	ms := func(at time.Time) int64 {
		if at.IsZero() {
			return 0
		}
		return at.UnixMilli()
	}
	return fmt.Sprintln(r.Found, r.Superseded, r.PublicID, ms(r.Created), ms(r.Absolute), r.Idle.Milliseconds(), ms(r.Seen), ms(r.Authenticated), r.Level, r.UserEpoch, r.GlobalEpoch)
}

func TestSessionRecordParse(t *testing.T) {
	record := map[string]string{"!m": "id.1.2.3", "!t": "4", "!e": "5.6", "!a": "7.8", "x": "\r\n"}
	with := func(name, value string) map[string]string {
		m := map[string]string{}
		for k, v := range record {
			m[k] = v
		}
		m[name] = value
		return m
	}
	const none = "false false  0 0 0 0 0 0 0 0"
	for _, c := range []struct {
		name   string
		fields map[string]string
		want   string
	}{
		{"whole", record, "true false id 1 2 3 4 7 8 5 6"},
		{"later version", with("!m", "id.1.2.3.more"), "true false id 1 2 3 4 7 8 5 6"},
		{"later epochs", with("!e", "5.6.7"), "true false id 1 2 3 4 7 8 5 6"},
		{"none", nil, none},
		{"marker", map[string]string{"!g": "1"}, "false true  0 0 0 0 0 0 0 0"},
		{"short meta", with("!m", "id.1.2"), none},
		{"negative", with("!m", "id.1.2.-3"), none},
		{"no id", with("!m", ".1.2.3"), none},
		{"bad seen", with("!t", "x"), none},
		{"bad epoch", with("!e", "5"), none},
		{"guest", with("!a", ""), "true false id 1 2 3 4 0 0 5 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r SessionRecord
			if !r.parse(encodePairs(c.fields)) {
				t.Errorf("not parsed")
			}
			if got := strings.TrimSpace(parsed(&r)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	for _, raw := range []string{"", "*", "*1\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\nx", "*2\r\n$1\r\na\r\n$9\r\nb\r\n",
		"*2\r\n$1\r\na\r\n:1\r\n", "*-1\r\n", "_\r\n", "%1000000000\r\n", "*99999999999\r\n", "+OK\r\n", "*2\r\n$1\r\nab\r\n$1\r\nb\r\n"} {
		t.Run(fmt.Sprintf("%q", raw), func(t *testing.T) {
			var r SessionRecord
			if r.parse([]byte(raw)) {
				t.Errorf("%q was taken for a record %v, want none", raw, r)
			}
		})
	}
}

// FuzzSessionRecord: no reply makes parse panic, and what it takes says what it says.
func FuzzSessionRecord(f *testing.F) {
	f.Add([]byte("*2\r\n$2\r\n!m\r\n$8\r\nid.1.2.3\r\n"))
	f.Add([]byte("%1\r\n$1\r\na\r\n$0\r\n\r\n"))
	f.Add(encodePairs(map[string]string{"!m": "id.1.2.3", "!t": "4", "!e": "5.6", "!a": "7.8", "x": "\r\n"}))
	f.Add([]byte("*0\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r SessionRecord
		if !r.parse(raw) {
			return
		}
		_, _, _ = r.Owner(), r.UserAgent+r.Label+r.IP, r.Tokens()
		fields, values := map[string]string{}, 0
		for _, s := range r.fields {
			name := string(raw[s.name:s.nameEnd])
			if _, ok := fields[name]; ok {
				return // Redis sends each field once
			}
			fields[name] = string(raw[s.value:s.valueEnd])
			if !strings.HasPrefix(name, "!") {
				values++
			}
		}
		for name, value := range r.Values() {
			if fields[name] != string(value) || strings.HasPrefix(name, "!") {
				t.Errorf("Values yields %q = %q", name, value)
			}
			values--
		}
		if values != 0 {
			t.Errorf("Values left out %d", values)
		}
		var again SessionRecord
		if !again.parse(encodePairs(fields)) || parsed(&again) != parsed(&r) {
			t.Errorf("%s, encoded anew %s", parsed(&r), parsed(&again))
		}
	})
}
