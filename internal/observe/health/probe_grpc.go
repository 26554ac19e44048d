package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/backstay/backstay/internal/base/config"
)

// grpc asks grpc.health.v1 over a connection of its own.
func (p *prober) grpc(ctx context.Context, t Target, c config.GRPCCheck) error {
	var broken cause
	creds := insecure.NewCredentials()
	if m := first(c.TLS, t.TLS); m != nil {
		conf, err := p.files.config(t, *m, "h2")
		if err != nil {
			return err
		}
		creds = credentials.NewTLS(conf)
	}
	conn, err := grpc.NewClient("passthrough:///"+authority(t),
		grpc.WithTransportCredentials(watched{creds, &broken}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := dial(ctx, t)
			return c, broken.note(err)
		}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithUserAgent("backstay-check"),
	)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: c.Service})
	if err != nil {
		if err := broken.get(); err != nil {
			return err
		}
		return grpcReason(err, c.Service)
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return errors.New("status " + answer.GetStatus().String())
	}
	return nil
}

func grpcReason(err error, service string) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unimplemented:
		return errors.New("the member does not offer grpc.health.v1")
	case codes.NotFound:
		return fmt.Errorf("the member knows no service %q", service)
	}
	return fmt.Errorf("grpc %s: %s", s.Code(), s.Message())
}

// cause keeps why no connection came about, which grpc itself tells only as text.
type cause struct {
	mu  sync.Mutex
	err error
}

func (c *cause) note(err error) error {
	if err != nil {
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
	}
	return err
}

func (c *cause) get() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// watched are credentials that note why a handshake failed.
type watched struct {
	credentials.TransportCredentials
	cause *cause
}

// ClientHandshake is that of the credentials themselves.
func (w watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return conn, info, w.cause.note(err)
}

// Clone keeps noting to the same place.
func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.cause}
}
