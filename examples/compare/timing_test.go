package compare

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatekit/gatekit/internal/redistest"
)

// slack is how far the clocks of this process and of the server may run apart during an
// experiment.
const slack = 2 * time.Millisecond

// A hit is a call with its times: Redis decided between sent and done.
type hit struct {
	sent, done time.Time
	answer
}

func hitOnce(one take, key string) (hit, error) {
	h := hit{sent: time.Now()}
	var err error
	h.answer, err = one(key)
	h.done = time.Now()
	return h, err
}

// worstWindow lets an adversary spend as much as it can within one window. It makes one
// call, waits until a share of the window has passed, then spends all and goes on asking
// for the length of a window. So it meets the edge of fixed windows, however they are
// aligned, the permits that token buckets refill meanwhile, and those that a two-window
// counter has forgotten.
func worstWindow(t *testing.T, l rateLimiter) (finding, error) {
	lim := limit{50, 2 * time.Second}
	var (
		wg     sync.WaitGroup
		shares = []float64{0.90, 0.97}
		most   = make([]int, len(shares))
		faults = make([]error, len(shares))
	)
	for i, share := range shares {
		a, err := onShared(t, l, lim)
		if err != nil {
			return finding{}, err
		}
		key := redistest.Prefix(t)
		wg.Go(func() { most[i], faults[i] = adversary(a.all, key, lim, share) })
	}
	wg.Wait()
	worst := slices.Max(most)
	if worst == 0 {
		return finding{}, errors.Join(faults...)
	}
	return finding{fmt.Sprintf("%.2f", float64(worst)/float64(lim.quota)), worst <= lim.quota}, nil
}

// adversary returns the largest number of calls let through in one window, and the last
// error. A call that fails lets nothing through.
func adversary(one take, key string, lim limit, share float64) (most int, fault error) {
	start := time.Now()
	spend := start.Add(time.Duration(share * float64(lim.window)))
	var hits []hit
	for first := true; first || time.Since(spend) < lim.window; first = false {
		h, err := hitOnce(one, key)
		if err != nil {
			fault = err
		}
		hits = append(hits, h)
		switch {
		case first:
			time.Sleep(time.Until(spend))
		case !h.allowed:
			time.Sleep(lim.window / 200)
		}
	}
	return mostWithin(hits, lim.window-slack), fault
}

// mostWithin returns the largest number of hits that certainly lie in one window,
// whenever Redis decided between their sending and their end.
func mostWithin(hits []hit, window time.Duration) (most int) {
	hits = slices.DeleteFunc(hits, func(h hit) bool { return !h.allowed })
	for i, first := range hits {
		n := 0
		for _, h := range hits[i:] {
			if h.done.Before(first.sent.Add(window)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func TestMostWithin(t *testing.T) {
	at := func(sent, done int, allowed bool) hit {
		return hit{time.UnixMilli(int64(sent)), time.UnixMilli(int64(done)), answer{allowed: allowed}}
	}
	hits := []hit{at(0, 1, true), at(5, 6, false), at(9, 11, true), at(10, 12, true), at(18, 19, true), at(18, 21, true)}
	if got := mostWithin(hits, 10*time.Millisecond); got != 2 { // from 9: not the one that may be of 19
		t.Errorf("got %d, want 2", got)
	}
}

// retryAfter compares the instant that the limiter named with the instant at which a call
// really passes. It does so three times, a third of a second apart, because a limiter
// that counts in whole seconds is right now and then.
func retryAfter(t *testing.T, l rateLimiter) (finding, error) {
	lim := limit{5, 2 * time.Second}
	var (
		wg     sync.WaitGroup
		late   [3]time.Duration
		faults [3]error
	)
	for i := range late {
		a, err := onShared(t, l, lim)
		if err != nil {
			return finding{}, err
		}
		key := redistest.Prefix(t)
		wg.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / 3)
			late[i], faults[i] = toldLate(a.all, key, lim)
		})
	}
	wg.Wait()
	if err := errors.Join(faults[:]...); errors.Is(err, errTellsNone) {
		return finding{cell: "tells none"}, nil
	} else if err != nil {
		return finding{}, err
	}
	switch first, last := slices.Min(late[:]), slices.Max(late[:]); {
	case first == 0 && last == 0:
		return finding{"true", true}, nil
	case last > -first:
		return finding{cell: fmt.Sprintf("%.1f s too late", last.Seconds())}, nil
	default:
		return finding{cell: fmt.Sprintf("%.1f s too early", -first.Seconds())}, nil
	}
}

var errTellsNone = errors.New("it doesn't tell when to come again")

// toldLate uses a limit up and asks again and again. It returns how much too late the
// instant was that the limiter named: negative for too early, 0 if the calls don't prove
// it wrong.
func toldLate(one take, key string, lim limit) (time.Duration, error) {
	h, err := hitOnce(one, key)
	for n := 1; err == nil && h.allowed; n++ {
		if n > 4*lim.quota {
			return 0, errors.New("it never denied")
		}
		time.Sleep(50 * time.Millisecond) // apart, so that the first permit comes back alone
		h, err = hitOnce(one, key)
	}
	if err != nil {
		return 0, err
	}
	if h.retryAt.IsZero() {
		return 0, errTellsNone
	}
	// The limiter computed the instant when Redis decided, between sent and done; retryAt
	// counts from done.
	told, earliest := h.retryAt.Add(slack), h.retryAt.Add(-h.done.Sub(h.sent)-slack)
	refused := false // at an instant at which it should have passed
	for giveUp := h.done.Add(2 * lim.window); time.Now().Before(giveUp); time.Sleep(5 * time.Millisecond) {
		if h, err = hitOnce(one, key); err != nil {
			return 0, err
		}
		switch {
		case !h.allowed:
			refused = refused || h.sent.After(told)
		case refused:
			return told.Sub(h.done), nil
		case h.done.Before(earliest):
			return earliest.Sub(h.done), nil
		default:
			return 0, nil
		}
	}
	return 0, errors.New("no call passed")
}
