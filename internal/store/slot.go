package store

import (
	"context"
	"strconv"
	"time"
)

// MaxSlotIDs is how many holders one [SlotHolders] has at most.
const MaxSlotIDs = 100

// A SlotSpec is a concurrency limit in the form that the scripts get. Package ratelimit
// checks its ranges.
type SlotSpec struct {
	Name   string        // part of the key
	Slots  int64         // most under way at once
	Length time.Duration // how long a slot is held that nobody prolongs, whole microseconds
}

// A SlotLimit is a concurrency limit, encoded once. It does not change.
type SlotLimit struct{ suffix, slots, length string }

// NewSlotLimit encodes a concurrency limit.
func NewSlotLimit(spec SlotSpec) *SlotLimit {
	length := strconv.FormatInt(spec.Length.Microseconds(), 10)
	// The length is part of the key: a process with a longer one would count on holders
	// that another with a shorter one drops.
	return &SlotLimit{suffix: spec.Name + ":s" + length, slots: strconv.FormatInt(spec.Slots, 10), length: length}
}

// A SlotCall asks for a slot of Limit, and for Cost permits of each limit of Rates.
type SlotCall struct {
	Limit *SlotLimit
	Rates *LimitSet // of the same policy, without a sticky one; nil for none
	Tag   Tag       // who is limited, see [MakeTag]
	Cost  int64     // slots and permits, 1 .. the smallest quota

	// ID names the holder: 22 random characters of base64url, never used for another
	// acquisition. A call that is sent again with the same id takes nothing again.
	ID string
	// Process waits in the key's line if it is denied. Empty means that it does not wait,
	// and comes behind all that do.
	Process string

	// Now replaces the server's clock, unix µs. Only tests set it; 0 asks the server.
	Now int64
}

// The verdicts of [SlotReply].
const (
	SlotDenied   = 0
	SlotAcquired = 1
	SlotHeld     = 2 // by this id already: an earlier reply was lost
)

// A SlotReply is the reply of [Store.SlotAcquire].
type SlotReply []int64

// Verdict returns SlotDenied, SlotAcquired or SlotHeld.
func (r SlotReply) Verdict() int64 { return r[0] }

// Fence returns the number of the acquisition, which rises with each one of the key; 0
// when denied.
func (r SlotReply) Fence() int64 { return r[1] }

// Wait returns when to ask again because the slots are full or others wait ahead. It is a
// guess. 0 means that the slots do not deny.
func (r SlotReply) Wait() time.Duration { return time.Duration(r[2]) * time.Microsecond }

// Free returns the number of slots that nobody holds.
func (r SlotReply) Free() int64 { return r[3] }

// Rates returns the state of the rate limits. Its verdict is Allowed if they were charged
// by this id.
func (r SlotReply) Rates() LimitReply {
	return append(LimitReply{min(r[0], int64(Allowed))}, r[4:]...)
}

// SlotAcquire takes a slot and spends the cost from every rate limit, or neither. The
// error is [ErrUnavailable], and also [ErrUnknownOutcome] when the slot may be held: then
// release it.
func (s *Store) SlotAcquire(ctx context.Context, call SlotCall) (SlotReply, error) {
	rates := 0
	if call.Rates != nil {
		rates = call.Rates.Len()
	}
	c := s.begin(ctx, slotAcquire, rates+3)
	if rates > 0 {
		s.limitKeys(c, LimitCall{Set: call.Rates, Tag: call.Tag}, false)
	}
	s.slotKeys(c, call.Limit, call.Tag, kindHolders, kindMeta, kindLine)
	c.words = append(c.words, instant(call.Now), call.Cost)
	if rates > 0 {
		c.words = append(c.words, call.Rates.words...)
	}
	c.words = append(c.words, call.Limit.slots, call.Limit.length, call.ID, call.Process, s.slotChannel())
	return s.do(c, 4+4*rates)
}

// SlotLeave takes the process of the call out of the key's line.
func (s *Store) SlotLeave(ctx context.Context, call SlotCall) error {
	c := s.begin(ctx, slotLeave, 3)
	s.slotKeys(c, call.Limit, call.Tag, kindHolders, kindMeta, kindLine)
	c.words = append(c.words, instant(call.Now), call.Limit.slots, call.Limit.length, s.slotChannel(), call.Process)
	_, err := s.do(c, 1)
	return err
}

// SlotHolders are holders of one key.
type SlotHolders struct {
	Limit *SlotLimit
	Tag   Tag
	IDs   []string // 1 to [MaxSlotIDs]

	// Now replaces the server's clock, unix µs. Only tests set it; 0 asks the server.
	Now int64
}

// SlotBeat prolongs the slots of many holders, one command a key, in one round trip to
// each node. For each id it returns 1, or 0 if it holds no slot.
func (s *Store) SlotBeat(ctx context.Context, keys []SlotHolders) ([][]int64, []error) {
	runs, want := make([]*run, len(keys)), make([]int, len(keys))
	for i, k := range keys {
		c := s.begin(ctx, slotBeat, 2)
		s.slotKeys(c, k.Limit, k.Tag, kindHolders, kindMeta)
		c.words = append(c.words, instant(k.Now), k.Limit.length)
		runs[i], want[i] = c.ids(k.IDs), len(k.IDs)
	}
	return s.doMany(ctx, runs, want)
}

// SlotRelease gives back the slots of many holders as SlotBeat prolongs them. For each id
// it returns how much it held, 0 if nothing.
func (s *Store) SlotRelease(ctx context.Context, keys []SlotHolders) ([][]int64, []error) {
	runs, want := make([]*run, len(keys)), make([]int, len(keys))
	for i, k := range keys {
		c := s.begin(ctx, slotRelease, 3)
		s.slotKeys(c, k.Limit, k.Tag, kindHolders, kindMeta, kindLine)
		c.words = append(c.words, instant(k.Now), k.Limit.slots, k.Limit.length, s.slotChannel())
		runs[i], want[i] = c.ids(k.IDs), len(k.IDs)
	}
	if len(runs) == 1 {
		given, err := s.do(runs[0], want[0])
		return [][]int64{given}, []error{err}
	}
	return s.doMany(ctx, runs, want)
}

func (c *run) ids(ids []string) *run {
	for _, id := range ids {
		c.words = append(c.words, id)
	}
	return c
}

// slotKeys appends the keys of a concurrency limit.
func (s *Store) slotKeys(c *run, limit *SlotLimit, tag Tag, kinds ...byte) {
	for _, kind := range kinds {
		key := string(s.appendKey(nil, kind, tag, limit.suffix))
		if c.names[0] == "" { // by which the server of the call is found
			c.names[0] = key
		}
		c.addKey(key)
	}
}

// SlotKey returns the key of a concurrency limit by which [Store.SlotWatch] names it.
func (s *Store) SlotKey(limit *SlotLimit, tag Tag) string {
	return string(s.appendKey(nil, kindHolders, tag, limit.suffix))
}

// SlotWatch calls wake with the [Store.SlotKey] of a limit that may have room for the
// process, which waits in its line. It calls missed when it may have missed some, as
// [Store.SessionWatch] does, and returns the cause when ctx ends.
func (s *Store) SlotWatch(ctx context.Context, process string, heartbeat time.Duration, wake func(key string), missed func()) error {
	return s.listenTo(ctx, &watch{channel: s.slotChannel() + process, heartbeat: heartbeat, message: wake, missed: missed})
}
