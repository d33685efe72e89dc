package gategorilla

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/unquoted"
	"github.com/gatekit/gatekit/session"
	"github.com/gorilla/securecookie"
)

// LegacyOptions of a [Legacy]. They repeat the options of the old store. Each but Map and
// Cookie.Name has the store's own default.
type LegacyOptions struct {
	// Map says which of the old values is the user, and which values to keep under which
	// names. It is required, since only the program knows. Map judges a value that is
	// missing or has another type than expected. If it returns an error the visitor stays
	// a guest, and the log has the error's type, not its text, which may quote a value.
	// Many goroutines call it at once.
	Map func(values map[any]any) (session.Carried, error)

	// Cookie describes the store's cookie. Its Name is that of the gorilla session, and
	// required. Domain, Path (empty means "/"), SameSite and Partitioned are as the store
	// set them.
	Cookie http.Cookie

	// Prefix of the store's keys. Empty means that of the store: "session_" for boj,
	// "session:" for rbcervilla.
	Prefix string

	// JSON reads the values of a JSONSerializer, with numbers as float64. False reads
	// gob. The program must then still register its types with [gob.Register], under the
	// same names.
	JSON bool

	// KeyPairs are the keys of [FromBoj]'s store, in its order: hash key, block key (or
	// nil), then the older pairs.
	KeyPairs [][]byte

	// MaxAge is how old a cookie of [FromBoj]'s store may be, in whole seconds, as the
	// program called SetMaxAge. 0 means 30 days, the store's default. -1 means any age,
	// where the program called SetMaxAge with 0.
	MaxAge time.Duration

	// IsID reports whether an id may be one of [FromRbcervilla]'s store, if that store
	// has a KeyGen of its own. It must refuse ids that somebody could guess. Nil accepts
	// the ids of the default KeyGen: 103 of A-Z and 2-7.
	IsID func(id string) bool
}

// Legacy reads sessions of a gorilla store, for [session.Options.Legacy]. It is safe for
// concurrent use.
type Legacy struct {
	o  LegacyOptions
	id func(cookie string) (id string, ok bool)
}

// FromBoj reads the sessions of github.com/boj/redistore, and so those of
// github.com/gin-contrib/sessions/redis. Their cookie holds the signed id, and Redis
// holds the values. The error names the option that is wrong.
func FromBoj(o LegacyOptions) (*Legacy, error) {
	if len(o.KeyPairs) == 0 {
		return nil, errors.New("gategorilla: KeyPairs: want those of the store")
	}
	codecs := securecookie.CodecsFromPairs(o.KeyPairs...)
	for i, codec := range codecs {
		cookie := codec.(*securecookie.SecureCookie)
		if o.MaxAge != 0 {
			cookie.MaxAge(int(max(o.MaxAge, 0) / time.Second))
		}
		if _, err := cookie.Encode("x", "x"); err != nil { // a key of a wrong length would read as a forged cookie
			return nil, errtext.Errorf("gategorilla", "KeyPairs: pair %d: %w", i, err)
		}
	}
	name := o.Cookie.Name
	return newLegacy(o, "session_", func(cookie string) (id string, ok bool) {
		err := securecookie.DecodeMulti(name, cookie, &id, codecs...)
		return id, err == nil && id != ""
	})
}

// FromRbcervilla reads the sessions of github.com/rbcervilla/redisstore, whose cookie is
// the id. The error names the option that is wrong.
func FromRbcervilla(o LegacyOptions) (*Legacy, error) {
	isID := o.IsID
	if isID == nil {
		isID = isRbcervillaID
	}
	return newLegacy(o, "session:", func(cookie string) (string, bool) { return cookie, isID(cookie) })
}

func newLegacy(o LegacyOptions, prefix string, id func(string) (string, bool)) (*Legacy, error) {
	if o.Map == nil {
		return nil, errors.New("gategorilla: Map is nil: which value is the user?")
	}
	if o.Cookie.Path == "" {
		o.Cookie.Path = "/"
	}
	o.Cookie.Value = "x"
	if err := o.Cookie.Valid(); err != nil {
		return nil, errtext.Errorf("gategorilla", "Cookie: %w", err)
	}
	if o.Prefix == "" {
		o.Prefix = prefix
	}
	return &Legacy{o, id}, nil
}

// isRbcervillaID reports whether text is 64 bytes in base32, without padding.
func isRbcervillaID(text string) bool {
	if len(text) != 103 {
		return false
	}
	for _, c := range []byte(text) {
		if (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// Cookie describes the store's cookie.
func (l *Legacy) Cookie() http.Cookie { return l.o.Cookie }

// Read returns the session that the store's cookie names. It ends when its key expires,
// which is MaxAge after it was last saved.
func (l *Legacy) Read(ctx context.Context, r *http.Request, get session.LegacyGet) (old session.LegacySession, found bool, err error) {
	cookie, err := r.Cookie(l.o.Cookie.Name)
	if err != nil {
		return old, false, nil
	}
	id, ok := l.id(cookie.Value)
	if !ok {
		return old, false, nil
	}
	stored, found, err := get(ctx, l.o.Prefix+id)
	if err != nil || !found {
		return old, false, err
	}
	values, err := l.decode(stored.Data)
	if err != nil {
		return old, false, unquoted.Error("gategorilla: decode", err)
	}
	old.ID = id
	if stored.Left > 0 {
		old.Expires = time.Now().Add(stored.Left)
	}
	if old.Carried, err = l.o.Map(values); err != nil {
		return old, false, unquoted.Error("gategorilla: Map", err)
	}
	return old, true, nil
}

func (l *Legacy) decode(data []byte) (values map[any]any, err error) {
	if !l.o.JSON {
		if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&values); err != nil {
			return nil, fmt.Errorf("%w (a type that is not registered needs the gob.Register that the store had)", err)
		}
		return values, nil
	}
	var named map[string]any
	if err := json.Unmarshal(data, &named); err != nil {
		return nil, err
	}
	values = make(map[any]any, len(named))
	for name, value := range named {
		values[name] = value
	}
	return values, nil
}
