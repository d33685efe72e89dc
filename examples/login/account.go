package main

import (
	"net/http"
	"net/mail"

	"github.com/gatekit/gatekit/session"
)

// An accountForm is the data of the page that opens only after the password was
// confirmed.
type accountForm struct {
	Email   string
	Problem string
}

func (a *app) account(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	return a.show(w, r, s, page{Name: "account", Title: "Account", Data: accountForm{Email: a.users.email(s.UserID())}})
}

func (a *app) changeAccount(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	typed := r.PostFormValue("email")
	address, err := mail.ParseAddress(typed)
	if err != nil || len(typed) > 254 {
		form := accountForm{Email: typed, Problem: "That is not an e-mail address."}
		return a.show(w, r, s, page{Name: "account", Title: "Account", Status: http.StatusUnprocessableEntity, Data: form})
	}
	a.users.setEmail(s.UserID(), address.Address)
	if err := s.Flash(session.Message{Kind: "done", Text: "The recovery address is changed."}); err != nil {
		return err
	}
	redirect(w, r, "/account")
	return nil
}
