package gateecho

import (
	"errors"
	"net/http"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/labstack/echo/v4"
)

// refuse answers a request that is refused: a redirect at once, anything else by the
// handler of the options or, where that is nil, by the error that it returns to Echo.
// Echo's default handler sends the Message as application/json to everybody. The answer
// that other frameworks give goes out in its place.
func refuse(c echo.Context, err error, handler func(http.ResponseWriter, *http.Request, *gatekit.Refusal)) error {
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
	w.Before(func() { // whichever writer the response has by then
		problem, _ := refusal.MarshalJSON()
		w.Writer, _ = request.Instead(w.Writer, refusal.Status, echo.MIMEApplicationJSON, problem,
			func(w http.ResponseWriter) { refusal.Answer(w, r) })
	})
	return echo.NewHTTPError(refusal.Status, message{refusal}).SetInternal(refusal)
}

// message is the Message of an [echo.HTTPError]: problem details as JSON, and short in
// the error's text, which has the refusal behind it.
type message struct{ refusal *gatekit.Refusal }

// MarshalJSON returns the problem details.
func (m message) MarshalJSON() ([]byte, error) { return m.refusal.MarshalJSON() }

// String returns the text of the status.
func (m message) String() string { return http.StatusText(m.refusal.Status) }
