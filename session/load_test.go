package session

import (
	"errors"
	"testing"
	"time"
)

// TestUnreadSessionIsNoEmptyOne: if From returned an error and the session was not read
// since, each method returns an error, and Redis is not asked. After an attempted change
// the response is an error.
func TestUnreadSessionIsNoEmptyOne(t *testing.T) {
	ctx := t.Context()
	key, count := NewKey[string]("key"), NewCounter("count")
	for name, c := range map[string]struct {
		call    func(s *Session) error
		changes bool
	}{
		"Get":              {func(s *Session) error { _, err := key.Get(s); return err }, false},
		"Set":              {func(s *Session) error { return key.Set(s, "x") }, true},
		"Delete":           {func(s *Session) error { return key.Delete(s) }, true},
		"Pop":              {func(s *Session) error { _, _, err := key.Pop(ctx, s); return err }, true},
		"SetNX":            {func(s *Session) error { _, _, err := key.SetNX(ctx, s, "x"); return err }, true},
		"Update":           {func(s *Session) error { _, err := key.Update(ctx, s, nil); return err }, true},
		"Counter.Get":      {func(s *Session) error { _, err := count.Get(s); return err }, false},
		"Counter.Add":      {func(s *Session) error { return count.Add(s, 1) }, true},
		"Clear":            {func(s *Session) error { return s.Clear() }, true},
		"Flash":            {func(s *Session) error { return s.Flash(Message{}) }, true},
		"Flashes":          {func(s *Session) error { _, err := s.Flashes(ctx); return err }, true},
		"Save":             {func(s *Session) error { return s.Save(ctx) }, true},
		"Touch":            {func(s *Session) error { return s.Touch(ctx) }, false},
		"Reload":           {func(s *Session) error { return s.Reload(ctx) }, false},
		"Login":            {func(s *Session) error { return s.Login(ctx, "alice", LoginOptions{}) }, true},
		"Elevate":          {func(s *Session) error { return s.Elevate(ctx, 2) }, true},
		"Rotate":           {func(s *Session) error { return s.Rotate(ctx) }, true},
		"RevokeOthers":     {func(s *Session) error { _, err := s.RevokeOthers(ctx); return err }, true},
		"LogoutEverywhere": {func(s *Session) error { _, err := s.LogoutEverywhere(ctx); return err }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newUnstored(1 << 20) // of a manager without a Redis
			s.state = unread
			if err := c.call(s); !errors.Is(err, ErrUnavailable) {
				t.Errorf("error %v, want ErrUnavailable", err)
			}
			if (s.refused != nil) != c.changes {
				t.Errorf("the response fails with %v, want an error: %v", s.refused, c.changes)
			}
			if s.UserID() != "" || s.Fresh(time.Hour) {
				t.Error("somebody is logged in")
			}
		})
	}
}
