package transport

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func openTest(t *testing.T, ls *Listeners, addr string) net.Listener {
	t.Helper()
	ln, err := ls.Open(addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func TestListenersKeepTheirSockets(t *testing.T) {
	ls := NewListeners(nil)
	defer ls.Close()
	unix := "unix:" + filepath.Join(t.TempDir(), "s")
	a, b := openTest(t, ls, "127.0.0.1:0"), openTest(t, ls, unix)
	if again := openTest(t, ls, "127.0.0.1:0"); again != a {
		t.Error("the same address opened another socket")
	}
	ls.Keep(unix)
	if _, err := net.Dial("tcp", a.Addr().String()); err == nil {
		t.Error("a socket that was not kept still accepts")
	}
	c, err := net.Dial("unix", b.Addr().String())
	if err != nil {
		t.Fatalf("the kept socket: %v", err)
	}
	c.Close()
}

func TestStaleUnixSocketIsReplacedAndALiveOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ls := NewListeners(nil)
	defer ls.Close()
	if _, err := ls.Open("unix:" + path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Fatalf("a socket in use: %v", err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	openTest(t, ls, "unix:"+path)

	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ls.Open("unix:" + file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if raw, _ := os.ReadFile(file); string(raw) != "precious" {
		t.Error("a file that is no socket was removed")
	}
}

func TestListenErrorsSayWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ls := NewListeners(nil)
	defer ls.Close()
	own := openTest(t, ls, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(own.Addr().String())
	ls.open["127.0.0.1:"+port] = own // as if configured with its number
	for addr, want := range map[string]string{
		taken.Addr().String():               "ss -ltnp",
		"0.0.0.0:" + port:                   "this node listens on 127.0.0.1:" + port + " itself",
		"192.0.2.1:80":                      "ip address",
		"unix:" + t.TempDir() + "/no/where": "create the folder",
	} {
		_, err := ls.Open(addr)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), addr) {
			t.Errorf("Open(%q) = %v, want the address and %q", addr, err, want)
		}
	}
}

func TestAcceptedConnectionsInheritKeepalive(t *testing.T) {
	ls := NewListeners(nil)
	defer ls.Close()
	ln := openTest(t, ls, "127.0.0.1:0")
	d := Dialer{}
	out, err := d.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for side, conn := range map[string]net.Conn{"accepted": in, "dialled": out} {
		if got := sockopt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE); got != keepIdle {
			t.Errorf("%s: keepalive after %d s, want %d", side, got, keepIdle)
		}
		if sockopt(t, conn, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) == 0 || sockopt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_NODELAY) == 0 {
			t.Errorf("%s: keepalive or TCP_NODELAY is off", side)
		}
	}
	const userTimeout = 18
	if got := sockopt(t, out, syscall.IPPROTO_TCP, userTimeout); got != 60_000 {
		t.Errorf("TCP_USER_TIMEOUT is %d ms", got)
	}
	if err := SetUserTimeout(in, 7*time.Second); err != nil || sockopt(t, in, syscall.IPPROTO_TCP, userTimeout) != 7000 {
		t.Errorf("SetUserTimeout: %v", err)
	}
}

func sockopt(t *testing.T, c net.Conn, level, opt int) (v int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { v, err = syscall.GetsockoptInt(int(fd), level, opt) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return v
}

func TestAcceptPausesAtTheLimitAndStopsWithoutClosing(t *testing.T) {
	ls := NewListeners(nil)
	defer ls.Close()
	ln := openTest(t, ls, "127.0.0.1:0")
	var limit atomic.Int64
	limit.Store(2)
	served, paused := make(chan net.Conn), make(chan string, 10)
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := make(chan error, 1)
	go func() {
		stopped <- Accept(ctx, ln, AcceptOptions{
			Limit:   func() int { return int(limit.Load()) },
			OnPause: func(r string) { paused <- r },
			Handle:  func(c net.Conn) { served <- c; <-release; c.Close() },
		})
	}()
	for range 4 {
		c, err := net.Dial("tcp", ln.Addr().String()) // the kernel takes what accepting leaves
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	<-served
	<-served
	if r := <-paused; r != "limit" {
		t.Errorf("paused for %q", r)
	}
	select {
	case <-served:
		t.Error("more connections than the limit")
	default:
	}
	release <- struct{}{}
	<-served // a place is free, the third comes
	limit.Store(10)
	release <- struct{}{}
	<-served
	cancel()
	if err := <-stopped; err != nil {
		t.Errorf("Accept = %v", err)
	}
	close(release)

	// The socket is still there for who comes next.
	go func() {
		c, err := ln.Accept()
		if err == nil {
			c.Close()
		}
		stopped <- err
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-stopped; err != nil {
		t.Errorf("accepting again: %v", err)
	}
}

// failing is a listener that is out of descriptors for a while.
type failing struct {
	net.Listener
	errs  int
	times []time.Duration
	begin time.Time
}

func (f *failing) Accept() (net.Conn, error) {
	f.times = append(f.times, time.Since(f.begin))
	if f.errs--; f.errs >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return nil, net.ErrClosed
}
func (f *failing) Addr() net.Addr { return &net.TCPAddr{} }

func TestAcceptWaitsLongerWhileDescriptorsAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{errs: 12, begin: time.Now()}
		told := 0
		err := Accept(t.Context(), f, AcceptOptions{OnPause: func(r string) {
			told++
			if r != "descriptors" {
				t.Errorf("reason %q", r)
			}
		}})
		if err != nil || told != 1 {
			t.Errorf("Accept = %v, told %d times", err, told)
		}
		for i := 1; i < len(f.times); i++ {
			step, bound := f.times[i]-f.times[i-1], min(minAcceptDelay<<(i-1), maxAcceptDelay)
			if step < bound/2 || step > bound {
				t.Errorf("delay %d was %v, want %v to %v", i, step, bound/2, bound)
			}
		}
	})
}

func TestDialErrorsAreClassified(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := ln.Addr().String()
	ln.Close()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	canceled, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	for _, c := range []struct {
		ctx        context.Context
		addr, want string
	}{
		{t.Context(), refused, "refused"},
		{t.Context(), "unix:" + filepath.Join(t.TempDir(), "none"), "refused"},
		{expired, refused, "timeout"},
		{canceled, refused, "canceled"},
		{t.Context(), "127.0.0.1:99999", "other"},
	} {
		_, err := new(Dialer).Dial(c.ctx, c.addr)
		if got := Reason(err); got != c.want || !strings.Contains(err.Error(), c.addr) {
			t.Errorf("Dial(%s): %v is %q, want %q", c.addr, err, got, c.want)
		}
	}
	for err, want := range map[error]string{
		nil: "", syscall.EHOSTUNREACH: "unreachable", syscall.ECONNRESET: "reset", net.ErrClosed: "closed",
		&net.DNSError{IsNotFound: true}: "dns", ErrTLS: "tls", errors.New("what"): "other",
	} {
		if got := Reason(err); got != want {
			t.Errorf("Reason(%v) = %q, want %q", err, got, want)
		}
	}
}

func TestSplitAddress(t *testing.T) {
	for in, want := range map[string][2]string{
		"127.0.0.1:80": {"tcp", "127.0.0.1:80"}, ":80": {"tcp", ":80"}, "unix:/run/x": {"unix", "/run/x"}, "unix:@name": {"unix", "@name"},
	} {
		if n, a := SplitAddress(in); n != want[0] || a != want[1] {
			t.Errorf("SplitAddress(%q) = %q %q", in, n, a)
		}
	}
}
