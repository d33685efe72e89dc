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
type retry int

const (
	unsafe retry = iota // running it twice changes more than once
	safe                // running it twice changes what running it once does
	reads               // it writes nothing, so no reply that is lost leaves a doubt
)

// script is one atomic operation, ready to send.
type script struct {
	name  string
	retry retry
	text  string

	sha, src []byte // as they go to the server, see [word]
}

// The scripts, each with the fragments it is joined from, in order.
var (
	limitTake     = newScript("limit_take", unsafe, "now", "straight", "limit", "window", "buckets")
	limitTakeOnce = newScript("limit_take_once", safe, "now", "limit", "window", "buckets", "log")
	limitPeek     = newScript("limit_peek", reads, "now", "limit", "window", "buckets", "log")
	limitRefund   = newScript("limit_refund", unsafe, "now", "limit", "window", "buckets", "log")
	limitReset    = newScript("limit_reset", safe, "now", "limit")

	sessionCreate     = newWalk("session_create", safe, "now", "session")
	sessionTouch      = newScript("session_touch", safe, "now", "session", "session_open")
	sessionCommit     = newScript("session_commit", unsafe, "now", "session", "session_open")
	sessionRotate     = newScript("session_rotate", safe, "now", "session", "session_open", "session_token")
	sessionConfirm    = newScript("session_confirm", safe, "now", "session", "session_open", "session_token")
	sessionElevate    = newScript("session_elevate", safe, "now", "session", "session_open", "session_token")
	sessionDrop       = newScript("session_drop", safe, "now", "session")
	sessionPop        = newScript("session_pop", unsafe, "now", "session", "session_open")
	sessionSetNX      = newScript("session_setnx", unsafe, "now", "session", "session_open")
	sessionSwap       = newScript("session_swap", unsafe, "now", "session", "session_open")
	sessionSettle     = newWalk("session_settle", safe, "now", "session")
	sessionList       = newWalk("session_list", safe, "now", "session", "session_index")
	sessionRevoke     = newWalk("session_revoke", safe, "now", "session", "session_index")
	sessionRevokePage = newWalk("session_revoke_page", safe, "now", "session", "session_index")
	sessionEpoch      = newWalk("session_epoch", safe, "now", "session", "session_index")

	blobFind   = newScript("blob_find", reads, "now", "blob")
	blobCommit = newScript("blob_commit", unsafe, "now", "blob")
	blobDelete = newScript("blob_delete", safe, "now", "blob")

	scripts = []*script{
		limitTake, limitTakeOnce, limitPeek, limitRefund, limitReset,
		sessionCreate, sessionTouch, sessionCommit, sessionRotate, sessionConfirm, sessionElevate, sessionDrop, sessionPop,
		sessionSetNX, sessionSwap, sessionSettle, sessionList, sessionRevoke, sessionRevokePage, sessionEpoch,
		blobFind, blobCommit, blobDelete,
	}

	// Plain commands, run by the rules of a script that reads.
	sessionLoad = &script{name: "session_load", retry: reads}
	foreignGet  = &script{name: "foreign_get", retry: reads}
	blobScan    = &script{name: "blob_scan", retry: reads}
)

// undeclared lets a script use keys that are not in KEYS on Dragonfly, which refuses them otherwise and reads this from
// the first line only. To Redis it is a comment.
const undeclared = "--!df flags=allow-undeclared-keys\n"

// newScript joins the script's contract, its fragments and its body, without the comments: every EVAL carries the text.
func newScript(name string, retry retry, parts ...string) *script {
	return joinScript("", name, retry, parts)
}

// newWalk is newScript for one that goes through a user's sessions: it builds the keys of their records, see recordPrefix.
func newWalk(name string, retry retry, parts ...string) *script {
	return joinScript(undeclared, name, retry, parts)
}

func joinScript(first, name string, retry retry, parts []string) *script {
	var text strings.Builder
	text.WriteString(first)
	for _, part := range parts {
		text.WriteString(code("parts/" + part + ".lua"))
	}
	text.WriteString(code(name + ".lua"))
	sum := sha1.Sum([]byte(text.String()))
	s := &script{name: name, retry: retry, text: text.String()}
	s.sha, s.src = []byte(hex.EncodeToString(sum[:])), []byte(s.text)
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
