package ratelimit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatekit/gatekit/internal/errtext"
)

// policyForm is a policy as JSON. It holds all that [NewPolicy] and [Policy.OnFailure]
// take. A test fails when a field of Policy or Limit is in no form.
type policyForm struct {
	Name     string      `json:"name"`
	Limits   []limitForm `json:"limits"`
	FailMode string      `json:"fail_mode"`
}

// limitForm is a limit as JSON. It is no method of Limit, because LimitState embeds Limit
// and would get the method too, without the fields of its own.
type limitForm struct {
	Name      string `json:"name"`
	Quota     int64  `json:"quota"`
	Window    string `json:"window"`
	Algorithm string `json:"algorithm"`

	Calendar *calendarForm `json:"calendar,omitempty"`
}

// calendarForm is a calendar as JSON.
type calendarForm struct {
	Unit   string `json:"unit"`
	Anchor int    `json:"anchor"`
	Zone   string `json:"zone"`
}

const (
	policyFields = "name, limits and fail_mode"
	limitFields  = "name, quota, window, algorithm and calendar"

	calendarFields = "unit, anchor and zone"
)

// MarshalJSON returns the policy as JSON. [Policy.UnmarshalJSON] makes an equal policy of
// it. Every field is written, also where it has its default; only a calendar is left out
// where there is none:
//
//	{
//	  "name": "api",
//	  "limits": [
//	    {"name": "second", "quota": 10, "window": "1s", "algorithm": "SlidingWindow"},
//	    {"name": "day", "quota": 100000, "window": "24h0m0s", "algorithm": "SlidingBuckets"},
//	    {"name": "month", "quota": 1000000, "window": "0s", "algorithm": "CalendarQuota",
//	      "calendar": {"unit": "month", "anchor": 1, "zone": "Europe/Berlin"}}
//	  ],
//	  "fail_mode": "FailLocal"
//	}
//
// The error is that of a policy that was not made by [NewPolicy] or by UnmarshalJSON.
func (p Policy) MarshalJSON() ([]byte, error) {
	if err := p.usable(); err != nil {
		return nil, errtext.Errorf("ratelimit", "%w", err)
	}
	form := policyForm{Name: p.name, FailMode: p.fail.String()}
	for _, l := range p.limits {
		limit := limitForm{l.Name, l.Quota, l.Window.String(), l.Algorithm.String(), nil}
		if l.Algorithm == CalendarQuota {
			limit.Calendar = &calendarForm{l.Calendar.Unit.String(), l.Calendar.Anchor, l.Calendar.Zone.String()}
		}
		form.Limits = append(form.Limits, limit)
	}
	return json.Marshal(form)
}

// UnmarshalJSON makes the policy of the form that MarshalJSON writes. A window is the
// text of a duration, see [time.ParseDuration]. name of a limit, algorithm and fail_mode
// may be left out and have their defaults then. The zone of a calendar is one that
// [time.LoadLocation] finds. All is refused that [NewPolicy] refuses,
// and also a field that the form does not have, a field that is there twice, and null.
// The error names the place, as in limits[0].quota, and the range.
//
// UnmarshalJSON makes a new policy of a zero Policy. For one that is made already it is
// an error: a policy does not change, because calls may be using it.
func (p *Policy) UnmarshalJSON(text []byte) error {
	if p.set != nil {
		return fmt.Errorf("ratelimit: policy %q is made already and does not change: unmarshal into a new one", p.name)
	}
	made, err := readPolicy("", text)
	if err != nil {
		return errtext.Errorf("ratelimit", "policy: %w", err)
	}
	*p = *made
	return nil
}

func readPolicy(path string, text []byte) (*Policy, error) {
	name, mode := "", FailLocal
	var limits []Limit
	err := members(path, text, func(path, field string, value json.RawMessage) (err error) {
		switch field {
		case "name":
			name, err = readText(path, value)
		case "limits":
			limits, err = readLimits(path, value)
		case "fail_mode":
			mode, err = readWord(path, value, FailClosed)
		default:
			err = unknown(path, policyFields)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkName(at(path, "name"), name); err != nil {
		return nil, err
	}
	p, err := NewPolicy(name, limits...)
	var of limitError
	switch {
	case errors.As(err, &of): // its text begins with the name of the field
		field := of.err.Error()
		return nil, fmt.Errorf("%s[%d].%s%s", at(path, "limits"), of.limit, strings.ToLower(field[:1]), field[1:])
	case err != nil:
		return nil, errtext.Errorf(at(path, "limits"), "%w", err)
	}
	return p.OnFailure(mode), nil
}

func readLimits(path string, text []byte) (limits []Limit, err error) {
	var values []json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil || values == nil {
		return nil, wrong(path, "want a list in brackets")
	}
	for i, value := range values {
		l, err := readLimit(fmt.Sprintf("%s[%d]", path, i), value)
		if err != nil {
			return nil, err
		}
		limits = append(limits, l)
	}
	return limits, nil
}

func readLimit(path string, text []byte) (l Limit, err error) {
	err = members(path, text, func(path, field string, value json.RawMessage) (err error) {
		switch field {
		case "name":
			l.Name, err = readText(path, value)
		case "quota":
			l.Quota, err = readWhole(path, value)
		case "window":
			l.Window, err = readDuration(path, value)
		case "algorithm":
			l.Algorithm, err = readWord(path, value, CalendarQuota)
		case "calendar":
			l.Calendar, err = readCalendar(path, value)
		default:
			err = unknown(path, limitFields)
		}
		return err
	})
	return l, err
}

func readCalendar(path string, text []byte) (c Calendar, err error) {
	err = members(path, text, func(path, field string, value json.RawMessage) (err error) {
		switch field {
		case "unit":
			c.Unit, err = readUnit(path, value)
		case "anchor":
			var n int64
			n, err = readWhole(path, value)
			c.Anchor = int(min(max(n, -1), 99)) // NewPolicy refuses what is out of range
		case "zone":
			c.Zone, err = readZone(path, value)
		default:
			err = unknown(path, calendarFields)
		}
		return err
	})
	return c, err
}

func readUnit(path string, value json.RawMessage) (Unit, error) {
	text, err := readText(path, value)
	if err != nil {
		return 0, err
	}
	for _, unit := range []Unit{Day, Week, Month} {
		if unit.String() == text {
			return unit, nil
		}
	}
	return 0, fmt.Errorf("%s %.40q: want day, week or month", path, text)
}

func readZone(path string, value json.RawMessage) (*time.Location, error) {
	text, err := readText(path, value)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(text)
	if err != nil || text == "" {
		return nil, fmt.Errorf(`%s %.40q: want a time zone that this system knows, like "UTC" or "Europe/Berlin"`, path, text)
	}
	return zone, nil
}

func readDuration(path string, value json.RawMessage) (time.Duration, error) {
	text, err := readText(path, value)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf(`%s %.40q: want a duration like "1s", "1m30s" or "24h"`, path, text)
	}
	return d, nil
}
