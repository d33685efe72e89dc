package session

import (
	"context"
	"net/http"

	"github.com/gatekit/gatekit"
)

const listPage = 100

// List returns a page of at most 100 live sessions of the user, and the cursor of the
// next page, "" after the last. Pass "" for the first page. A session that is used
// between two pages may come twice. If ctx is a request's, [Info.Current] marks the
// request's own session, as a "your devices" page needs.
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
	Devices []Info `json:"devices"`        // at most 100
	Next    string `json:"next,omitempty"` // pass it as ?cursor= for the next page; empty on the last
}

// Header sets the fields that keep the page out of caches and keep browsers from reading
// it as anything but JSON.
func (p DevicePage) Header(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// Devices returns a page of the sessions of the user who sent the request. The query
// parameter cursor names the page; without one it returns the first. A visitor who is not
// logged in is refused with 401, a malformed cursor with 400. The error is a
// [*gatekit.Refusal].
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
	return DevicePage{Devices: infos, Next: next}, nil
}
