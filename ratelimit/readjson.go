package ratelimit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// These functions read JSON member by member, because the errors must name the place of a
// mistake, as in limits[0].quota. encoding/json knows no index of a list, takes QUOTA for
// quota, and of two members of one name takes the last in silence.

// members calls member for each member of an object, in its order. path is the place of
// the object; "" is the top.
func members(path string, text []byte, member func(path, name string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return wrong(path, "want an object in braces")
	}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return wrong(path, err.Error())
		}
		if seen[name] {
			return wrong(at(path, name), "it is there twice")
		}
		seen[name] = true
		if err := member(at(path, name), name, value); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return wrong(path, "the object does not end: "+err.Error())
	}
	if _, err := d.Token(); err != io.EOF {
		return wrong(path, "want one object and nothing behind it")
	}
	return nil
}

// at returns the place of a member of the object at path. A name that no form has may be
// anything, so it is quoted and cut.
func at(path, name string) string {
	if !fieldForm.MatchString(name) {
		name = fmt.Sprintf("%.40q", name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

var fieldForm = regexp.MustCompile(`^[A-Za-z_]{1,40}$`)

// wrong is a mistake at path.
func wrong(path, text string) error {
	if path == "" {
		return errors.New(text)
	}
	return errors.New(path + ": " + text)
}

// unknown is the error for a member that a form does not have.
func unknown(path, known string) error {
	return wrong(path, "no such field: want "+known)
}

func readText(path string, value json.RawMessage) (string, error) {
	var text *string
	if err := json.Unmarshal(value, &text); err != nil || text == nil {
		return "", wrong(path, "want a text in quotes")
	}
	return *text, nil
}

func readWhole(path string, value json.RawMessage) (int64, error) {
	var n *int64
	if err := json.Unmarshal(value, &n); err != nil || n == nil {
		return 0, wrong(path, "want a whole number")
	}
	return *n, nil
}

// readWord reads the name of one of the values 0, 1, 2 and so on of T.
func readWord[T interface {
	~uint8
	fmt.Stringer
}](path string, value json.RawMessage, last T) (T, error) {
	text, err := readText(path, value)
	if err != nil {
		return 0, err
	}
	words := ""
	for word := range last + 1 {
		if word.String() == text {
			return word, nil
		}
		switch {
		case word == last:
			words += " or "
		case word > 0:
			words += ", "
		}
		words += word.String()
	}
	return 0, fmt.Errorf("%s %.40q: want %s", path, text, words)
}
