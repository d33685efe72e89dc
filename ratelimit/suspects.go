package ratelimit

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/gatekit/gatekit/internal/store"
)

// suspects remembers which keys were denied a moment ago, so that they are asked before
// others, see [together.spread]. It is a fixed table and forgets: a key whose slot
// another one took is asked together with the others, and given back if need be. It is
// safe for concurrent use.
type suspects struct {
	seed  maphash.Seed // which no client knows, so none can choose a slot
	start time.Time
	slots [4096]atomic.Uint64 // 24 bits of a hash, then 40 bits of the ms from start until when
}

func newSuspects() *suspects { return &suspects{seed: maphash.MakeSeed(), start: time.Now()} }

const suspectBits = 40

// slot returns the slot of a tag, and the bits of its hash that the slot holds.
func (s *suspects) slot(tag store.Tag) (slot *atomic.Uint64, hash uint64) {
	sum := maphash.Comparable(s.seed, tag)
	return &s.slots[sum%uint64(len(s.slots))], sum >> suspectBits
}

// add remembers the tag until an instant.
func (s *suspects) add(tag store.Tag, until time.Time) {
	slot, hash := s.slot(tag)
	ms := uint64(until.Sub(s.start).Milliseconds())
	slot.Store(hash<<suspectBits | min(ms, 1<<suspectBits-1))
}

// has reports whether the tag is remembered.
func (s *suspects) has(tag store.Tag, now time.Time) bool {
	slot, hash := s.slot(tag)
	held := slot.Load()
	return held>>suspectBits == hash && held&(1<<suspectBits-1) > uint64(now.Sub(s.start).Milliseconds())
}
