package main

import (
	"context"
	"errors"
	"testing"
)

// row is one thing that several libraries can do. Backstay's comes first.
type row struct {
	name      string
	libraries []library
}

type library struct {
	name      string
	benchmark func(*testing.B)
}

const (
	ours      = "**backstay**"
	failsafes = "failsafe-go"
	gobreakrs = "sony/gobreaker"
	eapache   = "eapache/go-resiliency"
	xtime     = "x/time/rate"
)

func rows() []row {
	var all []row
	all = append(all, breakerRows()...)
	all = append(all, limitRows()...)
	return append(all, callRows()...)
}

// parallel measures op in as many goroutines as there are processors in use.
func parallel(b *testing.B, op func()) {
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			op()
		}
	})
}

var (
	background = context.Background()
	errFailed  = errors.New("failed")
)

// The calls that are protected take no time, so that what is measured is the protection.
func work(context.Context) (int, error)    { return 1, nil }
func plainWork() (int, error)              { return 1, nil }
func errorWork() error                     { return nil }
func failing(context.Context) (int, error) { return 0, errFailed }
func plainFailing() (int, error)           { return 0, errFailed }
