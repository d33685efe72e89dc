package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Message is a note for the next page that the visitor sees.
type Message struct {
	Kind string `json:"k,omitempty"` // of the program's own choice: "error", "done"
	Text string `json:"t"`           // plain text: escape it in HTML; bytes that are not UTF-8 become U+FFFD
}

const (
	maxFlashes = 16
	flashAge   = 24 * time.Hour
)

// Flash leaves a message for the next call of [Session.Flashes], usually in the request
// after a redirect. Like Set it is written with the response. Messages of parallel
// requests are all kept. Messages older than a day are dropped, and beyond 16 the oldest,
// so that a site which shows none for long does not fill its sessions with them.
func (s *Session) Flash(msg Message) error {
	now := time.Now()
	if err := s.dropFlashes(now); err != nil {
		return err
	}
	msg.Kind, msg.Text = strings.ToValidUTF8(msg.Kind, "\uFFFD"), strings.ToValidUTF8(msg.Text, "\uFFFD")
	return Key[Message]{flashName(now)}.Set(s, msg)
}

// flashName names a message by its time. Each message is a value of its own. In a list,
// one of two messages that requests append at the same time would be lost.
func flashName(at time.Time) string {
	return fmt.Sprintf("%s%012x%04x", flashPrefix, at.UnixMicro()&(1<<48-1), rand.N(1<<16))
}

// dropFlashes makes room for one message more.
func (s *Session) dropFlashes(now time.Time) error {
	if err := s.wanted(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	names := s.flashesLocked()
	for i, name := range names {
		if i <= len(names)-maxFlashes || name < flashName(now.Add(-flashAge)) {
			if err := s.writableLocked(); err != nil {
				return err
			}
			s.deleteLocked(name)
		}
	}
	return nil
}

// flashesLocked lists the names of the messages, oldest first.
func (s *Session) flashesLocked() []string {
	names := slices.DeleteFunc(s.namesLocked(), func(name string) bool { return !strings.HasPrefix(name, flashPrefix) })
	slices.Sort(names)
	return names
}

// Flashes takes the messages out of the session, oldest first: each is delivered at most
// once, see [Key.Pop]. It asks Redis once for each message, and not at all where there is
// none. On an error it returns those that it got.
func (s *Session) Flashes(ctx context.Context) (msgs []Message, err error) {
	if err := s.wanted(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	names := s.flashesLocked()
	s.mu.Unlock()
	for _, name := range names {
		msg, ok, err := Key[Message]{name}.Pop(ctx, s)
		if err != nil {
			return msgs, err
		}
		if ok {
			msgs = append(msgs, msg)
		}
	}
	return msgs, nil
}
