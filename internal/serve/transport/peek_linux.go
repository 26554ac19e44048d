package transport

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peek waits for bytes of conn and copies them to buf without taking them; ok is false where conn is not a socket.
// At the end of the stream it returns io.EOF.
func peek(conn net.Conn, buf []byte) (n int, ok bool, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false, nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, true, err
	}
	var got error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, got = unix.Recvfrom(int(fd), buf, unix.MSG_PEEK)
			if got != unix.EINTR {
				return got != unix.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, true, err
	case got != nil:
		return 0, true, got
	case n == 0:
		return 0, true, io.EOF
	}
	return n, true, nil
}
