package httpproxy

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestHTTP2Host: a stream names its host in :authority, in the field Host as what was HTTP/1 may (RFC 9113, section 8.3.1),
// or the same in both.
func TestHTTP2Host(t *testing.T) {
	k := start(t, `
listeners:
  - listen: 127.0.0.1:0
    routes: [{match: {host: a.test}, respond: 204}, {respond: 404}]
`)
	for _, ask := range []struct {
		authority string
		hosts     []string
		status    string
	}{
		{"a.test", nil, "204"}, {"", []string{"a.test"}, "204"}, {"a.test", []string{"a.test"}, "204"},
		{"b.test", []string{"a.test"}, "400"}, {"", []string{"a.test", "b.test"}, "400"},
		{"a.test", []string{"a.test", "a.test"}, "400"}, {"", nil, "400"},
	} {
		t.Run(fmt.Sprintf("%q and %q", ask.authority, ask.hosts), func(t *testing.T) {
			if got := k.http2Status(ask.authority, ask.hosts); got != ask.status {
				t.Errorf("%s, want %s", got, ask.status)
			}
		})
	}
}

// http2Status is the status of a request made of frames, as net/http's client sends :authority only.
func (k *kit) http2Status(authority string, hosts []string) (status string) {
	conn, err := net.Dial("tcp", k.addr)
	if err != nil {
		k.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	write := func(name, value string) {
		if err := enc.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			k.t.Fatal(err)
		}
	}
	write(":method", "GET")
	write(":scheme", "http")
	write(":path", "/")
	if authority != "" {
		write(":authority", authority)
	}
	for _, h := range hosts {
		write("host", h)
	}
	_, err = conn.Write([]byte(http2.ClientPreface))
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err == nil {
		err = framer.WriteSettings()
	}
	if err == nil {
		err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true})
	}
	for err == nil {
		var f http2.Frame
		if f, err = framer.ReadFrame(); err == nil {
			if answer, ok := f.(*http2.MetaHeadersFrame); ok {
				return answer.PseudoValue("status")
			}
		}
	}
	k.t.Fatal(err)
	return ""
}
