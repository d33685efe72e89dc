package compare

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/gatekit/gatekit/internal/redistest"
)

var sessionChecks = []check[sessionKit]{
	{"late-save", "alive again after logout, by a request under way (of 10)", lateSave},
	{"lost-updates", "of 50 parallel requests, how many keep their value", lostUpdates},
	{"guest-token", "the token from before the login is logged in after it", guestToken},
	{"redis-reader", "who can read Redis can log in with what is there", redisReader},
	{"store-down", "a logged-in visitor while Redis refuses connections", storeDown},
	{"failed-read", "the session after one read that failed and a write that did not", failedRead},
	{"revoke", "ending a user's 3 sessions among 200 others", revokeUser},
	{"frozen", "one read while Redis stands still, options as they come", frozenSession(plain)},
	{"frozen-recommended", "the same, timeouts of 100 ms", frozenSession(recommended)},
}

// onServer opens a site, on the shared server, and logs alice in.
func onServer(t *testing.T, k sessionKit) (site, page, error) {
	s, err := k.open(t, recommended, redistest.Single(t).Addrs()[0])
	if err != nil {
		return site{}, page{}, err
	}
	p, err := s.login("alice")
	return s, p, err
}

func lateSave(t *testing.T, k sessionKit) (finding, error) {
	const trials = 10
	alive := 0
	for range trials {
		s, p, err := onServer(t, k)
		if err != nil {
			return finding{}, err
		}
		there, release, done := s.held("/set?name="+numbered[0], p.cookie)
		s.get("/logout", p.cookie)
		before, err := s.alive(p.cookie)
		release()
		if late := <-done; !there {
			return finding{}, fmt.Errorf("the request under way answers %d", late.status)
		}
		if err != nil || before {
			return finding{}, errors.Join(err, errors.New("logout does not log out"))
		}
		after, err := s.alive(p.cookie)
		if err != nil {
			return finding{}, err
		}
		if after {
			alive++
		}
	}
	return finding{fmt.Sprint(alive), alive == 0}, nil
}

// lostUpdates lets all requests read the session before the first of them writes.
func lostUpdates(t *testing.T, k sessionKit) (finding, error) {
	s, p, err := onServer(t, k)
	if err != nil {
		return finding{}, err
	}
	var wg sync.WaitGroup
	var releases []func()
	var saved [len(numbered)]bool
	for i, name := range numbered {
		_, release, done := s.held("/set?name="+name, p.cookie)
		releases = append(releases, release)
		wg.Go(func() { saved[i] = (<-done).status == http.StatusOK })
	}
	for _, release := range releases {
		release()
	}
	wg.Wait()
	said := 0 // requests whose answer said that the value was saved
	for _, ok := range saved {
		if ok {
			said++
		}
	}
	var kept int
	if _, err := fmt.Sscanf(s.get("/", p.cookie).body, "user=alice values=%d", &kept); err != nil {
		return finding{}, err
	}
	cell := fmt.Sprint(kept)
	if said < len(numbered) {
		cell += fmt.Sprintf(", %d told of an error", len(numbered)-said)
	}
	return finding{cell, kept >= said && said > 0}, nil
}

// guestToken looks whether a guest's cookie is logged in after the login. An attacker
// could plant such a cookie in the victim's browser.
func guestToken(t *testing.T, k sessionKit) (finding, error) {
	s, _, err := onServer(t, k)
	if err != nil {
		return finding{}, err
	}
	guest := s.get("/set?name="+numbered[0], "")
	if guest.cookie == "" {
		return finding{}, errors.New("no cookie for a guest")
	}
	in := s.get("/login?user=alice", guest.cookie)
	if ok, err := s.alive(in.cookie); err != nil || !ok {
		return finding{}, errors.Join(err, errors.New("login does not log in"))
	}
	still, err := s.alive(guest.cookie)
	return yes(still), err
}

// yes returns the finding about something that should not happen.
func yes(found bool) finding {
	if found {
		return finding{"yes", false}
	}
	return finding{"no", true}
}

