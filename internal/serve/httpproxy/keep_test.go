package httpproxy

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestConnectionsToMember: no more at once than allowed, however many clients there are.
func TestConnectionsToMember(t *testing.T) {
	var mu sync.Mutex
	active, most := 0, 0
	b := newBackend(t, func(b *backend, w *wire) {
		mu.Lock()
		active++
		most = max(most, active)
		mu.Unlock()
		defer func() { mu.Lock(); active--; mu.Unlock() }()
		echo(b, w)
	})
	k := start(t, strings.Replace(oneService, "members:", "connections: {max: 2}\n    timeout: {connect: 1m}\n    members:", 1), b.addr)
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			w := k.dial()
			for range 50 {
				w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
	}
	clients.Wait()
	if most > 2 {
		t.Errorf("%d connections at once, want 2 at most", most)
	}
}

// TestBackPressure: a client that does not read keeps the member from sending more than buffers hold.
func TestBackPressure(t *testing.T) {
	sent := make(chan int64, 1)
	b := newBackend(t, func(b *backend, w *wire) {
		b.request(w)
		_, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		n, _ := io.Copy(w.Conn, io.LimitReader(zeros{}, 1000000000))
		sent <- n
	})
	k := start(t, strings.Replace(oneService, "routes:", "timeout: {body_idle: 200ms}\n    routes:", 1), b.addr)
	w := k.dial()
	_ = w.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	select {
	case n := <-sent: // the client is given up, and with it the member's connection
		if n > 200<<20 {
			t.Errorf("the member could send %d bytes that nobody read", n)
		}
	case <-time.After(patience):
		t.Error("a client that takes nothing is waited for without end")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestClientThatLeaves: the member's connection does not outlive a client that leaves in the middle of its answer.
func TestClientThatLeaves(t *testing.T) {
	ended := make(chan struct{})
	b := newBackend(t, func(b *backend, w *wire) {
		b.request(w)
		defer close(ended)
		_, _ = io.WriteString(w.Conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			if _, err := io.WriteString(w.Conn, "3\r\nabc\r\n"); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	k := start(t, oneService, b.addr)
	w := k.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	w.head()
	_ = w.Conn.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the member still sends")
	}
}

// TestNoAllocation: a small GET and a small POST over kept connections allocate nothing.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		return // the detector allocates
	}
	response := []byte(okAnswer)
	b := newBackend(t, func(_ *backend, w *wire) {
		buf := make([]byte, 4096)
		for {
			if _, err := w.Conn.Read(buf); err != nil {
				return
			}
			if _, err := w.Conn.Write(response); err != nil {
				return
			}
		}
	})
	k := start(t, oneService, b.addr)
	for _, request := range []string{
		"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
	} {
		c, err := net.Dial("tcp", k.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		raw, buf := []byte(request), make([]byte, 4096)
		once := func() {
			if _, err := c.Write(raw); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], response) {
				t.Fatalf("%q %v", buf[:n], err)
			}
		}
		for range 100 {
			once()
		}
		if n := testing.AllocsPerRun(2000, once); n >= 0.5 {
			t.Errorf("%s: %.2f allocations for each request, want none", request[:4], n)
		}
	}
}

// TestIdleConnectionsAreSmall: what a connection without a request costs in the heap and in stacks.
func TestIdleConnectionsAreSmall(t *testing.T) {
	if raceEnabled {
		return
	}
	b := newBackend(t, answering(okAnswer))
	k := start(t, oneService, b.addr)
	var before, after runtime.MemStats
	const n = 500
	measure := func(m *runtime.MemStats) {
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(m)
	}
	measure(&before)
	for range n {
		c, err := net.Dial("tcp", k.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := io.ReadFull(c, make([]byte, len(okAnswer))); err != nil {
			t.Fatal(err)
		}
	}
	measure(&after)
	each := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) / n
	t.Logf("%d bytes for each idle connection, the test's own end included", each)
	if each > 16<<10 {
		t.Errorf("%d bytes for each idle connection", each)
	}
}
