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
	Text string `json:"t"`           // plain text: escape it as HTML
}

// Flash leaves a message for the next call of [Session.Flashes], usually in the request after a redirect. Like Set it is
// written with the response. Messages of parallel requests are all kept.
func (s *Session) Flash(msg Message) error {
	// Each message is a value of its own: a list would lose what two requests append at the same time.
	name := fmt.Sprintf("%s%012x%04x", flashPrefix, time.Now().UnixMicro()&(1<<48-1), rand.N(1<<16))
	return Key[Message]{name}.Set(s, msg)
}

// Flashes takes the messages out of the session, oldest first: each is delivered at most once, see [Key.Pop]. It asks Redis
// once for each message, and not at all where there is none. On an error it returns those that it got.
func (s *Session) Flashes(ctx context.Context) (msgs []Message, err error) {
	if err := s.load(ctx); err != nil {
		return nil, s.refuse(err)
	}
	s.mu.Lock()
	names := slices.DeleteFunc(s.namesLocked(), func(name string) bool { return !strings.HasPrefix(name, flashPrefix) })
	s.mu.Unlock()
	slices.Sort(names)
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
