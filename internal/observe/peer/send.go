package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// window bounds the messages on the way: what a node that hung has to read when it wakes.
const window = 4

var errStalled = errors.New("it takes no messages any more")

// send sends the newest message on a connection, every heartbeat and whenever one is urgent, until the connection fails
// or ctx ends. It closes the connection.
func (l *Link) send(ctx context.Context, n *node, conn line) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = conn.raw.Close() })
	defer stop()
	defer conn.raw.Close() //nolint:errcheck // nothing is lost
	acks := make(chan int)
	parts.Go(func() { cancel(readAcks(ctx, conn, acks)) })

	ticker := time.NewTicker(l.o.Heartbeat)
	defer ticker.Stop()
	sent, onTheWay, due := uint64(0), 0, true
	var progress time.Time
	for {
		message, serial, urgent := l.newest(sent)
		if (due || urgent) && onTheWay < window {
			if onTheWay == 0 {
				progress = time.Now()
			}
			_ = conn.raw.SetWriteDeadline(time.Now().Add(l.o.Suspicion))
			if err := writeFrame(conn, kindOf(serial, urgent), message); err != nil {
				return err
			}
			sent, due = serial, false
			onTheWay++
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case count := <-acks:
			if onTheWay -= count; onTheWay < 0 {
				return errGarbage
			}
			progress = time.Now()
		case <-n.wake:
		case <-ticker.C:
			due = true
			if onTheWay > 0 && time.Since(progress) > l.o.Suspicion {
				return errStalled
			}
		}
	}
}

func kindOf(serial uint64, urgent bool) byte {
	switch {
	case serial == 0:
		return kindIdle
	case urgent:
		return kindUrgent
	default:
		return kindMessage
	}
}

// readAcks tells how many messages the other end says it has, until the connection fails: it does so at once when the
// process there dies.
func readAcks(ctx context.Context, r io.Reader, acks chan<- int) error {
	var buf [2 * window]byte
	for {
		count, err := r.Read(buf[:])
		for _, b := range buf[:count] {
			if b != ack {
				return errGarbage
			}
		}
		if count > 0 {
			select {
			case acks <- count:
			case <-ctx.Done():
				return nil
			}
		}
		if err != nil {
			return fmt.Errorf("closed: %w", err)
		}
	}
}
