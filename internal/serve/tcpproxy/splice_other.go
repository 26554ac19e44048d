//go:build !linux

package tcpproxy

import "syscall"

const errNotConnected = syscall.ENOTCONN

// pipes are not needed where the kernel cannot splice.
type pipes struct{}

func (*pipes) close() {}

// move moves all of src.
func (f *flow) move() error { return f.copy() }