// storeDown asks for a page with a good cookie while Redis refuses connections.
func storeDown(t *testing.T, k sessionKit) (finding, error) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	s, err := k.open(t, recommended, proxy.Addr())
	if err != nil {
		return finding{}, err
	}
	p, err := s.login("alice")
	if err != nil {
		return finding{}, err
	}
	proxy.Refuse(true)
	p = s.get("/", p.cookie)
	cell := fmt.Sprint(p.status)
	if p.status == http.StatusOK {
		cell += ", shown as logged out"
	}
	if p.set {
		cell += ", cookie lost"
	}
	return finding{cell, p.status >= 500 && !p.set}, nil
}

// failedRead sends a request that changes its session. Redis refuses connections while
// the request reads, not while it writes.
func failedRead(t *testing.T, k sessionKit) (finding, error) {
	proxy := redistest.NewProxy(t, redistest.Single(t).Addrs()[0])
	s, err := k.open(t, recommended, proxy.Addr())
	if err != nil {
		return finding{}, err
	}
	p, err := s.login("alice")
	if err != nil {
		return finding{}, err
	}
	proxy.Refuse(true)
	_, release, done := s.held("/set?name="+numbered[0], p.cookie)
	proxy.Refuse(false)
	release()
	status := (<-done).status
	after := s.get("/", p.cookie)
	for range 20 { // a connection from before may fail once more
		if after.status == http.StatusOK {
			break
		}
		after = s.get("/", p.cookie)
	}
	switch {
	case after.status != http.StatusOK:
		return finding{}, fmt.Errorf("answers %d after all", after.status)
	case after.loggedIn():
		return finding{fmt.Sprintf("whole (answer %d)", status), true}, nil
	}
	return finding{fmt.Sprintf("wiped (answer %d)", status), false}, nil
}

// revokeUser ends the sessions of a user by the kit's own call, and counts the commands.
func revokeUser(t *testing.T, k sessionKit) (finding, error) {
	proxy := redistest.NewProxy(t, redistest.NewSingle(t).Addrs()[0])
	s, err := k.open(t, recommended, proxy.Addr())
	if err != nil {
		return finding{}, err
	}
	if s.revoke == nil {
		return finding{cell: "no call for it"}, nil
	}
	var cookies []string
	for range 3 {
		p, err := s.login("alice")
		if err != nil {
			return finding{}, err
		}
		cookies = append(cookies, p.cookie)
	}
	for i := range 200 {
		if _, err := s.login(fmt.Sprintf("other%d", i)); err != nil {
			return finding{}, err
		}
	}
	traffic := proxy.During(func() { err = s.revoke("alice") })
	if err != nil {
		return finding{}, err
	}
	ended := 0
	for _, cookie := range cookies {
		alive, err := s.alive(cookie)
		if err != nil {
			return finding{}, err
		}
		if !alive {
			ended++
		}
	}
	return finding{fmt.Sprintf("%d ended, %d commands", ended, traffic.Commands.Total()), ended == len(cookies)}, nil
}

// frozenSession times a request that reads its session from a server that stands still.
func frozenSession(o clientOptions) func(*testing.T, sessionKit) (finding, error) {
	return func(t *testing.T, k sessionKit) (finding, error) {
		server := redistest.NewSingle(t)
		s, err := k.open(t, o, server.Addrs()[0])
		if err != nil {
			return finding{}, err
		}
		p, err := s.login("alice")
		if err != nil {
			return finding{}, err
		}
		took, cut := timed(func() { server.Freeze(t) }, func() { server.Thaw(t) }, func() { p = s.get("/", p.cookie) })
		if !cut && p.status == http.StatusOK && p.loggedIn() {
			return finding{}, errors.New("the server was not asked")
		}
		f := stood(took, cut)
		if !cut {
			f.cell += fmt.Sprintf(" (answer %d)", p.status)
		}
		return f, nil
	}
}
