package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
)

// slotContractCall is one call of a method of slots.
type slotContractCall struct {
	script  string
	letters string // of the rate limits beside
	ids     int    // how many are named one by one; 0: the script has no such list
	call    SlotCall
	do      func(s *Store, call SlotCall) error
}

func slotCalls() (calls []slotContractCall) {
	limit := NewSlotLimit(SlotSpec{Name: "n", Slots: 5, Length: 30 * time.Second})
	call := SlotCall{Limit: limit, Tag: MakeTag("slots"), Cost: 2, ID: "id0", Process: "process", Now: 1_700_000_000_123_456}
	holders := func(call SlotCall, n int) []SlotHolders {
		h := SlotHolders{Limit: call.Limit, Tag: call.Tag, Now: call.Now}
		for i := range n {
			h.IDs = append(h.IDs, "id"+strconv.Itoa(i))
		}
		return []SlotHolders{h}
	}
	for _, letters := range []string{"", "w", "b", "wb", "wwb"} {
		call := call
		if letters != "" {
			call.Rates = NewLimitSet(specs(letters)...)
		}
		calls = append(calls, slotContractCall{"slot_acquire", letters, 0, call, func(s *Store, call SlotCall) error {
			_, err := s.SlotAcquire(context.Background(), call)
			return err
		}})
	}
	for _, n := range []int{1, 3} {
		calls = append(calls, slotContractCall{"slot_beat", "", n, call, func(s *Store, call SlotCall) error {
			_, errs := s.SlotBeat(context.Background(), holders(call, n))
			return errs[0]
		}}, slotContractCall{"slot_release", "", n, call, func(s *Store, call SlotCall) error {
			_, errs := s.SlotRelease(context.Background(), holders(call, n))
			return errs[0]
		}})
	}
	return append(calls, slotContractCall{"slot_leave", "", 0, call, func(s *Store, call SlotCall) error {
		return s.SlotLeave(context.Background(), call)
	}})
}

// wants returns the value of a documented name for the limit or id i, 0-based.
func (c slotContractCall) wants(t *testing.T, store *Store, name string, i int) string {
	t.Helper()
	key := func(kind byte) string { return string(store.appendKey(nil, kind, c.call.Tag, c.call.Limit.suffix)) }
	switch name {
	case "limit":
		return string(store.appendKey(nil, 'l', c.call.Tag, c.call.Rates.suffixes[i]))
	case "holders":
		return key('h')
	case "meta":
		return key('m')
	case "line":
		return key('q')
	case "now":
		return fmt.Sprint(c.call.Now)
	case "cost":
		return fmt.Sprint(c.call.Cost)
	case "algorithm":
		return c.letters[i : i+1]
	case "quota":
		return fmt.Sprint(10 + i)
	case "window":
		return fmt.Sprint((60 + i) * 1_000_000)
	case "slots":
		return "5"
	case "length":
		return "30000000"
	case "id":
		return "id" + strconv.Itoa(i)
	case "process":
		return "process"
	case "channel":
		return "contract:wake:"
	}
	t.Fatalf("%s documents %q, which this test does not know", c.script, name)
	return ""
}

// pipelined is a recorder of commands in pipelines too.
type pipelined struct{ recorder }

func (r *pipelined) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			r.sent = append(r.sent, slices.Clone(cmd.Args()))
			if r.offline {
				cmd.SetErr(redis.ErrClosed)
			}
		}
		if r.offline {
			return redis.ErrClosed
		}
		return next(ctx, cmds)
	}
}

func TestSlotWrappersPassWhatContractsName(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	r := &pipelined{recorder{offline: true}}
	client.AddHook(r)
	store, err := New(client, Options{Prefix: "contract"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range slotCalls() {
		t.Run(fmt.Sprintf("%s/%s/%d", c.script, c.letters, c.ids), func(t *testing.T) {
			doc := readContract(t, c.script+".lua")
			r.sent = nil
			if err := c.do(store, c.call); err == nil || len(r.sent) == 0 {
				t.Fatalf("%d commands, error %v; want one, refused", len(r.sent), err)
			}
			words := r.sent[0]
			sc := scripts[slices.IndexFunc(scripts, func(s *script) bool { return s.name == c.script })]
			if text(words[1]) != string(sc.sha) {
				t.Fatalf("sent %v %v, want %s", words[0], words[1], sc.sha)
			}
			numkeys, err := strconv.Atoi(text(words[2]))
			if err != nil {
				t.Fatal(err)
			}
			n := len(c.letters) + c.ids
			for kind, passed := range map[string][]any{"KEYS": words[3 : 3+numkeys], "ARGV": words[3+numkeys:]} {
				documented, seen := doc.keys, 0
				if kind == "ARGV" {
					documented = doc.argv
				}
				for _, p := range documented {
					for i, place := range p.at(n) {
						seen++
						if place > len(passed) {
							t.Errorf("%s[%d] %s is documented, but only %d are passed", kind, place, p.name, len(passed))
						} else if got, want := text(passed[place-1]), c.wants(t, store, p.name, i); got != want {
							t.Errorf("%s[%d] %s is %q, want %q", kind, place, p.name, got, want)
						}
					}
				}
				if seen != len(passed) {
					t.Errorf("%d of %s are passed, %d are documented", len(passed), kind, seen)
				}
			}
		})
	}
}

// TestSlotReplies: the replies have the length that the wrapper wants, on each server,
// and no key stays for ever.
func TestSlotReplies(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		client := server.Client(t)
		store, err := New(client, Options{Prefix: redistest.Prefix(t), Budget: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range slotCalls() {
			for range 2 {
				c.call.Now = 0
				if err := c.do(store, c.call); err != nil {
					t.Errorf("%s on %q: %v", c.script, c.letters, err)
				}
			}
		}
		redistest.NoImmortalKeys(t, client, store.prefix)
	})
}
