package redistest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// readRequest reads one command as a client sends it and gives its words beside the bytes
// as they came.
func readRequest(r *bufio.Reader) (raw []byte, words []string, err error) {
	line, err := readLine(r)
	if err != nil {
		return nil, nil, err
	}
	if line[0] != '*' {
		// The inline form, which people type into telnet.
		return line, strings.Fields(string(line)), nil
	}
	count, err := length(line)
	if err != nil {
		return nil, nil, err
	}
	raw = line
	for range count {
		head, err := readLine(r)
		if err != nil {
			return nil, nil, unexpected(err)
		}
		size, err := length(head)
		if err != nil || head[0] != '$' || size < 0 {
			return nil, nil, fmt.Errorf("request argument starts with %q", head)
		}
		raw = append(raw, head...)
		if raw, err = readBulk(r, raw, size); err != nil {
			return nil, nil, err
		}
		words = append(words, string(raw[len(raw)-size-2:len(raw)-2]))
	}
	return raw, words, nil
}

// readReply reads one reply, RESP2 or RESP3, with all that is nested in it. A reply that
// begins with '>' is a push: it answers no request.
func readReply(r *bufio.Reader) ([]byte, error) { return appendReply(r, nil) }

func appendReply(r *bufio.Reader, raw []byte) ([]byte, error) {
	line, err := readLine(r)
	if err != nil {
		if len(raw) > 0 {
			err = unexpected(err)
		}
		return nil, err
	}
	raw = append(raw, line...)
	children := 0
	switch line[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return raw, nil
	case '$', '=', '!':
		size, err := length(line)
		if err != nil || size < 0 {
			return raw, err
		}
		return readBulk(r, raw, size)
	case '*', '~', '>':
		children, err = length(line)
	case '%':
		children, err = length(line)
		children *= 2
	case '|':
		// Attributes stand before the reply they describe.
		children, err = length(line)
		children = 2*children + 1
	default:
		err = fmt.Errorf("reply starts with %q", line)
	}
	if err != nil {
		return nil, err
	}
	for range children { // not at all for *-1, the null array
		if raw, err = appendReply(r, raw); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

func readBulk(r *bufio.Reader, raw []byte, size int) ([]byte, error) {
	at := len(raw)
	raw = append(raw, make([]byte, size+2)...)
	_, err := io.ReadFull(r, raw[at:])
	return raw, unexpected(err)
}

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		if len(line) > 0 {
			err = unexpected(err)
		}
		return nil, err
	}
	return line, nil
}

func length(line []byte) (int, error) { return strconv.Atoi(string(bytes.TrimSpace(line[1:]))) }

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ask sends one command over a connection of its own and returns a textual reply; a reply
// that is not text comes raw. It is used on servers that are about to start, where a
// go-redis client would log every refused dial.
func ask(ctx context.Context, addr string, words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	request := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, word := range words {
		request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := conn.Write(request); err != nil {
		return "", err
	}
	reply, err := readReply(bufio.NewReader(conn))
	if err != nil {
		return "", err
	}
	switch text := strings.TrimSuffix(string(reply), "\r\n"); text[0] {
	case '-':
		return "", errors.New(text[1:])
	case '+', ':':
		return text[1:], nil
	case '$':
		_, text, _ = strings.Cut(text, "\r\n")
		return text, nil
	default:
		return text, nil
	}
}
