package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay/resilience"
)

// accept takes connections until ctx ends.
func (l *Link) accept(ctx context.Context, listener net.Listener) {
	var parts sync.WaitGroup
	defer parts.Wait()
	backoff, failed := resilience.Backoff{Initial: 5 * time.Millisecond, Jitter: resilience.EqualJitter}, 0
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil { // such as too many open files
			failed++
			l.o.Log.Warn("connection of another node not accepted", "error", err)
			pause(ctx, backoff.Delay(failed))
			continue
		}
		failed = 0
		l.lobby.enter(conn)
		parts.Go(func() { l.receive(ctx, conn) })
	}
}

// receive takes messages from conn until it or ctx ends.
func (l *Link) receive(ctx context.Context, raw net.Conn) {
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	n, conn, err := l.welcome(ctx, raw)
	l.lobby.leave(raw)
	if err != nil {
		if ctx.Err() == nil && l.strangers.may() {
			l.o.Log.Warn("connection refused to one that is not a node we know", "remote", raw.RemoteAddr().String(), "error", err)
		}
		return
	}
	defer l.leave(n, raw)
	r := bufio.NewReader(conn)
	for {
		// A node says something every heartbeat. This only tidies up: silence is judged elsewhere.
		_ = raw.SetDeadline(time.Now().Add(4 * l.o.Suspicion))
		f, err := readFrame(r, Limit)
		if err == nil && f.kind != kindMessage && f.kind != kindUrgent && f.kind != kindIdle {
			err = errGarbage
		}
		if err == nil && !l.deliver(n, raw, f) {
			err = errors.New("another connection of the node replaced it")
		}
		if err == nil {
			_, err = conn.Write([]byte{ack})
		}
		if err != nil {
			if ctx.Err() == nil {
				l.o.Log.Debug("connection of node ended", "node", n.name, "error", err)
			}
			return
		}
	}
}

// welcome learns who is at the other end, and tells it whether it is one of the nodes.
func (l *Link) welcome(ctx context.Context, raw net.Conn) (*node, net.Conn, error) {
	_ = raw.SetDeadline(time.Now().Add(l.o.patience()))
	tune(raw, l.o.Suspicion)
	conn := raw
	if l.o.Server != nil {
		config, err := l.o.Server()
		if err != nil {
			return nil, nil, fmt.Errorf("certificates of this node: %w", err)
		}
		secure := tls.Server(raw, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, nil, err
		}
		conn = secure
	}
	if err := writeGreeting(conn, l.o.Self); err != nil {
		return nil, nil, err
	}
	name, err := readGreeting(conn)
	if err == nil && l.o.Server != nil {
		err = certified(conn.(*tls.Conn), name)
	}
	var n *node
	if err == nil {
		if n = l.arrive(name, raw); n == nil {
			err = fmt.Errorf("node %s does not know a node %q: are they of the same cluster, and both up to date?", l.o.Self, name)
		}
	}
	if err != nil {
		why := []byte(err.Error())
		_ = writeFrame(conn, kindRefusal, why[:min(len(why), shortFrame)])
		return nil, nil, err
	}
	if err := writeFrame(conn, kindWelcome, nil); err != nil {
		l.leave(n, raw)
		return nil, nil, err
	}
	return n, conn, nil
}

// certified checks that the certificate shown at the other end is that of the node.
func certified(conn *tls.Conn, node string) error {
	shown := conn.ConnectionState().PeerCertificates
	if len(shown) == 0 {
		return fmt.Errorf("it says it is node %s, but shows no certificate", node)
	}
	name := shown[0].Subject.CommonName
	if name == node || name == "" && shown[0].VerifyHostname(node) == nil {
		return nil
	}
	return fmt.Errorf("it says it is node %s, but shows a certificate of %q", node, name)
}

// A lobby holds the connections of which is not yet known who is there. The one that is there the longest has to go when
// too many come: a node needs a moment only.
type lobby struct {
	mu    sync.Mutex
	conns []net.Conn
}

const lobbySize = 64

func (l *lobby) enter(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) == lobbySize {
		_ = l.conns[0].Close()
		l.conns = slices.Delete(l.conns, 0, 1)
	}
	l.conns = append(l.conns, conn)
}

func (l *lobby) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = slices.DeleteFunc(l.conns, func(c net.Conn) bool { return c == conn })
}

// sometimes lets one through per second: strangers do not fill the log.
type sometimes struct {
	mu   sync.Mutex
	last time.Time
}

func (s *sometimes) may() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < time.Second {
		return false
	}
	s.last = time.Now()
	return true
}
