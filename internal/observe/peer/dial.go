package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/backstay/backstay/resilience"
)

// patience bounds the time until two nodes know each other. It is also how long the link may take to come back after the
// network lost all packets for a while.
func (o Options) patience() time.Duration {
	return min(max(2*o.Suspicion, time.Second), 6*time.Second)
}

// reach keeps a connection to a node until ctx ends. One that is lost is made anew at once, and only if that fails it
// means something.
func (l *Link) reach(ctx context.Context, n *node, address string) {
	backoff := resilience.Backoff{
		Initial: 10 * time.Millisecond, Max: min(l.o.Heartbeat, time.Second), Jitter: resilience.EqualJitter,
	}
	failed, told := 0, ""
	for ctx.Err() == nil {
		began := time.Now()
		conn, err := l.connect(ctx, n.name, address)
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.raw.Close()
			}
			return
		}
		if err != nil {
			l.tried(n, address, evidence(err, n.name, address))
			if err.Error() != told {
				told = err.Error()
				l.o.Log.Warn("no connection to node", "node", n.name, "address", address, "error", err)
			}
			failed++
			pause(ctx, backoff.Delay(failed))
			continue
		}
		l.tried(n, address, "")
		told = ""
		l.o.Log.Info("connected to node", "node", n.name, "address", address)
		err = l.send(ctx, n, conn)
		if ctx.Err() != nil {
			return
		}
		l.o.Log.Info("connection to node lost", "node", n.name, "address", address, "error", err)
		if time.Since(began) >= l.o.Heartbeat {
			failed = 0
			continue
		}
		if failed++; failed > 1 { // one that hangs up each time is not to be called without end
			pause(ctx, backoff.Delay(failed-1))
		}
	}
}

// A line is a connection to a node: raw is what is closed, as a closing message could block.
type line struct {
	net.Conn
	raw net.Conn
}

// connect dials a node and learns that it is that node and that this one is welcome.
func (l *Link) connect(ctx context.Context, name, address string) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.patience())
	defer cancel()
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return line{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	tune(raw, l.o.Suspicion)
	conn, err := l.introduce(ctx, name, raw)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		_ = raw.Close()
		return line{}, err
	}
	return line{conn, raw}, nil
}

// introduce lets both ends know each other's names.
func (l *Link) introduce(ctx context.Context, name string, raw net.Conn) (net.Conn, error) {
	conn := raw
	if l.o.Client != nil {
		config, err := l.o.Client(name)
		if err != nil {
			return nil, fmt.Errorf("certificates of this node: %w", err)
		}
		secure := tls.Client(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if err := certified(secure, name); err != nil {
			return nil, err
		}
		conn = secure
	}
	// The other end greets first: so it has read all there is when it refuses this node's certificate, and its reason
	// arrives in place of a reset connection, which would pass for its death.
	there, err := readGreeting(conn)
	if err != nil {
		return nil, err
	}
	if there != name {
		return nil, fmt.Errorf("node %q is there", there)
	}
	if err := writeGreeting(conn, l.o.Self); err != nil {
		return nil, err
	}
	f, err := readFrame(conn, shortFrame)
	switch {
	case err != nil:
		return nil, err
	case f.kind == kindRefusal:
		return nil, fmt.Errorf("refused: %q", f.payload)
	case f.kind != kindWelcome:
		return nil, errGarbage
	}
	return conn, nil
}

// evidence says what an error of connect tells about a node: only an answer that nobody is there counts, not silence, a
// network that fails, or one who answers but is not willing.
func evidence(err error, name, address string) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused by %s (%s)", name, address)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Sprintf("%s closed the connection (%s)", name, address)
	}
	return ""
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
