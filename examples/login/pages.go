package main

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/session"
)

//go:embed templates
var templateFiles embed.FS

// pages are the templates by the name of their file, each inside layout.html.
var pages = parsePages("login", "home", "devices", "confirm", "account", "failure")

func parsePages(names ...string) map[string]*template.Template {
	parsed := map[string]*template.Template{}
	functions := template.FuncMap{"ago": ago, "clock": clock, "demo": func() any { return demoPasswords }, "themes": func() []string { return themes }}
	for _, name := range names {
		parsed[name] = template.Must(template.New("layout.html").Funcs(functions).
			ParseFS(templateFiles, "templates/layout.html", "templates/"+name+".html"))
	}
	return parsed
}

// A page is the data of the templates.
type page struct {
	Name   string // of the template
	Title  string
	Status int // 0 means 200
	Data   any

	// Set by show.
	User    string
	Theme   string
	Flashes []session.Message
}

// show writes a page as the visitor of the session sees it, with the messages that wait
// for them.
func (a *app) show(w http.ResponseWriter, r *http.Request, s *session.Session, p page) (err error) {
	if p.Theme, err = theme.Get(s); err != nil {
		return err
	}
	if r.Method != http.MethodHead { // nobody would see them
		if p.Flashes, err = s.Flashes(r.Context()); err != nil {
			return err
		}
	}
	p.User = s.UserID()
	w.Header().Set("Cache-Control", "no-store") // "back" after a logout must not show the page again
	render(w, p.Status, p)
	return nil
}

func render(w http.ResponseWriter, status int, p page) {
	var body bytes.Buffer // the whole page, so that a template that fails does not send half of it
	if err := pages[p.Name].Execute(&body, p); err != nil {
		slog.Error("login: a template failed", "page", p.Name, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	if status == 0 {
		status = http.StatusOK
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if status >= 400 {
		h.Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

// ago returns in a few words how long ago a moment was, or how long it is still to come.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < -time.Minute:
		return "in " + words(-d)
	case d < time.Minute:
		return "just now"
	}
	return words(d) + " ago"
}

func words(d time.Duration) string {
	d = d.Round(time.Minute)
	switch {
	case d < 2*time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(d/(24*time.Hour)), "day")
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// clock writes a waiting time as countdown.js does: 0:59, 12:05, 1:02:03.
func clock(d time.Duration) string {
	s := int(d / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
