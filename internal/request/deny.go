package request

import "net/http"

// Deny answers a request of another site by the deny handler of p or, if p has none, by
// answer. p does not report whether it has a deny handler, but we know what it sends if
// it has none: Deny looks for that and replaces it.
func Deny(p *http.CrossOriginProtection, w http.ResponseWriter, r *http.Request, answer func(http.ResponseWriter)) {
	err := p.Check(r)
	if err == nil { // a WebSocket handshake, which p lets pass
		answer(w)
		return
	}
	instead, done := Instead(w, http.StatusForbidden, "text/plain", func() []byte { return []byte(err.Error() + "\n") }, answer)
	defer done()
	p.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) })).ServeHTTP(instead, r)
}
