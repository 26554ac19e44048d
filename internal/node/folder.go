package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// own makes this process the only node on the data folder until release, or its end however it comes. Two would write one
// event log, one cache and one admin socket.
func own(path string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(path, "node.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("another node runs on %s: stop it first", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
