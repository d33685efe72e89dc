package main

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"runtime"
	"strings"
	"sync"
)

// demoPasswords are shown on the login page; there is no registration.
var demoPasswords = []struct{ Name, Password string }{
	{"alice", "down the rabbit hole"},
	{"bob", "yes we can fix it"},
}

// users stands for the site's table of users. It is safe for concurrent use.
type users struct {
	byName map[string]credential
	decoy  credential // checked in place of a user who does not exist

	mu     sync.Mutex        // guards emails
	emails map[string]string // recovery address by user; the account page protects it
}

type credential struct{ salt, hash []byte }

func demoUsers() *users {
	u := &users{byName: map[string]credential{}, emails: map[string]string{}}
	for _, d := range demoPasswords {
		u.byName[d.Name] = newCredential(d.Password)
		u.emails[d.Name] = d.Name + "@example.com"
	}
	u.decoy = newCredential(rand.Text())
	return u
}

// verify checks a password. A name that does not exist takes the same time as one that
// does.
func (u *users) verify(name, password string) bool {
	c, exists := u.byName[name]
	if !exists {
		c = u.decoy
	}
	return subtle.ConstantTimeCompare(stretch(password, c.salt), c.hash) == 1 && exists
}

func (u *users) email(name string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.emails[name]
}

func (u *users) setEmail(name, email string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.emails[name] = email
}

// accountName returns the one spelling of a user name, so that "Alice" and "alice" are
// counted as one account.
func accountName(typed string) string { return strings.ToLower(strings.TrimSpace(typed)) }

func newCredential(password string) credential {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	return credential{salt, stretch(password, salt)}
}

// rounds are OWASP's figure for PBKDF2 with SHA-256; a guess then costs about a tenth of
// a second. Tests lower it.
var rounds = 600_000

// stretching bounds how many passwords are stretched at a time. Without a bound, guesses
// sent at once would take every processor and slow down the rest of the site.
var stretching = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// stretch makes guessing slow. It uses PBKDF2 because the standard library has it.
// Argon2id is better, if you accept another dependency.
func stretch(password string, salt []byte) []byte {
	stretching <- struct{}{}
	defer func() { <-stretching }()
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		panic(err) // only for a wrong length in FIPS mode; ours are constants
	}
	return key
}
