package httpproxy

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// epoch is what instants are counted from: nanoseconds since it, by the monotonic clock.
var epoch = time.Now()

// instant is a moment in nanoseconds since the epoch; 0 is none.
type instant = int64

func now() instant { return int64(time.Since(epoch)) }

// after is the instant a duration from t, none for a duration that is no bound.
// epochTime is an instant as a wall clock shows it.
func epochTime(t instant) time.Time { return epoch.Add(time.Duration(t)) }

func after(t instant, d time.Duration) instant {
	if d <= 0 {
		return 0
	}
	return t + int64(d)
}

// earlier is the earlier of two instants, where 0 is never.
func earlier(a, b instant) instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// errInterrupted is what a read returns that interrupt ended.
var errInterrupted = errors.New("interrupted")

// past is a deadline that is over.
var past = time.Unix(1, 0)

// A link is a connection whose deadlines are moved without touching a timer each time: the one that is armed may be
// earlier than the one that is meant; when it fires early it is armed anew. So a connection in steady use sets a
// deadline once in a timeout's length, not once for each request.
//
// At most one goroutine reads and one writes at a time. interrupt and resume may be called by any.
type link struct {
	net.Conn
	raw syscall.RawConn // nil where the connection is not a socket

	readBy      instant // when the read that is under way, or the next, must have ended; 0 is never
	readArmed   instant // the deadline that is set, 0 is none
	writeIdle   time.Duration
	writeArmed  bool
	interrupted atomic.Bool
}

func (l *link) reset(c net.Conn) {
	l.Conn = c
	if s, ok := c.(syscall.Conn); ok {
		l.raw, _ = s.SyscallConn() // an error is that of a closed socket: reads will tell
	}
}

// expect says by when reads must have ended. It costs a timer only where the armed deadline is later.
func (l *link) expect(by instant) {
	l.readBy = by
	if by != 0 && (l.readArmed == 0 || by < l.readArmed) {
		l.arm(by)
	}
}

func (l *link) arm(by instant) {
	l.readArmed = by
	t := time.Time{}
	if by != 0 {
		t = epochTime(by)
	}
	_ = l.SetReadDeadline(t)  // fails only on a closed connection
	if l.interrupted.Load() { // it may have been set between
		_ = l.SetReadDeadline(past)
	}
}

// expired looks at a read's error: true where time is really up or the link was interrupted, false where the deadline
// was an older, earlier one and has been armed anew.
func (l *link) expired(err error) (error, bool) {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err, true
	}
	if l.interrupted.Load() {
		return errInterrupted, true
	}
	if l.readBy != 0 && now() >= l.readBy {
		return err, true
	}
	l.arm(l.readBy)
	return nil, false
}

// Read reads until the instant that expect set.
func (l *link) Read(p []byte) (int, error) {
	for {
		n, err := l.Conn.Read(p)
		if n > 0 || err == nil {
			return n, err
		}
		if err, up := l.expired(err); up {
			return 0, err
		}
	}
}

// Write writes all of p. It gives up when the peer took nothing for writeIdle (at most twice that).
func (l *link) Write(p []byte) (int, error) {
	l.armWrite()
	written, stale := 0, true
	for {
		n, err := l.Conn.Write(p[written:])
		written += n
		if err == nil {
			return written, nil
		}
		if !l.writeAgain(err, n > 0, &stale) {
			return written, err
		}
	}
}

// writeBuffers is Write for several buffers in one system call where the connection can.
func (l *link) writeBuffers(b *net.Buffers) error {
	l.armWrite()
	stale := true
	for {
		n, err := b.WriteTo(l.Conn)
		if err == nil {
			return nil
		}
		if !l.writeAgain(err, n > 0, &stale) {
			return err
		}
	}
}

func (l *link) armWrite() {
	if !l.writeArmed && l.writeIdle > 0 {
		l.writeArmed = true
		_ = l.SetWriteDeadline(time.Now().Add(l.writeIdle))
	}
}

// writeAgain decides after a failed write: a deadline that was armed by an earlier write, or one since which the
// peer took something, is armed anew.
func (l *link) writeAgain(err error, progress bool, stale *bool) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || l.interrupted.Load() || !progress && !*stale {
		return false
	}
	*stale = false
	l.writeArmed = false
	l.armWrite()
	if !l.writeArmed {
		_ = l.SetWriteDeadline(time.Time{})
	}
	return true
}

// interrupt makes reads and writes under way, and later ones, fail until resume.
func (l *link) interrupt() {
	l.interrupted.Store(true)
	_ = l.SetDeadline(past)
}

// wake makes a read under way look around: it goes on when its time is not up.
func (l *link) wake() { _ = l.SetReadDeadline(past) }

// resume takes interrupt back. Nobody may be reading or writing.
func (l *link) resume() {
	l.interrupted.Store(false)
	l.readArmed, l.writeArmed = 0, false
	_ = l.SetDeadline(time.Time{})
}
