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

var (
	errStalled = errors.New("it takes no messages any more")
	errRemoved = errors.New("it is no longer one of the nodes")
)

// send sends the newest message on a connection, every heartbeat and whenever one is urgent, until the connection fails
// or ctx ends. It closes the connection.
func (l *Link) send(ctx context.Context, n *node, conn line) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = conn.raw.Close() })
	defer stop()
	defer conn.raw.Close()
	acks := make(chan int)
	parts.Go(func() { cancel(readAcks(ctx, conn, acks)) })

	s := sender{link: l, node: n, conn: conn, pace: pacing{heartbeat: l.o.Heartbeat}}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, err := s.turn(time.Now())
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case count := <-acks:
			if s.onTheWay -= count; s.onTheWay < 0 {
				return errGarbage
			}
			s.progress = time.Now()
		case <-n.wake:
		case <-timer.C:
		}
	}
}

// A sender is the state of a connection to a node.
type sender struct {
	link     *Link
	node     *node
	conn     line
	pace     pacing
	serial   uint64 // of the last message sent
	onTheWay int    // messages without an ack
	progress time.Time
}

// turn sends what is to be sent now, and returns the time until it is worth asking again.
func (s *sender) turn(now time.Time) (time.Duration, error) {
	patience := s.link.o.Suspicion
	if s.onTheWay > 0 && now.Sub(s.progress) > patience {
		return 0, errStalled
	}
	m, err := s.link.newest(s.node, s.serial)
	if err != nil {
		return 0, err
	}
	if wait := s.pace.wait(now, m); wait > 0 {
		return wait, nil
	}
	if s.onTheWay < window {
		if s.onTheWay == 0 {
			s.progress = now
		}
		_ = s.conn.raw.SetWriteDeadline(now.Add(patience))
		if err := writeFrame(s.conn, m.kind(), m.message); err != nil {
			return 0, err
		}
		s.serial, s.pace.sent = m.serial, now
		s.onTheWay++
	}
	return s.pace.heartbeat / 2, nil
}

// A pacing says when to send. One who publishes at every heartbeat is followed without delay; the same message is sent
// again only when it is a little late, as its successor would else have to wait for the next heartbeat each time.
type pacing struct {
	heartbeat time.Duration
	sent      time.Time
}

// wait is the time until the next message is to be sent, given what there is to send.
func (p pacing) wait(now time.Time, m letter) time.Duration {
	interval := p.heartbeat * 5 / 4
	switch {
	case m.urgent:
		interval = 0
	case m.fresh:
		interval = p.heartbeat * 3 / 4
	}
	return p.sent.Add(interval).Sub(now)
}

func (m letter) kind() byte {
	switch {
	case m.serial == 0:
		return kindIdle
	case m.urgent:
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
