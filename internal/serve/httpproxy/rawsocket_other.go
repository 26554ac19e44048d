//go:build !linux

package httpproxy

import "syscall"

// recvSocket and sendSocket are read(2) and write(2) on sockets that do not block.
func recvSocket(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func sendSocket(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
