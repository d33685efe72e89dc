package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatekit/gatekit/internal/redistest"
	"github.com/gatekit/gatekit/internal/store"
)

// TestNothingWasSent: if a call fails before its command is sent, the error says that
// nothing was sent.
func TestNothingWasSent(t *testing.T) {
	certificate := selfSigned(t)
	for _, c := range []struct {
		name   string
		server func(conn net.Conn) // of each connection
		tls    *tls.Config
	}{
		{"unknown authority", func(conn net.Conn) {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}}).Handshake()
		}, &tls.Config{ServerName: "localhost"}},
		{"plain client on a TLS port", func(conn net.Conn) {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}}).Handshake()
		}, nil},
		{"TLS client on a plain port", func(conn net.Conn) { _, _ = conn.Write([]byte("-ERR\r\n")) }, &tls.Config{ServerName: "localhost"}},
		{"closed in the handshake", func(net.Conn) {}, nil},
		{"silent in the handshake", func(conn net.Conn) { time.Sleep(time.Second) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go func() { c.server(conn); conn.Close() }()
				}
			}()
			client := redis.NewClient(&redis.Options{Addr: listener.Addr().String(), TLSConfig: c.tls, ContextTimeoutEnabled: true, DialerRetries: 1})
			defer client.Close()
			kv, err := store.New(client, store.Options{Budget: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer kv.WaitForBackground()
			call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
			for range 2 { // the second while connections get ready in the background
				for _, above := range []int64{16, 0} {
					kv.PipelineAbove(above)
					err = take(t.Context(), kv, call, 0)
					if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) || !strings.Contains(err.Error(), "nothing was sent") {
						t.Errorf("take, pipelines above %d: %v", above, err)
					}
				}
				_, errs := kv.LimitTakeMany(t.Context(), manyCalls(windowSet, "sent", 2))
				for _, err := range errs {
					if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) || !strings.Contains(err.Error(), "nothing was sent") {
						t.Errorf("many: %v", err)
					}
				}
			}
		})
	}
}

// TestGivenUpCallRunsNothing: if the error of a call says that nothing was sent, the call
// is not sent later either, when its connection is ready.
func TestGivenUpCallRunsNothing(t *testing.T) {
	server, prefix := redistest.NewSingle(t), redistest.Prefix(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addrs()[0], ContextTimeoutEnabled: true})
	defer client.Close()
	client.AddHook(farAway{300 * time.Millisecond})
	kv, err := store.New(client, store.Options{Prefix: prefix, Budget: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	call := store.LimitCall{Set: windowSet, Tag: store.MakeTag("test"), Cost: 1}
	other := call // so that the server knows the script
	other.Tag = store.MakeTag("other")
	if err := take(t.Context(), newStore(t, server.Client(t), prefix), other, 0); err != nil {
		t.Fatal(err)
	}
	for n := range 4 { // from the second on, the call goes on in the background
		if _, err := kv.LimitTake(context.Background(), call); is(err) != "unavailable" {
			t.Fatalf("call %d: %v, want one that was given up", n, err)
		}
	}
	kv.WaitForBackground()
	if got := spent(t, newStore(t, server.Client(t), prefix), windowSet, call.Tag)[0]; got != 0 {
		t.Errorf("%d permits spent by calls that were told that nothing was sent", got)
	}
}

// selfSigned returns a certificate that no client trusts.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
