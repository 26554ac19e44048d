package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// NewProber returns the real probes: HTTP, TCP, gRPC and commands, and what all and any join of them. Each look uses a
// connection of its own.
func NewProber() Prober { return &prober{} }

type prober struct {
	patterns patterns
	files    tlsFiles
}

// Probe looks once, in no more than the check's timeout.
func (p *prober) Probe(ctx context.Context, t Target) Result {
	begun := time.Now()
	reason := p.look(ctx, t)
	return Result{OK: reason == "", Reason: cut(reason, maxReason), Took: time.Since(begun)}
}

// look returns why the look was bad; nothing when it was good.
func (p *prober) look(ctx context.Context, t Target) string {
	c := t.Check
	if len(c.All) > 0 || len(c.Any) > 0 {
		return p.join(ctx, t)
	}
	limit := timeout(c)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	switch {
	case c.HTTP != nil:
		err = p.http(ctx, t, *c.HTTP)
	case c.TCP != nil:
		err = p.tcp(ctx, t, *c.TCP)
	case c.GRPC != nil:
		err = p.grpc(ctx, t, *c.GRPC)
	case c.Exec != nil:
		err = p.exec(ctx, t, *c.Exec)
	default:
		err = errors.New("the check says nothing to look at: give it http, tcp, grpc, exec, all or any")
	}
	if err == nil {
		return ""
	}
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return "timed out after " + short(limit)
	}
	return reason(err)
}

// join looks with all parts at once. For all it waits for every part, to say all that is wrong; for any the first good one ends it.
func (p *prober) join(ctx context.Context, t Target) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	any := len(t.Check.All) == 0
	looks := slices.Collect(parts(t.Check))
	reasons := make([]string, len(looks))
	var wg sync.WaitGroup
	for i, part := range looks {
		one := t
		one.Check = inherit(part, t.Check)
		wg.Go(func() {
			reasons[i] = p.look(ctx, one)
			if any && reasons[i] == "" {
				cancel()
			}
		})
	}
	wg.Wait()
	var bad []string
	for i, r := range reasons {
		if r != "" {
			bad = append(bad, name(looks[i])+": "+r)
		}
	}
	switch {
	case !any || len(bad) == 0:
		return strings.Join(bad, "; ")
	case len(bad) < len(looks):
		return ""
	}
	return fmt.Sprintf("none of %d is good: %s", len(looks), strings.Join(bad, "; "))
}

// name is what people call a part of a check by.
func name(c config.Check) string {
	port := ""
	if c.Port != 0 {
		port = fmt.Sprintf(" :%d", c.Port)
	}
	switch {
	case c.HTTP != nil:
		return "http" + port + " " + c.HTTP.Path
	case c.TCP != nil:
		return "tcp" + port
	case c.GRPC != nil:
		return strings.TrimRight("grpc"+port+" "+c.GRPC.Service, " ")
	case c.Exec != nil && len(c.Exec.Command) > 0:
		return "exec " + c.Exec.Command[0]
	case len(c.All) > 0:
		return "all"
	}
	return "any"
}

// dial connects to the target, on the check's own port where it has one.
func dial(ctx context.Context, t Target) (net.Conn, error) {
	var d net.Dialer
	d.KeepAlive = -1
	network, address := endpoint(t)
	return d.DialContext(ctx, network, address)
}

// expire ends all reading and writing when ctx ends, until the function returned is called.
func expire(ctx context.Context, conn net.Conn) (release func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// endpoint is where to connect to. A unix socket has no port that could be replaced.
func endpoint(t Target) (network, address string) {
	if path, ok := strings.CutPrefix(t.Address, "unix:"); ok {
		return "unix", path
	}
	if t.Check.Port == 0 {
		return "tcp", t.Address
	}
	host, _, err := net.SplitHostPort(t.Address)
	if err != nil {
		host = t.Address
	}
	return "tcp", net.JoinHostPort(host, strconv.Itoa(t.Check.Port))
}

// hostOf is the name of the target for people, Host headers and certificates, without a port.
func hostOf(t Target) string {
	if t.Host != "" {
		return t.Host
	}
	network, address := endpoint(t)
	if network == "unix" {
		return "localhost"
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// authority is the target's name and port as a URL has them.
func authority(t Target) string {
	network, address := endpoint(t)
	if network == "unix" {
		return hostOf(t)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip, err := netip.ParseAddr(hostOf(t)); err == nil {
		return net.JoinHostPort(ip.WithZone("").String(), port)
	}
	return net.JoinHostPort(hostOf(t), port)
}
