package ratelimit

import (
	"net/http"
	"strconv"
)

// Problem types of draft-ietf-httpapi-ratelimit-headers-10.
const (
	typeQuotaExceeded   = "https://iana.org/assignments/http-problem-types#quota-exceeded"
	typeReducedCapacity = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
)

// Body returns the problem details (RFC 9457, application/problem+json) of a blocked
// request; nil when it is not blocked. They name the policies that denied it as the
// header fields do, and hold no key, address or error text.
func (v Verdict) Body() []byte {
	typ, title, detail := "about:blank", http.StatusText(v.Status), ""
	switch {
	case v.Status == 0:
		return nil
	case v.Err != nil && v.Status == http.StatusBadRequest:
		detail = "What the request is counted by is missing or has a wrong form."
	case v.Err != nil:
		detail = "The request could not be counted against its quota."
	case v.Status == http.StatusServiceUnavailable:
		typ, title = typeReducedCapacity, "Temporary Reduced Capacity"
		detail = "Quotas cannot be checked at the moment. Try again later."
	case v.RetryAfter == Never:
		typ, title = typeQuotaExceeded, "Quota Exceeded"
		detail = "The request asks for more than a quota allows. Waiting does not help."
	default:
		typ, title = typeQuotaExceeded, "Quota Exceeded"
		detail = "A quota is used up. Wait before trying again."
	}
	b := make([]byte, 0, 384)
	b = append(b, `{"type":"`...)
	b = append(b, typ...)
	b = append(b, `","title":"`...)
	b = append(b, title...)
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(v.Status), 10)
	b = append(b, `,"detail":"`...)
	b = append(b, detail...)
	b = append(b, '"')
	if v.Err == nil {
		b = append(b, `,"violated-policies":[`...)
		b = append(v.appendViolated(b), ']')
	}
	return append(b, "}\n"...)
}

// appendViolated appends the names of the limits that denied the request. When Redis did
// not decide it is not known which of a policy did, so all are named.
func (v Verdict) appendViolated(b []byte) []byte {
	first := true
	for i, d := range v.Decisions {
		if d.Allowed || v.dryRun(i) {
			continue
		}
		for n, s := range d.Limits {
			if d.Degraded == nil && s.RetryAfter == 0 {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = appendItemName(b, d.Policy(), n)
		}
	}
	return b
}

// Respond answers a blocked request, [Verdict.Header] having been called: by
// [GateOptions.Respond] when there is one, or else with the status and the problem
// details, X-Content-Type-Options: nosniff, and no body for HEAD. It does nothing when
// Status is 0.
func (v Verdict) Respond(w http.ResponseWriter, r *http.Request) {
	if v.Status == 0 {
		return
	}
	if v.gate.opts.Respond != nil {
		v.gate.opts.Respond(w, r, v)
		return
	}
	body := v.Body()
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(v.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is no news
	}
}
