package fromscs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/gob"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/unquoted"
	"github.com/gatekit/gatekit/session"
)

// Options of a reader. Each but Map has scs's own default.
type Options struct {
	// Map says which of the old values is the user, and which values to keep under which
	// names. It is required, since only the program knows. Map judges a value that is
	// missing or has another type than expected. If it returns an error the visitor stays
	// a guest, and the log has the error's type, not its text, which may quote a value.
	// Many goroutines call it at once.
	Map func(values map[string]any) (session.Carried, error)

	// Cookie describes scs's cookie: its Name (empty means "session"), and its Domain,
	// Path (empty means "/"), SameSite and Partitioned.
	Cookie http.Cookie

	// Prefix of scs's keys. Empty means "scs:session:".
	Prefix string

	// HashedTokens must be what SessionManager.HashTokenInStore was.
	HashedTokens bool

	// Decode is for a SessionManager with a Codec of its own. Nil decodes gob, scs's
	// default. The program must still register its types with [gob.Register], under the
	// same names.
	Decode func(data []byte) (deadline time.Time, values map[string]any, err error)
}

// Reader reads sessions of scs, for [session.Options.Legacy]. It is safe for concurrent
// use.
type Reader struct{ o Options }

// New returns a reader. The error names the option that is wrong.
func New(o Options) (*Reader, error) {
	if o.Map == nil {
		return nil, errors.New("fromscs: Map is nil: which value is the user?")
	}
	if o.Cookie.Name == "" {
		o.Cookie.Name = "session"
	}
	if o.Cookie.Path == "" {
		o.Cookie.Path = "/"
	}
	o.Cookie.Value = "x"
	if err := o.Cookie.Valid(); err != nil {
		return nil, errtext.Errorf("fromscs", "Cookie: %w", err)
	}
	if o.Prefix == "" {
		o.Prefix = "scs:session:"
	}
	if o.Decode == nil {
		o.Decode = decodeGob
	}
	return &Reader{o}, nil
}

// Cookie describes scs's cookie.
func (r *Reader) Cookie() http.Cookie { return r.o.Cookie }

// rememberMe is the value by which scs notes that the cookie outlives the browser.
const rememberMe = "__rememberMe"

// Read returns the session that scs's cookie names. It ends at its deadline, whatever the
// TTL of its key. Carried.Persistent is true if Map says so, or if RememberMe was called.
func (r *Reader) Read(ctx context.Context, req *http.Request, get session.LegacyGet) (session.LegacySession, bool, error) {
	var old session.LegacySession
	cookie, err := req.Cookie(r.o.Cookie.Name)
	if err != nil || !isToken(cookie.Value) {
		return old, false, nil
	}
	key := r.o.Prefix + cookie.Value
	if r.o.HashedTokens {
		sum := sha256.Sum256([]byte(cookie.Value))
		key = r.o.Prefix + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	stored, found, err := get(ctx, key)
	if err != nil || !found {
		return old, false, err
	}
	deadline, values, err := r.o.Decode(stored.Data)
	if err != nil {
		return old, false, unquoted.Error("fromscs: decode", err)
	}
	if !deadline.After(time.Now()) { // scs can leave a key without TTL behind a deadline
		return old, false, nil
	}
	carried, err := r.o.Map(values)
	if err != nil {
		return old, false, unquoted.Error("fromscs: Map", err)
	}
	remembered, _ := values[rememberMe].(bool)
	carried.Persistent = carried.Persistent || remembered
	return session.LegacySession{ID: cookie.Value, Expires: deadline, Carried: carried}, true, nil
}

// isToken reports whether text has the form of scs's tokens: 32 bytes in base64url.
func isToken(text string) bool {
	if len(text) != base64.RawURLEncoding.EncodedLen(32) {
		return false
	}
	_, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil
}

// decodeGob reads what scs.GobCodec writes.
func decodeGob(data []byte) (time.Time, map[string]any, error) {
	var stored struct {
		Deadline time.Time
		Values   map[string]any
	}
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&stored); err != nil {
		return time.Time{}, nil, fmt.Errorf("%w (a type that is not registered needs the gob.Register that scs had)", err)
	}
	return stored.Deadline, stored.Values, nil
}
