package gateecho5

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/labstack/echo/v5"
)

// refuse answers a refused request. It sends a redirect at once. Otherwise the handler of
// the options answers or, if that is nil, refuse returns an error for Echo to answer.
// Echo's default handler sends the problem as application/json to every client. refuse
// has the answer that other frameworks give sent in its place.
func refuse(c *echo.Context, err error, handler func(http.ResponseWriter, *http.Request, *gatekit.Refusal)) error {
	var refusal *gatekit.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	w, r := c.Response(), c.Request()
	refusal.Header(w.Header())
	switch {
	case refusal.Location != "":
		refusal.Answer(w, r)
		return nil
	case handler != nil:
		handler(w, r, refusal)
		return nil
	}
	problem := &denied{Refusal: refusal}
	instead := func(w http.ResponseWriter) http.ResponseWriter {
		w, _ = request.Instead(w, refusal.Status, echo.MIMEApplicationJSON, problem.body,
			func(w http.ResponseWriter) { refusal.Answer(w, r) })
		return w
	}
	c.SetResponse(instead(w))                            // before a middleware compresses
	if sent, err := echo.UnwrapResponse(w); err == nil { // if a middleware puts its own writer back
		sent.Before(func() { sent.ResponseWriter = instead(sent.ResponseWriter) })
	}
	return problem
}

// denied wraps the refusal for Echo. It unwraps to an [echo.HTTPError], and Echo's error
// handlers send its problem details.
type denied struct {
	*gatekit.Refusal
	encoded []byte // the problem details; nil until a handler encodes them
}

// MarshalJSON returns the problem details.
func (d *denied) MarshalJSON() (text []byte, err error) {
	d.encoded, err = d.Refusal.MarshalJSON()
	return d.encoded, err
}

func (d *denied) body() []byte { return d.encoded }

// Unwrap returns the HTTPError.
func (d *denied) Unwrap() error {
	return echo.NewHTTPError(d.StatusCode(), http.StatusText(d.StatusCode())).Wrap(d.Refusal)
}

// ProblemError returns the problem details for [echo.ProblemDetailsHTTPErrorHandler].
func (d *denied) ProblemError() *echo.ProblemError {
	problem := &echo.ProblemError{Status: d.StatusCode()}
	text, _ := d.Refusal.MarshalJSON()
	_ = json.Unmarshal(text, problem)
	return problem
}
