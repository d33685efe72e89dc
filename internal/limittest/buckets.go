package limittest

import (
	"fmt"
	"maps"
	"slices"
)

// parts is the number of sub-windows of SlidingBuckets.
const parts = 16

// buckets models SlidingBuckets. It counts permits by the index of the sub-window in
// which they were spent, j = now / span.
type buckets struct {
	window     int64
	spent      map[int64]int64
	owners     map[int64][]int // decisions by bucket
	top        int64           // the newest bucket, -1 if there is none
	generation int64           // how often the buckets were renumbered
}

// span returns the length of a sub-window.
func (l *buckets) span() int64 { return (l.window + parts - 1) / parts }

func (l *buckets) read(c Call) (wait int64) {
	index := c.Now / l.span()
	if ahead := l.top - index - 1; ahead > 0 {
		l.renumber(index, ahead)
	}
	return l.waits(c)
}

func (l *buckets) waits(c Call) (wait int64) {
	index := c.Now / l.span()
	excess := l.live(index) + c.Cost - c.quota
	for _, j := range l.indexes(index) {
		if excess <= 0 {
			break
		}
		excess -= l.spent[j]
		wait = l.end(j) - c.Now
	}
	return wait
}

// renumber moves all buckets back by ahead, and drops those that no longer count.
func (l *buckets) renumber(index, ahead int64) {
	moved, owners := map[int64]int64{}, map[int64][]int{}
	for j, n := range l.spent {
		if j-ahead >= index-parts {
			moved[j-ahead], owners[j-ahead] = n, l.owners[j]
		}
	}
	l.spent, l.owners, l.top, l.generation = moved, owners, l.top-ahead, l.generation+1
}

// end returns when the permits of bucket j come back: a window after the bucket's own
// end.
func (l *buckets) end(j int64) int64 { return (j + parts + 1) * l.span() }

// indexes returns the buckets whose permits count at an index, oldest first.
func (l *buckets) indexes(index int64) (all []int64) {
	for _, j := range slices.Sorted(maps.Keys(l.spent)) {
		if j >= index-parts && l.spent[j] > 0 {
			all = append(all, j)
		}
	}
	return all
}

func (l *buckets) live(index int64) (n int64) {
	for _, j := range l.indexes(index) {
		n += l.spent[j]
	}
	return n
}

func (l *buckets) look(c Call) State {
	index := c.Now / l.span()
	live := l.live(index)
	s := State{Remaining: max(c.quota-live, 0)}
	// After the quota was lowered, more permits than the quota may be live. Then the
	// first buckets that end give nothing back.
	for _, j := range l.indexes(index) {
		live -= l.spent[j]
		if s.Reset = l.end(j) - c.Now; live < c.quota {
			break
		}
	}
	return s
}

func (l *buckets) spend(c Call) State {
	index := c.Now / l.span()
	if index > l.top {
		maps.DeleteFunc(l.spent, func(j, _ int64) bool { return j < index-parts })
		l.top = index
	}
	l.spent[l.top] += c.Cost
	if l.owners == nil {
		l.owners = map[int64][]int{}
	}
	l.owners[l.top] = append(l.owners[l.top], c.Decision)
	s := l.look(c)
	s.Stamp = l.top*256 + l.generation%256
	return s
}

func (l *buckets) refund(c Call, stamp int64) (given int64, owners []int) {
	j := stamp / 256
	if l.generation%256 != stamp%256 || j < c.Now/l.span()-parts || l.spent[j] < c.Cost {
		return 0, nil
	}
	owners = l.owners[j]
	if slices.Contains(owners, c.Decision) {
		owners = []int{c.Decision}
	}
	if l.spent[j] -= c.Cost; l.spent[j] == 0 {
		delete(l.spent, j)
		delete(l.owners, j)
		l.top = -1
		for left := range l.spent {
			l.top = max(l.top, left)
		}
	}
	return c.Cost, owners
}

func (*buckets) admitted(Call) (stamp, cost int64) { return 0, 0 }

func (l *buckets) contents() (text []string) {
	for j, n := range l.spent {
		text = append(text, fmt.Sprintf("%d=%d", j, n))
	}
	if l.generation > 0 {
		text = append(text, fmt.Sprintf("g=%d", l.generation))
	}
	return text
}

func (l *buckets) until(now int64) int64 {
	if l.top < 0 || l.end(l.top) <= now {
		return 0
	}
	return l.end(l.top)
}

func (l *buckets) forget() {
	*l = buckets{window: l.window, spent: map[int64]int64{}, top: -1}
}

// reset keeps the generation and adds one, so that a refund of a permit from before the
// reset does not take one from after it.
func (l *buckets) reset(int64) {
	if l.top >= 0 || l.generation > 0 {
		*l = buckets{window: l.window, spent: map[int64]int64{}, top: -1, generation: l.generation + 1}
	}
}

func (l *buckets) clone() counter {
	c := *l
	c.spent, c.owners = maps.Clone(l.spent), maps.Clone(l.owners)
	return &c
}
