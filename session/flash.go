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

// Flash stores a message for the next call of [Session.Flashes], usually in the request
// after a redirect. Like a Set, it is written with the response. Messages of parallel
// requests are all kept. Flash drops messages older than a day, and the oldest beyond 16,
// so that they can't fill the session of a visitor who sees no page that shows them.
func (s *Session) Flash(msg Message) error {
	now := time.Now()
	if err := s.dropFlashes(now); err != nil {
		return err
	}
	msg.Kind, msg.Text = strings.ToValidUTF8(msg.Kind, "\uFFFD"), strings.ToValidUTF8(msg.Text, "\uFFFD")
	return Key[Message]{flashName(now)}.Set(s, msg)
}

// flashName returns the name for a message of the time. Each message is a value of its
// own: in a list, one of two messages that requests append at the same time would be
// lost.
func flashName(at time.Time) string {
	return fmt.Sprintf("%s%012x%04x", flashPrefix, at.UnixMicro()&(1<<48-1), rand.N(1<<16))
}

// dropFlashes makes room for one more message.
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

// Flashes takes the messages out of the session and returns them, oldest first. Each is
// delivered at most once, see [Key.Pop]. It asks Redis once for each message, and not at
// all if there is none. On an error it also returns the messages that it took before.
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
