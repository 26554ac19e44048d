//go:build !linux

package transport

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// A Sleeper is a connection that waits in a Lot.
type Sleeper interface{ Wake() }

// A Lot takes no connections where there is no epoll: each keeps its goroutine.
type Lot struct{}

// Park takes nothing.
func (l *Lot) Park(syscall.RawConn, time.Time, Sleeper) error { return errors.ErrUnsupported }

// WakeAll has nobody to wake.
func (l *Lot) WakeAll(func(Sleeper) bool) {}

// Parked is 0.
func (l *Lot) Parked() int { return 0 }

// Run waits for ctx.
func (l *Lot) Run(ctx context.Context) error { <-ctx.Done(); return nil }
