package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// defaultUserTimeout is long enough for a reader that pauses and far shorter than the quarter of an hour that the kernel takes.
const defaultUserTimeout = time.Minute

// Dialer connects to members. The zero value is useful.
type Dialer struct {
	// UserTimeout is how long sent bytes may stay unacknowledged before the peer counts as dead (TCP_USER_TIMEOUT).
	// 0 is a minute, below 0 leaves it to the kernel.
	UserTimeout time.Duration
}

// Dial connects to address (host:port or unix:/path) before ctx is done. TCP connections have Nagle's algorithm off and
// keepalive on. Reason classifies the error, which names the address.
func (d *Dialer) Dial(ctx context.Context, address string) (net.Conn, error) {
	network, addr := SplitAddress(address)
	nd := net.Dialer{KeepAlive: -1, Control: d.controlDial}
	nd.SetMultipathTCP(false)
	c, err := nd.DialContext(ctx, network, addr)
	if err == nil {
		return c, nil
	}
	// The dialer says "i/o timeout" for a context that was ended by somebody else, too.
	if cause := ctx.Err(); cause != nil && errors.Is(cause, context.Canceled) {
		err = cause
	}
	return nil, fmt.Errorf("connect to %s: %w", address, bare(err))
}

func (d *Dialer) userTimeout() time.Duration {
	if d.UserTimeout == 0 {
		return defaultUserTimeout
	}
	return d.UserTimeout
}

// bare takes off what net.OpError repeats of the address.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}
