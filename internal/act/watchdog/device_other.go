//go:build !linux

package watchdog

import (
	"errors"
	"time"
)

// OpenDevice says that there is none.
func OpenDevice(string, time.Duration) (Device, error) {
	return nil, errors.New("there are watchdogs on Linux only")
}
