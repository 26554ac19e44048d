package transport

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Keepalive finds out about peers that vanished without a word: silence for keepIdle, then keepCount probes keepEvery apart.
const (
	keepIdle  = 30 // seconds
	keepEvery = 10 // seconds
	keepCount = 3
)

// controlListen sets what accepted connections inherit.
func controlListen(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	return control(c, setKeepAlive)
}

// controlDial sets up a connection to a member before it is opened.
func (d *Dialer) controlDial(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	return control(c, func(fd int) error {
		if timeout := d.userTimeout(); timeout > 0 {
			if err := setUserTimeout(fd, timeout); err != nil {
				return err
			}
		}
		return setKeepAlive(fd)
	})
}

func control(c syscall.RawConn, set func(fd int) error) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = set(int(fd)) }); e != nil {
		return e
	}
	return err
}

func setKeepAlive(fd int) error {
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepEvery),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepCount),
	)
}

func setUserTimeout(fd int, d time.Duration) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}

// SetUserTimeout bounds how long bytes sent on conn may stay unacknowledged, or a closed window closed, before the peer
// counts as dead; 0 leaves it to the kernel. It does nothing for what is not TCP.
func SetUserTimeout(conn net.Conn, d time.Duration) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error { return setUserTimeout(fd, d) })
}
