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
}

const (
	policyFields = "name, limits and fail_mode"
	limitFields  = "name, quota, window and algorithm"
)

// MarshalJSON returns the policy as JSON. [Policy.UnmarshalJSON] makes an equal policy of
// it. Every field is written, also where it has its default:
//
//	{
//	  "name": "api",
//	  "limits": [
//	    {"name": "second", "quota": 10, "window": "1s", "algorithm": "SlidingWindow"},
//	    {"name": "day", "quota": 100000, "window": "24h0m0s", "algorithm": "SlidingBuckets"}
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
		form.Limits = append(form.Limits, limitForm{l.Name, l.Quota, l.Window.String(), l.Algorithm.String()})
	}
	return json.Marshal(form)
}

// UnmarshalJSON makes the policy of the form that MarshalJSON writes. A window is the
// text of a duration, see [time.ParseDuration]. name of a limit, algorithm and fail_mode
// may be left out and have their defaults then. All is refused that [NewPolicy] refuses,
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
			l.Algorithm, err = readWord(path, value, SlidingLog)
		default:
			err = unknown(path, limitFields)
		}
		return err
	})
	return l, err
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
