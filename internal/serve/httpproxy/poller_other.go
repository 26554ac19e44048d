//go:build !linux

package httpproxy

import (
	"errors"
	"time"
)

// A poller does not exist on this system: idle connections keep their goroutines.
type poller struct{}

func newPoller() (*poller, error)            { return nil, errors.ErrUnsupported }
func (p *poller) add(int) error              { return errors.ErrUnsupported }
func (p *poller) remove(int)                 {}
func (p *poller) wait(time.Duration) []int32 { return nil }
func (p *poller) interrupt()                 {}
func (p *poller) close()                     {}

func descriptor(*link) (int, bool) { return 0, false }
