package session

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
	"github.com/gatekit/gatekit/internal/store"
	"github.com/gatekit/gatekit/session/internal/token"
)

const maxUserID = 1024 // bytes

// LoginOptions are the options of a login. The zero value is ready to use.
type LoginOptions struct {
	// Level is how strongly the user proved who they are, for [Session.Level]. 0 means 1.
	Level int

	// Remember gives the session the lifetime of [Options.Remember].
	Remember bool

	// Lifetime, if not zero, replaces the manager's lifetime.
	Lifetime Lifetime

	// Device of the user. An empty UserAgent or IP is taken from the request.
	Device Device

	// AuthenticatedAt is when the user presented the credentials. A revocation since then
	// refuses the login. Zero and a time in the future mean the beginning of the request.
	// Pass an earlier time for a login of several steps. Pass a later one (time.Now()) if
	// the handler first revoked the user's sessions and then checked the credentials.
	AuthenticatedAt time.Time

	// Bearer is for clients that are no browsers: [Session.BearerToken] returns the
	// token, and no cookie is set. [Options.Bearer] must be on.
	Bearer bool
}

// Login logs the user in at once. A new session under a new token replaces the session
// that the request came with. The cookie goes out with the response. If the old session
// is a guest's or the same user's, it ends when the new token is used for the first time.
// So if the response is lost, the browser still has the old session, and the next login
// finds its values. If the old session is another user's, it ends when the handler has
// returned. If the handler panics before it responds, or its changes can't be saved, the
// login is undone and the old session stays.
//
// Pass a user id that does not change and is not given to somebody else later. Login
// keeps those values of a guest that [Options.Carry] names, all values of the same user's
// old session, and no values of another user's. Errors: [ErrStaleLogin], [ErrCapReached],
// [ErrUnavailable], [ErrTooLate].
//
// When a user changes the password: change it first, then call [Manager.RevokeUser] or
// [Session.RevokeOthers].
func (s *Session) Login(ctx context.Context, user string, info LoginOptions) error {
	life, err := s.m.lifetimeOf(user, info)
	if err != nil {
		return err
	}
	if err := s.wanted(); err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	t := token.New(user)
	call, err := s.loginCall(t, user, life, info)
	if err != nil {
		return err
	}
	if call.GlobalEpoch, err = s.m.epoch.get(ctx); err != nil {
		return s.m.unavailable("log in", err)
	}
	reply, err := s.m.store.SessionLogin(ctx, call)
	if err != nil {
		return s.m.unavailable("log in", err)
	}
	s.m.written(reply.SessionReply)
	switch reply.Status {
	case store.SessionOK:
	case store.SessionCapReached:
		return ErrCapReached
	default:
		return ErrStaleLogin
	}
	made := newView(t, call.SessionNew, call.SessionOwner, life, reply.Now)
	made.bearer = info.Bearer
	made.meta.Authenticated = reply.Now.Add(-max(0, time.Since(call.Authenticated)).Truncate(time.Millisecond))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = s.afterLoginLocked(user)
	s.becomeLocked(made)
	return nil
}

// cameLocked returns the session that the request came with, or one without an id if
// there is none.
func (s *Session) cameLocked() meta {
	switch {
	case s.after.login && s.after.old.state == loaded:
		return s.after.old.meta
	case !s.after.login && s.state == loaded:
		return s.meta
	}
	return meta{}
}

// givesWay reports whether a login by the user lets the session live until the new token
// is first used.
func (m *meta) givesWay(user string) bool {
	return m.PublicID != "" && (m.user == "" || m.user == user)
}

// afterLoginLocked returns the work that a login leaves for the end of the request. It is
// called before the session is replaced.
func (s *Session) afterLoginLocked(user string) after {
	came := s.cameLocked()
	next := after{login: true, old: s.after.old, made: s.after.made, drop: s.after.drop}
	if s.after.login {
		// If this second login is undone, the request goes back to the session that it
		// came with.
		if s.state == loaded {
			next.made = append(next.made, s.meta.keys)
		}
	} else {
		was := s.view
		next.old = &was
		// If these sessions lived on, their cookies would compete with the new session's.
		next.drop = append(next.drop, s.unclear...)
	}
	next.drop = slices.DeleteFunc(next.drop, func(k store.SessionKeys) bool { return k == came.keys })
	if came.PublicID != "" && !came.givesWay(user) {
		next.drop = append(next.drop, came.keys)
	}
	return next
}

