package request

import "net/http"

// Deny answers a request of another site by the deny handler of the protection, or by
// answer where it has none. p does not tell whether it has one, but what it sends if not.
func Deny(p *http.CrossOriginProtection, w http.ResponseWriter, r *http.Request, answer func(http.ResponseWriter)) {
	err := p.Check(r)
	if err == nil { // a handshake, which p lets pass
		answer(w)
		return
	}
	instead, done := Instead(w, http.StatusForbidden, "text/plain", []byte(err.Error()+"\n"), answer)
	defer done()
	p.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) })).ServeHTTP(instead, r)
}
