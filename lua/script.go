package lua

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"strings"
)

//go:embed *.lua parts/*.lua
var files embed.FS

// retry is the RETRY line of a script's contract.
type retry bool

const (
	unsafe retry = false // running it twice changes more than once
	safe   retry = true
)

// script is one atomic operation, ready to send.
type script struct {
	name  string
	retry retry
	text  string

	// The words of the command, boxed once.
	sha, src any
}

// The scripts, each with the fragments it is joined from, in order.
var (
	limitTake     = newScript("limit_take", unsafe, "now", "straight", "limit", "window", "buckets")
	limitTakeOnce = newScript("limit_take_once", safe, "now", "limit", "window", "buckets", "log")
	limitPeek     = newScript("limit_peek", safe, "now", "limit", "window", "buckets", "log")
	limitRefund   = newScript("limit_refund", unsafe, "now", "limit", "window", "buckets", "log")
	limitReset    = newScript("limit_reset", safe)

	scripts = []*script{limitTake, limitTakeOnce, limitPeek, limitRefund, limitReset}
)

// newScript joins the script's contract, its fragments and its body, without the comments: every EVAL carries the text.
func newScript(name string, retry retry, parts ...string) *script {
	var text strings.Builder
	for _, part := range parts {
		text.WriteString(code("parts/" + part + ".lua"))
	}
	text.WriteString(code(name + ".lua"))
	sum := sha1.Sum([]byte(text.String()))
	s := &script{name: name, retry: retry, text: text.String()}
	s.sha, s.src = hex.EncodeToString(sum[:]), s.text
	return s
}

// code returns a file without its comment lines.
func code(file string) string {
	raw, err := files.ReadFile(file)
	if err != nil {
		panic(err) // a file of the list above is missing from the build
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		if bare := strings.TrimSpace(line); bare != "" && !strings.HasPrefix(bare, "--") {
			b.WriteString(line)
		}
	}
	return b.String()
}
