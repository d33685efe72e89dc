package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatekit/gatekit/session"
)

func (a *app) devices(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	// One page holds all: a user has 10 sessions at most, see session.Options.Cap.
	list, _, err := a.sessions.List(r.Context(), s.UserID(), "")
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b session.Info) int { // this device first, then the latest login
		if a.Current != b.Current {
			return map[bool]int{true: -1, false: 1}[a.Current]
		}
		return b.Created.Compare(a.Created)
	})
	return a.show(w, r, s, page{Name: "devices", Title: "Your devices", Data: list})
}

// revoke ends one session. Its route requires a confirmed password, like that of
// revokeOthers: a thief of a session must not be able to log the owner out of all others.
// The call names the user too, so that an id from elsewhere can't end another user's
// session.
func (a *app) revoke(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	id := r.PathValue("id")
	if id == s.ID() {
		a.logout(w, r)
		return nil
	}
	msg := session.Message{Kind: "done", Text: "That device is logged out."}
	switch err := a.sessions.Revoke(r.Context(), s.UserID(), id); {
	case errors.Is(err, session.ErrGone):
		msg = session.Message{Kind: "note", Text: "That device was logged out already."}
	case err != nil:
		return err
	}
	return a.backToDevices(w, r, s, msg)
}

func (a *app) revokeOthers(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	n, err := s.RevokeOthers(r.Context())
	if err != nil {
		return err
	}
	msg := session.Message{Kind: "done", Text: fmt.Sprintf("%d other devices are logged out.", n)}
	switch n {
	case 0:
		msg = session.Message{Kind: "note", Text: "There is no other device."}
	case 1:
		msg.Text = "The other device is logged out."
	}
	return a.backToDevices(w, r, s, msg)
}

func (a *app) backToDevices(w http.ResponseWriter, r *http.Request, s *session.Session, msg session.Message) error {
	if err := s.Flash(msg); err != nil {
		return err
	}
	redirect(w, r, "/devices")
	return nil
}

// deviceLabel returns a few words from the user agent by which people recognize a device.
// Clients can send any text, so nothing else may depend on it.
func deviceLabel(userAgent string) string {
	// Browsers also name the browsers that they descend from, so the more special name
	// comes first.
	browser := firstOf(userAgent, "Unknown browser",
		"Edg", "Edge", "OPR", "Opera", "Firefox", "Firefox", "FxiOS", "Firefox", "CriOS", "Chrome", "Chrome", "Chrome",
		"Safari", "Safari", "curl", "curl", "Go-http-client", "Go program")
	system := firstOf(userAgent, "",
		"iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "CrOS", "ChromeOS", "Windows", "Windows",
		"Mac OS X", "macOS", "Linux", "Linux")
	if system == "" {
		return browser
	}
	return browser + " on " + system
}

// firstOf returns the name behind the first mark that text contains.
func firstOf(text, otherwise string, marksAndNames ...string) string {
	for i := 0; i+1 < len(marksAndNames); i += 2 {
		if strings.Contains(text, marksAndNames[i]) {
			return marksAndNames[i+1]
		}
	}
	return otherwise
}
