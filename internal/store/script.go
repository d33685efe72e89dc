package store

import "github.com/gatekit/gatekit/lua"

// retry is the RETRY line of a script's contract: whether the script may run twice.
type retry int

const (
	unsafe retry = iota // running it twice changes more than running it once
	safe                // running it twice changes what running it once does
	reads               // it writes nothing, so a lost reply leaves no doubt about its outcome
)

// script is one atomic operation, ready to send.
type script struct {
	name  string
	retry retry
	text  string

	sha, src []byte // in the form in which they are sent, see [word]
}

// The scripts, named after their files.
var (
	limitTake     = find("limit_take")
	limitTakeOnce = find("limit_take_once")
	limitTakeCal  = find("limit_take_calendar")
	limitBatch    = find("limit_take_batch")
	limitTakeAll  = find("limit_take_all")
	limitPeek     = find("limit_peek")
	limitRefund   = find("limit_refund")
	limitSettle   = find("limit_settle")
	limitReset    = find("limit_reset")

	slotAcquire = find("slot_acquire")
	slotBeat    = find("slot_beat")
	slotRelease = find("slot_release")
	slotLeave   = find("slot_leave")

	sessionGuest      = find("session_guest")
	sessionLogin      = find("session_login")
	sessionCarry      = find("session_carry")
	sessionTouch      = find("session_touch")
	sessionCommit     = find("session_commit")
	sessionRotate     = find("session_rotate")
	sessionConfirm    = find("session_confirm")
	sessionElevate    = find("session_elevate")
	sessionDrop       = find("session_drop")
	sessionPop        = find("session_pop")
	sessionSetNX      = find("session_setnx")
	sessionSwap       = find("session_swap")
	sessionSettle     = find("session_settle")
	sessionList       = find("session_list")
	sessionRevoke     = find("session_revoke")
	sessionRevokePage = find("session_revoke_page")
	sessionEpoch      = find("session_epoch")

	blobFind   = find("blob_find")
	blobCommit = find("blob_commit")
	blobDelete = find("blob_delete")

	scripts = []*script{
		limitTake, limitTakeOnce, limitTakeCal, limitTakeAll, limitBatch, limitPeek, limitRefund, limitSettle, limitReset,
		slotAcquire, slotBeat, slotRelease, slotLeave,
		sessionGuest, sessionLogin, sessionCarry, sessionTouch, sessionCommit, sessionRotate, sessionConfirm, sessionElevate, sessionDrop, sessionPop,
		sessionSetNX, sessionSwap, sessionSettle, sessionList, sessionRevoke, sessionRevokePage, sessionEpoch,
		blobFind, blobCommit, blobDelete,
	}

	// Plain commands, which follow the rules of a script that reads.
	sessionLoad = &script{name: "session_load", retry: reads}
	foreignGet  = &script{name: "foreign_get", retry: reads}
	blobScan    = &script{name: "blob_scan", retry: reads}
)

// find takes a script from the list of package lua.
func find(name string) *script {
	s := lua.Find(name)
	found := &script{name: name, retry: unsafe, text: s.Text, sha: []byte(s.SHA1), src: []byte(s.Text)}
	switch {
	case s.Reads:
		found.retry = reads
	case s.Repeatable:
		found.retry = safe
	}
	return found
}
