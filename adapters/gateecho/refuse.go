package gateecho

import (
	"errors"
	"net/http"

	"github.com/gatekit/gatekit"
	"github.com/gatekit/gatekit/internal/request"
	"github.com/labstack/echo/v4"
)

// refuse answers a refused request. It sends a redirect at once. Otherwise the handler of
// the options answers or, if that is nil, refuse returns an error for Echo to answer.
// Echo's default handler sends the Message as application/json to every client. refuse
// has the answer that other frameworks give sent in its place.
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
	problem := &message{refusal: refusal}
	w.Before(func() { // with the writer that the response has by then
		w.Writer, _ = request.Instead(w.Writer, refusal.Status, echo.MIMEApplicationJSON, problem.body,
			func(w http.ResponseWriter) { refusal.Answer(w, r) })
	})
	return echo.NewHTTPError(refusal.Status, problem).SetInternal(refusal)
}

// message is the Message of an [echo.HTTPError]. As JSON it is the problem details. In
// the error's text it is short, because the text of the refusal follows it.
type message struct {
	refusal *gatekit.Refusal
	encoded []byte // nil until a handler encodes it
}

// MarshalJSON returns the problem details.
func (m *message) MarshalJSON() (text []byte, err error) {
	m.encoded, err = m.refusal.MarshalJSON()
	return m.encoded, err
}

func (m *message) body() []byte { return m.encoded }

// String returns the text of the status.
func (m *message) String() string { return http.StatusText(m.refusal.Status) }
