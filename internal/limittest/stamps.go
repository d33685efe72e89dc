package limittest

import (
	"fmt"
	"slices"
	"strconv"
)

// stamps models SlidingWindow, and SlidingLog if named is set.
type stamps struct {
	window  int64
	named   bool
	permits []permit // oldest first
	era     int64    // how often the stamps were shifted, modulo 3; part of their names
}

type permit struct {
	stamp    int64
	decision int
	call     string // of a named one
}

// era is the distance between the names of a stamp in two eras, so that a name from
// before a shift never means a stamp from after it. SlidingLog does not need it: it has
// the names of calls.
const era = 3_000_000_000_000_000

// lead returns how far ahead of the clock a stamp may lie.
func lead(window int64) int64 { return min(window/4, 5_000_000) }

// nth returns the nth newest permit's stamp if that permit is live.
func (l *stamps) nth(n, now int64) (stamp int64, live bool) {
	i := int64(len(l.permits)) - n
	if i < 0 {
		return 0, false
	}
	stamp = l.permits[i].stamp
	return stamp, stamp > now-l.window
}

func (l *stamps) read(c Call) (wait int64) {
	bar, live := l.nth(c.quota-c.Cost+1, c.Now)
	// If the bar is live and not in the future, the call is denied and the newest stamp
	// is not read.
	if l.named || !live || bar > c.Now {
		l.repair(c.Now)
	}
	return l.waits(c)
}

func (l *stamps) waits(c Call) (wait int64) {
	bar, live := l.nth(c.quota-c.Cost+1, c.Now)
	if !live {
		return 0
	}
	return bar + l.window - c.Now
}

// repair shifts the stamps back so that the newest is within lead of the clock.
func (l *stamps) repair(now int64) {
	if len(l.permits) == 0 {
		return
	}
	ahead := l.permits[len(l.permits)-1].stamp + 1 - now - lead(l.window)
	if ahead <= 0 {
		return
	}
	for i := range l.permits {
		l.permits[i].stamp -= ahead
	}
	if !l.named {
		l.era = (l.era + 1) % 3
	}
	l.drop(now)
}

// drop removes the permits that no longer count.
func (l *stamps) drop(now int64) {
	l.permits = slices.DeleteFunc(l.permits, func(p permit) bool { return p.stamp <= now-l.window })
}

func (l *stamps) look(c Call) State {
	live := slices.Clone(l.permits)
	live = slices.DeleteFunc(live, func(p permit) bool { return p.stamp <= c.Now-l.window })
	s := State{Remaining: max(c.quota-int64(len(live)), 0)}
	if n := min(int64(len(live)), c.quota); n > 0 {
		// After the quota was lowered, more permits than the quota may be live. Then the
		// first that end give nothing back.
		s.Reset = live[int64(len(live))-n].stamp + l.window - c.Now
	}
	return s
}

func (l *stamps) spend(c Call) State {
	stamp := c.Now
	if n := len(l.permits); n > 0 {
		stamp = max(stamp, l.permits[n-1].stamp+1)
	}
	if n := len(l.permits); n > 0 && l.permits[n-1].stamp <= c.Now-l.window-lead(l.window) {
		l.era = 0 // the list is deleted
	}
	l.drop(c.Now)
	for range c.Cost {
		l.permits = append(l.permits, permit{stamp, c.Decision, c.Name})
	}
	s := l.look(c)
	s.Stamp = stamp + l.era*era
	return s
}

func (l *stamps) refund(c Call, stamp int64) (given int64, owners []int) {
	if stamp/era != l.era || stamp%era <= c.Now-l.window {
		return 0, nil
	}
	stamp %= era
	for i := len(l.permits) - 1; i >= 0 && given < c.Cost; i-- {
		if p := l.permits[i]; p.stamp == stamp && (!l.named || p.call == c.Name) {
			l.permits = slices.Delete(l.permits, i, i+1)
			given, owners = given+1, append(owners, p.decision)
		}
	}
	if given > 0 && len(l.permits) == 0 && l.era > 0 {
		l.trace(c.Now)
	}
	return given, owners
}

func (l *stamps) admitted(c Call) (stamp, cost int64) {
	if !l.named {
		return 0, 0
	}
	for _, p := range l.permits {
		if p.call == c.Name && p.stamp > c.Now-l.window {
			stamp, cost = p.stamp, cost+1
		}
	}
	return stamp, cost
}

func (l *stamps) contents() []string {
	text, nth := make([]string, 0, len(l.permits)), map[string]int{}
	for _, p := range l.permits {
		if !l.named {
			text = append(text, strconv.FormatInt(p.stamp+l.era*era, 10))
			continue
		}
		nth[p.call]++
		text = append(text, fmt.Sprintf("%s#%d=%d", p.call, nth[p.call], p.stamp))
	}
	return text
}

func (l *stamps) until(now int64) int64 {
	if len(l.permits) == 0 {
		return 0
	}
	end := l.permits[len(l.permits)-1].stamp + l.window
	if end <= now {
		return 0
	}
	return end
}

// reset keeps an era, so that no stamp from after the reset gets the name of one from
// before. If stamps lie ahead of the clock, it is the next era. Otherwise it is the
// present one, unless that is 0.
func (l *stamps) reset(now int64) {
	if l.named || len(l.permits) == 0 {
		l.forget()
		return
	}
	switch newest := l.permits[len(l.permits)-1].stamp; {
	case newest >= now:
		l.era = (l.era + 1) % 3
		l.trace(now)
	case l.era > 0 && newest > now-l.window-lead(l.window):
		l.trace(now)
	default:
		l.forget()
	}
}

// trace leaves a dead stamp that names the era.
func (l *stamps) trace(now int64) {
	l.permits = []permit{{stamp: now - l.window, decision: -1}}
}

func (l *stamps) forget() { l.permits, l.era = nil, 0 }

func (l *stamps) clone() counter {
	c := *l
	c.permits = slices.Clone(l.permits)
	return &c
}
