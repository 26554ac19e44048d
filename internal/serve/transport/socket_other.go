//go:build !linux

package transport

import (
	"net"
	"syscall"
	"time"
)

// Systems other than Linux keep their own defaults for keepalive and dead peers.

func controlListen(string, string, syscall.RawConn) error { return nil }

func (d *Dialer) controlDial(string, string, syscall.RawConn) error { return nil }

// SetUserTimeout does nothing here.
func SetUserTimeout(net.Conn, time.Duration) error { return nil }

// peek is not to be had here: headers are read byte by byte.
func peek(net.Conn, []byte) (n int, ok bool, err error) { return 0, false, nil }
