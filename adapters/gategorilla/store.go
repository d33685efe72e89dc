package gategorilla

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/given"
	"github.com/gatekit/gatekit/session"
	"github.com/gatekit/gatekit/session/blob"
	"github.com/gorilla/sessions"
)

// Options of a [Store]; the zero value is ready to use on a site with https.
type Options struct {
	// Cookie has the attributes of new sessions' cookies. A session's own Options change
	// them for that session. MaxAge is how many seconds a session lives after its last
	// Save. Nil means Path "/", HttpOnly, Secure, SameSite=Lax and MaxAge of 30 days, as
	// in gorilla's stores.
	Cookie *sessions.Options

	// BrowserLife is how long a session with MaxAge 0 lives; its cookie ends with the
	// browser. 1 s or more; 0 means 24 h.
	BrowserLife time.Duration

	// Codec of the values; nil is [Gob].
	Codec Codec
}

// Store is a sessions.Store. It is safe for concurrent use.
type Store struct {
	// Options has the attributes of new sessions' cookies, see [Options.Cookie]. Don't
	// change it while requests run.
	Options *sessions.Options

	blobs       *blob.Store
	codec       Codec
	browserLife time.Duration
}

// New returns a store on the blobs. It returns an error when the blobs are nil or an
// option is out of range.
func New(blobs *blob.Store, opts Options) (*Store, error) {
	if err := errors.Join(given.Check(blobs), given.Option("gategorilla: Codec", opts.Codec)); err != nil {
		return nil, err
	}
	if opts.Cookie == nil {
		opts.Cookie = &sessions.Options{Path: "/", MaxAge: 30 * 24 * 60 * 60, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	}
	if opts.Codec == nil {
		opts.Codec = Gob{}
	}
	if opts.BrowserLife == 0 {
		opts.BrowserLife = 24 * time.Hour
	}
	if opts.BrowserLife < time.Second {
		return nil, fmt.Errorf("gategorilla: BrowserLife %v: want 1s or more", opts.BrowserLife)
	}
	cookie := *opts.Cookie
	return &Store{Options: &cookie, blobs: blobs, codec: opts.Codec, browserLife: opts.BrowserLife}, nil
}

// unread is the ID of a session whose values could not be read. A mark among the values
// would not outlast Clear. No id looks like it.
const unread = "unread"

// Get returns the session of a cookie name, and the same one for the whole request. See
// [Store.New].
func (s *Store) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New returns the session that the request's cookie names, or a new one, which gets its
// id when it is first saved.
//
// The error is [session.ErrUnavailable] when Redis did not answer, or that of the codec.
// The session is empty then, and Save refuses it, since there may be a user's session
// behind the cookie. A program can delete it, with MaxAge below 0.
func (s *Store) New(r *http.Request, name string) (*sessions.Session, error) {
	options := *s.Options
	fresh := sessions.NewSession(s, name)
	fresh.Options, fresh.IsNew = &options, true
	id := cookieID(r, name)
	if id == "" {
		return fresh, nil
	}
	data, found, err := s.blobs.Find(r.Context(), token(name, id))
	if err == nil && found {
		err = s.codec.Decode(data, fresh.Values)
	}
	if err != nil {
		clear(fresh.Values)
		fresh.ID = unread
		return fresh, errtext.Errorf("gategorilla", "read a session: %w", err)
	}
	if found {
		fresh.ID, fresh.IsNew = id, false
	}
	return fresh, nil
}

// Save writes the session and sets its cookie. With MaxAge below 0 it deletes both. On an
// error it sets no cookie.
//
// The error is [session.ErrGone] when the session ended while the request ran,
// [session.ErrUnavailable] when Redis did not answer, now or in [Store.New],
// [session.ErrTooLarge], or that of the codec.
func (s *Store) Save(r *http.Request, w http.ResponseWriter, g *sessions.Session) error {
	if g.Options.MaxAge < 0 {
		return s.end(r, w, g)
	}
	if g.ID == unread {
		return errtext.Errorf("gategorilla", "the session was not read, and is not written: %w", session.ErrUnavailable)
	}
	if g.ID != "" {
		return s.write(r.Context(), w, g, g.ID, s.blobs.Update)
	}
	return s.write(r.Context(), w, g, newID(), s.blobs.Commit)
}

// Renew gives the session of a cookie name a new id, keeps its values, saves it and ends
// the old id. Call it in each login: otherwise an attacker who planted the old id is
// logged in as well. r must be the request that Get was called with. Renew only saves a
// new session. The errors are those of [Store.Save]; on an error the session keeps its
// old id.
func (s *Store) Renew(r *http.Request, w http.ResponseWriter, name string) error {
	g, err := s.Get(r, name)
	if err != nil {
		return err
	}
	if g.ID == "" || g.Options.MaxAge < 0 {
		return s.Save(r, w, g)
	}
	return s.write(r.Context(), w, g, newID(), func(ctx context.Context, to string, data []byte, expiry time.Time) error {
		return s.blobs.Replace(ctx, token(name, g.ID), to, data, expiry)
	})
}

// write stores the session under an id and sets the cookie.
func (s *Store) write(ctx context.Context, w http.ResponseWriter, g *sessions.Session, id string,
	commit func(context.Context, string, []byte, time.Time) error) error {
	data, err := s.codec.Encode(g.Values)
	if err != nil {
		return errtext.Errorf("gategorilla", "save a session: %w", err)
	}
	life := s.browserLife
	if g.Options.MaxAge > 0 {
		life = time.Duration(g.Options.MaxAge) * time.Second
	}
	if err := commit(ctx, token(g.Name(), id), data, time.Now().Add(life)); err != nil {
		return errtext.Errorf("gategorilla", "save a session: %w", err)
	}
	g.ID = id
	http.SetCookie(w, sessions.NewCookie(g.Name(), id, g.Options))
	return nil
}

// end deletes the session and its cookie. The session may be saved again, as a new one.
func (s *Store) end(r *http.Request, w http.ResponseWriter, g *sessions.Session) error {
	id := g.ID
	if id == unread {
		id = cookieID(r, g.Name())
	}
	if id != "" {
		if err := s.blobs.Delete(r.Context(), token(g.Name(), id)); err != nil {
			return errtext.Errorf("gategorilla", "delete a session: %w", err)
		}
	}
	g.ID, g.IsNew = "", true
	http.SetCookie(w, sessions.NewCookie(g.Name(), "", g.Options))
	return nil
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// cookieID returns the id in the request's cookie, "" if there is none. Two different ids
// count as none, since a subdomain may have planted one.
func cookieID(r *http.Request, name string) (id string) {
	for _, c := range r.CookiesNamed(name) {
		switch {
		case !idForm.MatchString(c.Value) || c.Value == id:
		case id != "":
			return ""
		default:
			id = c.Value
		}
	}
	return id
}

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // does not fail: crypto/rand ends the program first
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// token is the name under which a session is stored. It has the cookie's name in it, so
// that an id of one kind of session opens no other.
func token(name, id string) string { return name + " " + id }
