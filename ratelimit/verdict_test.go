package ratelimit

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBody(t *testing.T) {
	api, login := MustPolicy("api", PerSecond(10), PerHour(1000)), MustPolicy("login", PerHour(5)).OnFailure(FailClosed)
	denied := func(p *Policy, waits ...time.Duration) Decision {
		d := Decision{record: &record{policy: p}}
		for i, l := range p.limits {
			d.Limits = append(d.Limits, LimitState{Limit: l, RetryAfter: waits[i]})
			d.RetryAfter = max(d.RetryAfter, waits[i])
		}
		return d
	}
	gone := denied(login, 0)
	gone.Degraded, gone.RetryAfter = errors.New("dial tcp 10.0.0.1:6379: refused"), time.Second
	for _, c := range []struct {
		name   string
		status int
		err    error
		ds     []Decision
		dry    uint32
		want   string
	}{
		{"allowed", 0, nil, []Decision{decision(api)}, 0, ``},
		{"one limit of two", 429, nil, []Decision{denied(api, 0, time.Hour)}, 0,
			`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,` +
				`"detail":"A quota is used up. Wait before trying again.","violated-policies":["api-hour"]}`},
		{"both limits, another policy allowed, a dry run", 429, nil,
			[]Decision{decision(login), denied(api, 1, 1), denied(login, 1)}, 1 << 2,
			`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,` +
				`"detail":"A quota is used up. Wait before trying again.","violated-policies":["api-second","api-hour"]}`},
		{"never", 429, nil, []Decision{denied(login, Never)}, 0,
			`{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,` +
				`"detail":"The request asks for more than a quota allows. Waiting does not help.","violated-policies":["login"]}`},
		{"Redis is away", 503, nil, []Decision{gone}, 0,
			`{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",` +
				`"title":"Temporary Reduced Capacity","status":503,` +
				`"detail":"Quotas cannot be checked at the moment. Try again later.","violated-policies":["login"]}`},
		{"no key", 400, errors.New("token abc is bad"), nil, 0,
			`{"type":"about:blank","title":"Bad Request","status":400,` +
				`"detail":"What the request is counted by is missing or has a wrong form."}`},
		{"program is wrong", 500, errors.New("cost 0"), nil, 0,
			`{"type":"about:blank","title":"Internal Server Error","status":500,` +
				`"detail":"The request could not be counted against its quota."}`},
		{"context ended", 503, errors.New("gone"), nil, 0,
			`{"type":"about:blank","title":"Service Unavailable","status":503,` +
				`"detail":"The request could not be counted against its quota."}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verdictOf(GateOptions{}, c.ds...)
			v.Status, v.Err, v.dry = c.status, c.err, c.dry
			for _, d := range c.ds {
				v.RetryAfter = max(v.RetryAfter, d.RetryAfter)
			}
			if got := strings.TrimSuffix(string(v.Body()), "\n"); got != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
			}
		})
	}
}