func (m *Manager) lifetimeOf(user string, info LoginOptions) (Lifetime, error) {
	if m == nil {
		return Lifetime{}, ErrNoMiddleware
	}
	if user == "" || len(user) > maxUserID {
		return Lifetime{}, fmt.Errorf("session: login: user id of %d bytes: want 1 to %d", len(user), maxUserID)
	}
	if info.Bearer && !m.cfg.Bearer {
		return Lifetime{}, fmt.Errorf("session: login: Bearer: Options.Bearer is off")
	}
	if info.Level < 0 {
		return Lifetime{}, fmt.Errorf("session: login: Level %d: want 0 or more", info.Level)
	}
	life := m.cfg.Lifetime
	if info.Remember {
		life = m.cfg.Remember
	}
	if info.Lifetime != (Lifetime{}) {
		var err error
		if life, err = info.Lifetime.complete("LoginOptions.Lifetime"); err != nil {
			return life, errtext.Errorf("session", "login: %w", err)
		}
	}
	if info.Bearer {
		life.Rotate = 0
	}
	return life, nil
}

// loginCall returns the arguments of the login script, except for the global epoch.
func (s *Session) loginCall(t token.Token, user string, life Lifetime, info LoginOptions) (store.SessionLogin, error) {
	// No lock is held here, because this calls Options.ClientIP, which is the program's.
	call := s.m.newLogin(s.r, s.began, t, user, life, info)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != before {
		return call, ErrTooLate
	}
	values, err := s.carriedLocked(call.Keys.Member, user)
	if err != nil {
		return call, err
	}
	if how := writeLifetime(life); how != "" && !info.Bearer {
		values = append(values, store.Field{Name: lifetimeField, Value: how})
	}
	call.Values = values
	call.KnownEpoch = max(s.known[user], s.m.revoked.before(user, call.Authenticated))
	if came := s.cameLocked(); came.givesWay(user) {
		call.From = came.keys
	}
	if s.state == loaded && s.meta.user == user {
		call.Replace = s.meta.keys.Member
	}
	return call, nil
}

// newLogin returns the part of a login that describes the new session and its device.
// began is when the request began.
func (m *Manager) newLogin(r *http.Request, began time.Time, t token.Token, user string, life Lifetime, info LoginOptions) store.SessionLogin {
	d := info.Device
	if d.UserAgent == "" {
		d.UserAgent = r.UserAgent()
	}
	if d.IP == "" {
		d.IP = m.cfg.clientIP(r)
	} else {
		d.IP = m.cfg.deviceIP(d.IP)
	}
	at := info.AuthenticatedAt
	if at.IsZero() || at.After(time.Now()) {
		at = began
	}
	return store.SessionLogin{
		SessionNew: store.SessionNew{
			Keys: keysOf(t, user), PublicID: newPublicID(), TokenHash: t.Hash().String(), Idle: life.IdleTimeout, Life: life.AbsoluteTimeout,
		},
		SessionOwner: store.SessionOwner{
			Authenticated: at, Level: max(info.Level, 1), Cap: max(m.cfg.Cap, 0), CapPolicy: luaPolicy(m.cfg.CapPolicy),
			UserAgent: cut(d.UserAgent), Label: cut(d.Label), IP: cut(d.IP),
		},
	}
}

func luaPolicy(p CapPolicy) store.CapPolicy {
	switch p {
	case EvictLeastRecent:
		return store.CapEvictLeastRecent
	case RefuseLogin:
		return store.CapRefuse
	}
	return store.CapEvictOldest
}

// carriedLocked lists the values that a login of the user keeps, sealed for the new
// record.
func (s *Session) carriedLocked(member, user string) (values []store.Field, err error) {
	if s.meta.user != "" && s.meta.user != user {
		return nil, nil
	}
	from := s.memberLocked()
	all, err := s.valuesLocked()
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		f := s.fieldLocked(v.Name)
		// Keep values that this request set. A counter counts as set only if the guest
		// had no value for it before.
		ours := f != nil && (f.change == set || f.change == added && !s.hasLocked(v.Name)) || s.meta.user == user
		if v.Name == lifetimeField || !ours && !slices.Contains(s.m.cfg.Carry, v.Name) {
			continue
		}
		data, err := s.m.values.move(from, member, v.Name, []byte(v.Value))
		if err != nil { // its key is gone, which is no reason to lock the user out
			s.m.logger.Warn("gatekit: a login leaves a value behind that does not decrypt", "name", v.Name)
			continue
		}
		values = append(values, store.Field{Name: v.Name, Value: string(data)})
	}
	return values, nil
}

// undoLogin ends the session of a login whose cookie was never sent, and goes back to the
// session that the request came with.
func (s *Session) undoLogin(ctx context.Context) {
	s.mu.Lock()
	if !s.after.login {
		s.mu.Unlock()
		return
	}
	made, old := s.after.made, s.after.old
	if s.meta.PublicID != "" { // else it has ended meanwhile
		made = append(made, s.meta.keys)
	}
	s.view, s.after, s.out = *old, after{}, outgoing{}
	s.discardLocked()
	s.mu.Unlock()
	for _, k := range made {
		if _, err := s.m.store.SessionDrop(ctx, k, false, "undone"); err != nil {
			s.m.logger.WarnContext(ctx, "gatekit: a login could not be undone, it ends by itself", "error", err)
		}
	}
}
