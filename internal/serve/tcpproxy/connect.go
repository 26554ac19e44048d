package tcpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/internal/serve/pool"
	"github.com/backstay/backstay/internal/serve/reach"
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// memberSide is a connection to a member.
type memberSide struct {
	socket net.Conn
	stream net.Conn // socket, or TLS over it
}

// dial opens a connection to the member, up to where the client's own bytes begin.
func (v *session) dial(ctx context.Context, m *pool.Member) (memberSide, error) {
	ctx, cancel := v.search.Bounded(ctx)
	defer cancel()
	sock, err := v.search.Dial(ctx, m, v.idle())
	if err != nil {
		return memberSide{}, err
	}
	side := memberSide{socket: sock, stream: sock}
	if err := v.greet(ctx, m, &side); err != nil {
		reach.Reset(sock)
		return memberSide{}, err
	}
	return side, nil
}

// greet says on a new connection what members are to hear before the client.
func (v *session) greet(ctx context.Context, m *pool.Member, side *memberSide) error {
	version := v.service.Config.ProxyProtocol
	if version != "" {
		if by, ok := ctx.Deadline(); ok {
			_ = side.socket.SetWriteDeadline(by) // a write that cannot be bounded fails itself
		}
		if err := transport.WriteProxyHeader(side.socket, version, v.from, v.to); err != nil {
			return err
		}
		_ = side.socket.SetWriteDeadline(time.Time{})
	}
	if v.service.TLS == nil || v.passing() {
		return nil
	}
	cfg := v.service.TLS.Clone()
	cfg.NextProtos = nil // what is inside is the client's affair
	cfg, err := transport.ForMember(cfg, m.Address(), m.Host())
	if err != nil {
		return err
	}
	t := tls.Client(side.socket, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("%w with %s: %w", transport.ErrTLS, m.Address(), err)
	}
	side.stream = t
	return nil
}

// failed is the ending of a session that reached no member.
func failed(err error) ending {
	how := telemetry.EndedNone
	switch {
	case errors.Is(err, resilience.ErrLimited):
		how = telemetry.EndedLimited
	case errors.Is(err, context.Canceled):
		how = telemetry.EndedCut
	}
	return ending{how: how, note: err.Error()}
}
