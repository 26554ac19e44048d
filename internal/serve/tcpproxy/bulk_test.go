package tcpproxy

import (
	"crypto/sha256"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// stream is a stretch of pseudo-random bytes.
func stream(seed byte, size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
}

func sum(r io.Reader) (n int64, digest string, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return n, string(h.Sum(nil)), err
}

// TestBulkArrivesWholeAndInTheKernel sends tens of megabytes in both directions at once.
func TestBulkArrivesWholeAndInTheKernel(t *testing.T) {
	const up, down = 48 << 20, 40 << 20
	type seen struct {
		n      int64
		digest string
		err    error
	}
	at := make(chan seen, 1)
	serve := func(c net.Conn) {
		var both sync.WaitGroup
		both.Go(func() {
			n, digest, err := sum(c)
			at <- seen{n, digest, err}
		})
		_, _ = io.Copy(c, stream(2, down))
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
		both.Wait()
	}
	path := filepath.Join(t.TempDir(), "s")
	unix, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, unix, serve)
	for name, address := range map[string]string{"tcp": member(t, func(c *net.TCPConn) { serve(c) }), "unix": "unix:" + path} {
		t.Run(name, func(t *testing.T) {
			k := start(t, one("", "", address))
			c := k.dial()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			go func() {
				_, _ = io.Copy(c, stream(1, up))
				_ = c.CloseWrite()
			}()
			n, digest, err := sum(c)
			_, want, _ := sum(stream(2, down))
			if n != down || digest != want || err != nil {
				t.Errorf("the client read %d bytes (%v), right: %v", n, err, digest == want)
			}
			got := <-at
			_, want, _ = sum(stream(1, up))
			if got.n != up || got.digest != want || got.err != nil {
				t.Errorf("the member read %d bytes (%v), right: %v", got.n, got.err, got.digest == want)
			}
			eventually(t, "the session ends", func() bool { return k.server.Live() == 0 })
			if in, out := k.counter("backstay_tcp_received_bytes_total"), k.counter("backstay_tcp_sent_bytes_total"); in != up || out != down {
				t.Errorf("counted %v in, %v out", in, out)
			}
			if share := float64(k.server.spliced.Load()) / (up + down); share < 0.8 {
				t.Errorf("only %.0f %% never were in user space", 100*share)
			} else {
				t.Logf("%.1f %% spliced", 100*share)
			}
		})
	}
}

// TestSilentSessionsHoldNothing: no pipe and no buffer, however much has passed before.
func TestSilentSessionsHoldNothing(t *testing.T) {
	k := start(t, one("", "", member(t, func(c *net.TCPConn) {
		_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // without the pipe that io.Copy holds otherwise
	})))
	var all []*net.TCPConn
	before := countDescriptors(t)
	for range 20 {
		c := k.dial()
		go func() { _, _ = io.Copy(c, stream(1, 4<<20)) }()
		if _, err := io.CopyN(io.Discard, c, 4<<20); err != nil {
			t.Fatal(err)
		}
		ask(t, c, "now silent")
		all = append(all, c)
	}
	// Four ends of two connections each, and the few pipes that are kept for all.
	if extra := countDescriptors(t) - before - 4*len(all); extra > 16 {
		t.Errorf("%d descriptors more than connections", extra)
	}
}

func TestTLSToMembersCarriesBulk(t *testing.T) {
	certs := newAuthority(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certs.issue("member.test")}})
	if err != nil {
		t.Fatal(err)
	}
	accept(t, ln, func(c net.Conn) {
		_, _ = io.Copy(c, c)
		_ = c.(*tls.Conn).CloseWrite()
	})
	k := start(t, one("", "tls: {ca: '"+certs.file+"', name: member.test}", ln.Addr().String()))
	c := k.dial()
	go func() {
		_, _ = io.Copy(c, stream(3, 8<<20))
		_ = c.CloseWrite()
	}()
	n, digest, err := sum(c)
	if _, want, _ := sum(stream(3, 8<<20)); n != 8<<20 || digest != want || err != nil {
		t.Errorf("read %d bytes (%v), right: %v", n, err, digest == want)
	}
	wrong := start(t, one("", "hold: 0s\nretry: 1\ntls: {ca: '"+certs.file+"', name: other.test}", ln.Addr().String()))
	wrong.refused("") // the member's certificate is for another name
}
