package main

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gatekit/gatekit/session"
)

// A loginForm is a password form with the result of the last try.
type loginForm struct {
	Name     string // as typed before
	Remember bool
	Problem  string        // the text about a wrong password
	Wait     time.Duration // above 0: the next try passes after this time; whole seconds
	Next     string        // the page to go to afterwards
}

func (a *app) login(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	name := accountName(r.PostFormValue("username"))
	form := loginForm{Name: name, Remember: r.PostFormValue("remember") != "", Problem: "That user name and password don't match.", Next: session.Next(r, "/")}
	ok, err := a.password(w, r, &form, name)
	if err != nil {
		return err
	}
	if !ok {
		return a.show(w, r, s, page{Name: "login", Title: "Log in", Status: form.status(), Data: form})
	}
	err = s.Login(r.Context(), name, session.LoginOptions{
		Level:    loggedIn,
		Remember: form.Remember,
		Device:   session.Device{Label: deviceLabel(r.UserAgent())},
	})
	if err != nil {
		return err
	}
	if err := s.Flash(session.Message{Kind: "done", Text: "Welcome, " + name + "."}); err != nil {
		return err
	}
	redirect(w, r, form.Next)
	return nil
}

// askPassword shows the form that asks for the password again. A right one opens the
// account page.
func (a *app) askPassword(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	return a.show(w, r, s, page{Name: "confirm", Title: "Confirm it's you", Data: loginForm{Next: session.Next(r, "/account")}})
}

// confirm checks the password again. The throttle limits it like a login: a thief of the
// session must not be able to guess here.
func (a *app) confirm(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	form := loginForm{Problem: "That is not your password.", Next: session.Next(r, "/account")}
	ok, err := a.password(w, r, &form, s.UserID())
	if err != nil {
		return err
	}
	if !ok {
		return a.show(w, r, s, page{Name: "confirm", Title: "Confirm it's you", Status: form.status(), Data: form})
	}
	if err := s.Elevate(r.Context(), confirmed); err != nil {
		return err
	}
	redirect(w, r, form.Next)
	return nil
}

// password checks the password of the posted form for the account of that name. If it is
// wrong, password writes into form what the visitor can do.
func (a *app) password(w http.ResponseWriter, r *http.Request, form *loginForm, name string) (bool, error) {
	tried, err := a.throttle.try(r, name, func() bool { return a.users.verify(name, r.PostFormValue("password")) })
	switch {
	case err != nil:
		return false, err
	case tried.OK:
		return true, nil
	case tried.Wait > 0:
		seconds := int64(math.Ceil(tried.Wait.Seconds()))
		form.Wait = time.Duration(seconds) * time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	default:
		form.Problem += " " + triesLeft(tried.Left) // the same for a name that does not exist
	}
	return false, nil
}

func (f loginForm) status() int {
	if f.Wait > 0 {
		return http.StatusTooManyRequests
	}
	return http.StatusUnauthorized
}

func triesLeft(n int64) string {
	switch n {
	case 0:
		return "That was the last try for now."
	case 1:
		return "One try left."
	}
	return fmt.Sprintf("%d tries left.", n)
}

// logout ends the session, even one that could not be read. Values that it sets after
// that begin a new session of a guest. It sets none for a visitor who was not logged in:
// each such POST would leave a record in Redis, until Redis has no room for logins.
func (a *app) logout(w http.ResponseWriter, r *http.Request) {
	s, _ := session.From(r.Context())
	wasUser := s.UserID() != ""
	chosen, _ := theme.Get(s)
	err := s.Logout(r.Context())
	if err == nil && wasUser && chosen != "" {
		err = theme.Set(s, chosen)
	}
	if err == nil && wasUser {
		err = s.Flash(session.Message{Kind: "done", Text: "You are logged out."})
	}
	if err != nil {
		a.sessions.Refuse(w, r, err)
		return
	}
	redirect(w, r, "/")
}
