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
	"github.com/backstay/backstay/internal/serve/transport"
	"github.com/backstay/backstay/resilience"
)

// memberSide is a connection to a member.
type memberSide struct {
	socket net.Conn
	stream net.Conn // socket, or TLS over it
}

// enter takes a place under the service's limit.
func (v *session) enter(ctx context.Context) error {
	t := time.Now()
	defer func() { v.waited += time.Since(t) }()
	return v.service.Pool.Enter(ctx)
}

// connect finds a member that takes the session. The member's Done is due where err is nil.
func (v *session) connect(ctx context.Context) (*pool.Member, memberSide, error) {
	permit, err := v.service.Pool.Admit()
	if err != nil {
		return nil, memberSide{}, err
	}
	m, side, err := v.tryAll(ctx)
	switch {
	case err == nil:
		permit.Done(resilience.Success, v.connected)
	case ctx.Err() != nil:
		permit.Done(resilience.Ignored, 0)
	default:
		permit.Done(resilience.Failure, time.Since(v.began)-v.waited)
	}
	return m, side, err
}

// tryAll tries one member after another. Nothing of the client has been sent yet, so that every failure may be tried again.
func (v *session) tryAll(ctx context.Context) (*pool.Member, memberSide, error) {
	query := pool.Query{}
	if b := &v.service.Config.Balance; b.Policy == "hash" && b.Hash != nil && b.Hash.Client && v.from.IsValid() {
		query.Hash, query.HasHash = hash(v.from.Addr().As16()), true
	}
	for {
		m, err := v.pick(ctx, &query)
		if err != nil {
			return nil, memberSide{}, err
		}
		v.tries++
		t := time.Now()
		side, err := v.dial(ctx, m)
		took := time.Since(t)
		if err == nil {
			v.connected = took
			return m, side, nil
		}
		m.Done(failure(ctx, err, took))
		v.server.o.Log.Debug("member not reached", "service", v.service.Name, "member", m.Name(), "try", v.tries, "error", err)
		if !v.another(ctx, err) {
			return nil, memberSide{}, err
		}
		query.Tried = append(query.Tried, m)
	}
}

// another waits before the next try and says whether there is one. The retry budget is not asked: it bounds the load that
// retries add, and a session that did not get through added none.
func (v *session) another(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if v.service.Retry.Connect && v.tries < v.service.Retry.Attempts {
		v.service.Metrics.Retry(telemetry.RetryConnect)
		return v.rest(ctx)
	}
	switch transport.Reason(err) {
	case "refused", "timeout", "unreachable", "canceled":
		return v.endure(ctx)
	}
	return false
}

// endure lets a session that found nobody at home wherever it tried wait like one for which there is no member: for a
// backoff, less when who may be picked changes, and in all no longer than the service holds.
func (v *session) endure(ctx context.Context) bool {
	limit := time.Duration(v.service.Config.Hold.For)
	if limit <= 0 {
		return false
	}
	t := time.Now()
	if v.holdBy.IsZero() {
		v.holdBy = t.Add(limit)
		v.service.Metrics.Count(telemetry.Held)
	}
	delay := min(v.service.Retry.Backoff.Delay(v.tries), v.holdBy.Sub(t))
	if delay <= 0 {
		v.service.Metrics.Count(telemetry.HoldTimeout)
		return false
	}
	err := v.service.Pool.Pause(ctx, int64(len(v.head)), delay)
	v.waited += time.Since(t)
	return err == nil
}

// rest waits before the next try.
func (v *session) rest(ctx context.Context) bool {
	delay := v.service.Retry.Backoff.Delay(v.tries)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		v.waited += delay
		return true
	}
}

// pick chooses a member, waiting for one while none can serve.
func (v *session) pick(ctx context.Context, q *pool.Query) (*pool.Member, error) {
	m, err := v.service.Pool.Pick(q)
	if err == nil {
		return m, nil
	}
	began, limit := time.Now(), time.Duration(v.service.Config.Hold.For)
	defer func() { v.waited += time.Since(began) }()
	for limit > 0 && time.Since(began) < limit {
		if held := v.service.Pool.Hold(ctx, int64(len(v.head))); held != nil {
			return nil, fmt.Errorf("%w (%w)", err, held)
		}
		if m, err = v.service.Pool.Pick(q); err == nil {
			return m, nil
		}
	}
	v.service.Metrics.Count(telemetry.NoMember)
	return nil, err
}

// dial opens a connection to the member, up to where the client's own bytes begin.
func (v *session) dial(ctx context.Context, m *pool.Member) (memberSide, error) {
	if limit := v.service.Timeout.Connect; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	ctx, cancel := whileThere(ctx, m)
	defer cancel()
	dialer := transport.Dialer{UserTimeout: -1}
	if idle := v.idle(); idle > 0 {
		dialer.UserTimeout = max(idle, minUserTimeout)
	}
	sock, err := dialer.Dial(ctx, m.Address())
	if err != nil {
		return memberSide{}, err
	}
	side := memberSide{socket: sock, stream: sock}
	if err := v.greet(ctx, m, &side); err != nil {
		reset(sock)
		return memberSide{}, err
	}
	return side, nil
}

// whileThere ends with ctx, and when the member is gone: nobody needs to wait for one that lost its place.
func whileThere(ctx context.Context, m *pool.Member) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-m.Gone():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
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

// failure is what the pool learns from a try that did not come through.
func failure(ctx context.Context, err error, took time.Duration) pool.Outcome {
	o := pool.Outcome{Result: pool.Failed, Took: took, Reason: telemetry.ClassConnect}
	switch transport.Reason(err) {
	case "timeout":
		o.Reason = telemetry.ClassTimeout
	case "tls":
		o.Reason = telemetry.ClassProtocol
	case "descriptors", "ports": // this node's own trouble
		o.Result, o.Reason = pool.Ignored, telemetry.ClassCanceled
	}
	if ctx.Err() != nil {
		o.Result, o.Reason = pool.Ignored, telemetry.ClassCanceled
	}
	return o
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

// hash is FNV-1a with the finaliser of MurmurHash3: a client comes to the same member on every node.
func hash(b [16]byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
