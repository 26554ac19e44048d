package grpcx_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/backstay/backstay/resilience"
	"github.com/backstay/backstay/resilience/grpcx"
)

// well always is.
type well struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (well) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func Example() {
	// The server bounds what it works on, and refuses what comes beyond.
	limit := resilience.NewLimit(resilience.LimitOptions{Concurrency: 100, Queue: 200, Wait: time.Second})
	guarded := grpcx.ServerOptions{Gates: []resilience.Gate{
		resilience.NewDeadline(resilience.DeadlineOptions{}),
		resilience.NewShed(resilience.ShedOptions{Queue: limit}),
	}}
	server := grpc.NewServer(grpc.UnaryInterceptor(grpcx.UnaryServer(guarded)), grpc.StreamInterceptor(grpcx.StreamServer(guarded)))
	grpc_health_v1.RegisterHealthServer(server, well{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	// The client tries again what may be called twice, behind a breaker.
	client, err := grpcx.NewClient(grpcx.ClientOptions{
		Retry:      resilience.RetryOptions{Attempts: 3, PerTry: time.Second},
		Idempotent: func(method string) bool { return method == grpc_health_v1.Health_Check_FullMethodName },
		Gates:      []resilience.Gate{resilience.NewBreaker(resilience.BreakerOptions{})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	conn, err := grpc.NewClient(listener.Addr().String(), append(client.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	fmt.Println(answer.GetStatus(), status.Code(err))
	// Output: SERVING OK
}
