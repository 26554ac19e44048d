package httpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// webSocketMember echoes messages in capitals, says good-bye when told to, and offers compression.
func webSocketMember(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols: []string{"shout"}, CompressionMode: websocket.CompressionContextTakeover, OriginPatterns: []string{"*"},
		})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(8 << 20)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if string(b) == "bye" {
				_ = c.Close(4001, "as you wish")
				return
			}
			if err := c.Write(r.Context(), kind, []byte(strings.ToUpper(string(b)))); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const webSocketService = `
services:
  - name: web
    members: [{address: %q}]
    timeout: {idle: %s}
listeners:
  - listen: 127.0.0.1:0
    %s
    routes: [{service: web}]
`

func dialWebSocket(t *testing.T, url string, client *http.Client) *websocket.Conn {
	t.Helper()
	c, res, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{"shout"}, CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if res.StatusCode != http.StatusSwitchingProtocols || c.Subprotocol() != "shout" {
		t.Fatalf("%d, subprotocol %q", res.StatusCode, c.Subprotocol())
	}
	c.SetReadLimit(8 << 20)
	return c
}

func TestWebSocket(t *testing.T) {
	p := newPKI(t)
	for name, c := range map[string]struct{ scheme, tls string }{
		"cleartext": {"ws", ""},
		"TLS":       {"wss", fmt.Sprintf("tls: {certificates: [{cert: %q, key: %q}]}", p.cert, p.key)},
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, webSocketService, webSocketMember(t), "1m", c.tls)
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.pool}}
			defer tr.CloseIdleConnections()
			ws := dialWebSocket(t, c.scheme+"://"+k.addr+"/chat", &http.Client{Transport: tr})
			for _, m := range []string{"hello", "", strings.Repeat("long ", 500_000), "again"} {
				if err := ws.Write(t.Context(), websocket.MessageText, []byte(m)); err != nil {
					t.Fatal(err)
				}
				if _, got, err := ws.Read(t.Context()); err != nil || string(got) != strings.ToUpper(m) {
					t.Fatalf("%d bytes came back of %d: %v", len(got), len(m), err)
				}
			}
			ws.CloseRead(t.Context()) // somebody must read for pongs to be seen
			if err := ws.Ping(t.Context()); err != nil {
				t.Errorf("ping: %v", err)
			}
			if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// TestWebSocketCloses: the member's reason reaches the client, and both connections end.
func TestWebSocketCloses(t *testing.T) {
	k := start(t, webSocketService, webSocketMember(t), "1m", "")
	ws := dialWebSocket(t, "ws://"+k.addr+"/", nil)
	_ = ws.Write(t.Context(), websocket.MessageText, []byte("bye"))
	_, _, err := ws.Read(t.Context())
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4001 || closed.Reason != "as you wish" {
		t.Errorf("closed with %v", err)
	}
}

// TestWebSocketIdle: silence ends a connection after the service's idle timeout.
func TestWebSocketIdle(t *testing.T) {
	k := start(t, webSocketService, webSocketMember(t), "100ms", "")
	ws := dialWebSocket(t, "ws://"+k.addr+"/", nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, _, err := ws.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("still open: %v", err)
	}
}

// TestWebSocketManyAtOnce: connections do not get each other's messages.
func TestWebSocketManyAtOnce(t *testing.T) {
	k := start(t, webSocketService, webSocketMember(t), "1m", "")
	errs := make(chan error)
	const n = 30
	for i := range n {
		ws := dialWebSocket(t, "ws://"+k.addr+"/", nil)
		go func() {
			for j := range 50 {
				m := fmt.Sprintf("message %d of %d", j, i)
				if err := ws.Write(t.Context(), websocket.MessageText, []byte(m)); err != nil {
					errs <- err
					return
				}
				if _, got, err := ws.Read(t.Context()); err != nil || string(got) != strings.ToUpper(m) {
					errs <- fmt.Errorf("%q came back of %q: %w", got, m, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestWebSocketRefused: what the member answers in place of changing the protocol is an ordinary answer.
func TestWebSocketRefused(t *testing.T) {
	k := start(t, webSocketService, http1Member(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) }), "1m", "")
	_, res, err := websocket.Dial(t.Context(), "ws://"+k.addr+"/", nil)
	if err == nil || res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("%v, %v", res, err)
	}
}
