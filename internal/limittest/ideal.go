package limittest

import "slices"

// Ideal is the exact sliding window. It knows the true instant of each permit and forgets
// none. A permit that was used at u counts in [u, u + window).
type Ideal struct {
	uses []use // by rising instant
}

type use struct {
	decision int
	at, cost int64
}

// Spend records the use of cost permits at an instant. Instants must not go back.
func (l *Ideal) Spend(decision int, at, cost int64) {
	l.uses = append(l.uses, use{decision, at, cost})
}

// Refund takes back n permits of a decision.
func (l *Ideal) Refund(decision int, n int64) {
	for i := range l.uses {
		if l.uses[i].decision == decision {
			l.uses[i].cost -= n
		}
	}
}

// Forget removes all uses.
func (l *Ideal) Forget() { l.uses = nil }

// Live returns the number of permits in (at - window, at]: those that share a window with
// a use at that instant.
func (l *Ideal) Live(at, window int64) (n int64) {
	for _, u := range l.uses {
		if u.at > at-window {
			n += u.cost
		}
	}
	return n
}

// Wait returns how long until cost permits pass if nobody else spends any; 0 means now.
func (l *Ideal) Wait(at, window, quota, cost int64) (wait int64) {
	excess := l.Live(at, window) + cost - quota
	for _, u := range l.uses {
		if excess > 0 && u.cost > 0 && u.at > at-window {
			excess -= u.cost
			wait = u.at + window - at
		}
	}
	return wait
}

// Reset returns how long until more permits remain than now; 0 if none is spent.
func (l *Ideal) Reset(at, window, quota int64) int64 {
	live := l.Live(at, window)
	if live == 0 {
		return 0
	}
	return l.Wait(at, window, quota, max(quota-live, 0)+1)
}

// Worst returns the largest number of permits in any half-open window.
func (l *Ideal) Worst(window int64) (worst int64) {
	for i, first := range l.uses {
		n := int64(0)
		for _, u := range l.uses[i:] {
			if u.at < first.at+window {
				n += u.cost
			}
		}
		worst = max(worst, n)
	}
	return worst
}

// Total returns the number of permits that were used and not refunded.
func (l *Ideal) Total() (n int64) {
	for _, u := range l.uses {
		n += u.cost
	}
	return n
}

// clone copies the log.
func (l *Ideal) clone() *Ideal { return &Ideal{uses: slices.Clone(l.uses)} }
