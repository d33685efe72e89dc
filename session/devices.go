package session

import (
	"context"
	"net/http"
	"time"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

// Info is one entry of a user's list of sessions. Times are by Redis's clock.
type Info struct {
	ID       string    // for [Manager.Revoke]
	Device   Device    // where it is used
	Created  time.Time // when the user logged in
	LastSeen time.Time // to within a minute, or a twentieth of the idle time, at most 10 minutes
	Expires  time.Time // unless it is used again
	AuthTime time.Time // when the user last proved who they are; zero if nobody knows, see [Carried]
	Level    int       // how strongly, see [Session.Level]
	Current  bool      // the session of the request whose ctx was passed
}

const listPage = 100

// List returns a page of at most 100 live sessions of the user, and the cursor of the
// next page, "" after the last. The first page takes "". Sessions that are used meanwhile
// may come twice. A "your devices" page needs ctx to be that of the request, to tell
// which session is its own.
func (m *Manager) List(ctx context.Context, user, cursor string) ([]Info, string, error) {
	epoch, err := m.epoch.get(ctx)
	if err != nil {
		return nil, "", m.unreadable("list", err)
	}
	page, next, err := m.store.SessionList(ctx, userKeys(user), epoch, cursor, listPage)
	if err != nil {
		return nil, "", m.unreadable("list", err)
	}
	current := ""
	if s, ok := m.find(ctx); ok {
		current = s.ID()
	}
	infos := make([]Info, 0, len(page))
	for _, e := range page {
		infos = append(infos, Info{
			ID: e.PublicID, Device: Device{Label: e.Label, UserAgent: e.UserAgent, IP: e.IP},
			Created: e.Created, LastSeen: e.Seen, Expires: e.Expires(),
			AuthTime: e.Authenticated, Level: e.Level, Current: e.PublicID == current,
		})
	}
	return infos, next, nil
}

// A DevicePage is a page of [Manager.List] as JSON, for "your devices".
type DevicePage struct {
	Devices []DeviceEntry `json:"devices"`        // at most 100
	Next    string        `json:"next,omitempty"` // to be passed as ?cursor= for the next page; empty on the last
}

// A DeviceEntry is a session of the user as JSON; see [Info].
type DeviceEntry struct {
	ID        string    `json:"id"`                   // for [Manager.Revoke]
	Label     string    `json:"label,omitempty"`      // see [Device]
	UserAgent string    `json:"user_agent,omitempty"` // see [Device]
	IP        string    `json:"ip,omitempty"`         // see [Device]
	Created   time.Time `json:"created"`              // when the user logged in
	LastSeen  time.Time `json:"last_seen"`            // see [Info]
	Expires   time.Time `json:"expires"`              // unless it is used again
	Current   bool      `json:"current"`              // whether it is the session of this request
}

// Header sets the fields that keep the page out of caches and from being taken for
// anything but JSON.
func (p DevicePage) Header(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// Devices returns the page of the requesting user's sessions that the query parameter
// cursor names, without one the first. Who is not logged in is refused with 401, a cursor
// that no page named with 400. The error is a [*gatekit.Refusal].
func (m *Manager) Devices(r *http.Request) (DevicePage, error) {
	if err := m.RequireLogin(r, ""); err != nil {
		return DevicePage{}, err
	}
	s, _ := m.From(r.Context())
	infos, next, err := m.List(r.Context(), s.UserID(), r.URL.Query().Get("cursor"))
	if err != nil {
		f, ok := m.Refusal(r, err)
		if !ok {
			f = gatekit.Refusal{Status: http.StatusBadRequest, Err: err}
		}
		return DevicePage{}, &f
	}
	page := DevicePage{make([]DeviceEntry, 0, len(infos)), next}
	for _, i := range infos {
		page.Devices = append(page.Devices, DeviceEntry{
			i.ID, i.Device.Label, i.Device.UserAgent, i.Device.IP, i.Created, i.LastSeen, i.Expires, i.Current,
		})
	}
	return page, nil
}

// Revoke ends one session of the user, by its public id. The user is part of the
// question, so that nobody ends another's session: the id of one that is not the user's,
// or has ended, is [ErrGone].
func (m *Manager) Revoke(ctx context.Context, user, publicID string) error {
	if !isPublicID(publicID) {
		return ErrGone
	}
	found, err := m.store.SessionRevoke(ctx, userKeys(user), publicID)
	switch {
	case err != nil:
		return m.unavailable("revoke", err)
	case !found:
		return ErrGone
	}
	return nil
}

// RevokeUser ends all sessions of the user, those whose login is under way included, and
// returns how many it found. They are over from the first moment on, all at once. Beyond
// the first 100 they go page by page: when the call does not finish, what is left can be
// read still, but not written, and ends with the next write or list, or when its use is
// noted, after 10 minutes at most. So do sessions that Redis's list of the user has lost.
// A login later in the same request, the one that follows a new password, is not refused
// if ctx is the request's; else see [LoginOptions.AuthenticatedAt]. The request's own
// session is over like the others, and its cookie stays: to log the visitor out
// everywhere, call [Session.LogoutEverywhere].
func (m *Manager) RevokeUser(ctx context.Context, user string) (int, error) {
	n, epoch, err := m.revoke(ctx, user, nil)
	if s, ok := m.find(ctx); ok && epoch > 0 {
		s.know(user, epoch)
	}
	return n, err
}

// revoke ends all sessions of the user but keep.
func (m *Manager) revoke(ctx context.Context, user string, keep *store.SessionKeys) (n int, epoch int64, err error) {
	global, err := m.epoch.get(ctx)
	if err != nil {
		return 0, 0, m.unavailable("revoke", err)
	}
	keys := userKeys(user)
	reply, err := m.store.SessionEpoch(ctx, keys, keep, global, m.life)
	if err != nil {
		return 0, 0, m.unavailable("revoke", err)
	}
	if reply.Status != store.SessionOK {
		return 0, 0, ErrGone
	}
	m.revoked.note(user, reply.Epoch)
	n, epoch = reply.Revoked, reply.Epoch
	for cursor := reply.Next; cursor != ""; {
		var revoked int
		if revoked, cursor, err = m.store.SessionRevokePage(ctx, keys, epoch, cursor); err != nil {
			return n, epoch, m.unavailable("revoke", err)
		}
		n += revoked
	}
	return n, epoch, nil
}

// RevokeAll ends all sessions of everybody. This process knows at once, others within a
// second; the memory comes back as the records expire.
func (m *Manager) RevokeAll(ctx context.Context) error {
	epoch, err := m.store.SessionRevokeAll(ctx, m.life)
	if err != nil {
		return m.unavailable("revoke all", err)
	}
	m.epoch.raise(epoch)
	return nil
}

func userKeys(user string) store.SessionKeys {
	return store.SessionKeys{Tag: token.UserTag(user), User: user}
}

func isPublicID(id string) bool {
	return len(id) == 22 && token.WellFormed(id)
}
