package httpproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoService is a gRPC service with one method of each kind, written out as protoc would.
type echoService struct{ arrived, canceled chan struct{} }

type text = wrapperspb.StringValue

func say(s string) *text { return wrapperspb.String(s) }

func (e *echoService) unary(ctx context.Context, in *text) (*text, error) {
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-head", "h"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "t", "x-tail-bin", "\x00\x01"))
	md, _ := metadata.FromIncomingContext(ctx)
	switch in.Value {
	case "fail":
		return nil, status.Error(codes.FailedPrecondition, "not like that: 100% \u00e9")
	case "wait":
		e.arrived <- struct{}{}
		<-ctx.Done()
		e.canceled <- struct{}{}
		return nil, ctx.Err()
	case "meta":
		return say(fmt.Sprintf("%s %x", md.Get("x-mine"), md.Get("x-mine-bin"))), nil
	case "deadline":
		d, ok := ctx.Deadline()
		return say(fmt.Sprint(ok && time.Until(d) > time.Minute)), nil
	}
	return say("echo " + in.Value), nil
}

func (e *echoService) down(in *text, s grpc.ServerStream) error {
	for i := range 5 {
		if err := s.SendMsg(say(fmt.Sprint(in.Value, i))); err != nil {
			return err
		}
	}
	s.SetTrailer(metadata.Pairs("x-tail", "down"))
	if in.Value == "break" {
		return status.Error(codes.DataLoss, "half way")
	}
	return nil
}

func (e *echoService) up(s grpc.ServerStream) error {
	n := 0
	for {
		var in text
		if err := s.RecvMsg(&in); errors.Is(err, io.EOF) {
			return s.SendMsg(say(fmt.Sprint(n)))
		} else if err != nil {
			return err
		}
		n += len(in.Value)
	}
}

func (e *echoService) both(s grpc.ServerStream) error {
	for {
		var in text
		if err := s.RecvMsg(&in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(say(strings.ToUpper(in.Value))); err != nil {
			return err
		}
	}
}

// serve runs the service and returns its address.
func (e *echoService) serve(t *testing.T, o ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	s := grpc.NewServer(o...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in text
			if err := dec(&in); err != nil {
				return nil, err
			}
			return e.unary(ctx, &in)
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Down", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
				var in text
				if err := s.RecvMsg(&in); err != nil {
					return err
				}
				return e.down(&in, s)
			}},
			{StreamName: "Up", ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return e.up(s) }},
			{StreamName: "Both", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error { return e.both(s) }},
		},
	}, e)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return s, ln.Addr().String()
}

// grpcTo connects a gRPC client to an address.
func grpcTo(t *testing.T, addr string, c credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

const grpcService = `
services:
  - name: web
    protocol: http2
    members: [{address: %q}]
    %s
listeners:
  - listen: 127.0.0.1:0
    %s
    routes: [{service: web}]
`

// throughProxies runs a test through the proxy without TLS, and with TLS on both sides.
func throughProxies(t *testing.T, test func(t *testing.T, e *echoService, c *grpc.ClientConn)) {
	t.Run("cleartext", func(t *testing.T) {
		e := &echoService{arrived: make(chan struct{}, 100), canceled: make(chan struct{}, 100)}
		_, member := e.serve(t)
		k := start(t, grpcService, member, "", "")
		test(t, e, grpcTo(t, k.addr, insecure.NewCredentials()))
	})
	t.Run("TLS", func(t *testing.T) {
		p := newPKI(t)
		e := &echoService{arrived: make(chan struct{}, 100), canceled: make(chan struct{}, 100)}
		cert, err := tls.LoadX509KeyPair(p.cert, p.key)
		if err != nil {
			t.Fatal(err)
		}
		_, member := e.serve(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
		k := start(t, grpcService, member, fmt.Sprintf("tls: {ca: %q}", p.ca),
			fmt.Sprintf("tls: {certificates: [{cert: %q, key: %q}]}", p.cert, p.key))
		test(t, e, grpcTo(t, k.addr, credentials.NewTLS(&tls.Config{RootCAs: p.pool, ServerName: "127.0.0.1"})))
	})
}

func TestGRPCUnary(t *testing.T) {
	throughProxies(t, func(t *testing.T, e *echoService, c *grpc.ClientConn) {
		var head, tail metadata.MD
		var out text
		if err := c.Invoke(t.Context(), "/test.Echo/Unary", say("hello"), &out, grpc.Header(&head), grpc.Trailer(&tail)); err != nil {
			t.Fatal(err)
		}
		if out.Value != "echo hello" || head.Get("x-head")[0] != "h" || tail.Get("x-tail")[0] != "t" || tail.Get("x-tail-bin")[0] != "\x00\x01" {
			t.Errorf("%q, header %v, trailer %v", out.Value, head, tail)
		}
		err := c.Invoke(t.Context(), "/test.Echo/Unary", say("fail"), &out, grpc.Trailer(&tail))
		if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not like that: 100% \u00e9" || tail.Get("x-tail")[0] != "t" {
			t.Errorf("%v, trailer %v", err, tail)
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-mine", "a", "x-mine", "b", "x-mine-bin", "\xff\x00")
		if err := c.Invoke(ctx, "/test.Echo/Unary", say("meta"), &out); err != nil || out.Value != "[a b] [ff00]" {
			t.Errorf("metadata %q, %v", out.Value, err)
		}
		if err := c.Invoke(t.Context(), "/test.Echo/Nothing", say(""), &out); status.Code(err) != codes.Unimplemented {
			t.Errorf("unknown method: %v", err)
		}
		long := strings.Repeat("x", 3<<20)
		if err := c.Invoke(t.Context(), "/test.Echo/Unary", say(long), &out); err != nil || len(out.Value) != len(long)+5 {
			t.Errorf("long message: %d bytes, %v", len(out.Value), err)
		}
	})
}

func TestGRPCStreams(t *testing.T) {
	throughProxies(t, func(t *testing.T, e *echoService, c *grpc.ClientConn) {
		down, err := c.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/Down")
		if err != nil {
			t.Fatal(err)
		}
		_ = down.SendMsg(say("break"))
		_ = down.CloseSend()
		var got []string
		for {
			var m text
			if err = down.RecvMsg(&m); err != nil {
				break
			}
			got = append(got, m.Value)
		}
		if len(got) != 5 || got[4] != "break4" || status.Code(err) != codes.DataLoss || down.Trailer().Get("x-tail")[0] != "down" {
			t.Errorf("down: %q, %v, %v", got, err, down.Trailer())
		}

		up, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, "/test.Echo/Up")
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := up.SendMsg(say(strings.Repeat("y", 10_000))); err != nil {
				t.Fatal(err)
			}
		}
		_ = up.CloseSend()
		var sum text
		if err := up.RecvMsg(&sum); err != nil || sum.Value != "1000000" {
			t.Errorf("up: %q, %v", sum.Value, err)
		}

		both, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Both")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			var m text
			if err := both.SendMsg(say(fmt.Sprint("ping ", i))); err != nil {
				t.Fatal(err)
			}
			if err := both.RecvMsg(&m); err != nil || m.Value != fmt.Sprint("PING ", i) {
				t.Fatalf("both: %q, %v", m.Value, err)
			}
		}
		_ = both.CloseSend()
		if err := both.RecvMsg(&text{}); !errors.Is(err, io.EOF) {
			t.Errorf("both ends with %v", err)
		}
	})
}

func TestGRPCDeadline(t *testing.T) {
	throughProxies(t, func(t *testing.T, e *echoService, c *grpc.ClientConn) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var out text
		if err := c.Invoke(ctx, "/test.Echo/Unary", say("deadline"), &out); err != nil || out.Value != "true" {
			t.Errorf("the member did not learn the deadline: %q, %v", out.Value, err)
		}
		for patience := 100 * time.Millisecond; ; patience *= 2 { // until it is long enough for the call to reach the member
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			err := c.Invoke(ctx, "/test.Echo/Unary", say("wait"), &out)
			cancel()
			if status.Code(err) != codes.DeadlineExceeded {
				t.Fatalf("a passed deadline: %v", err)
			}
			select {
			case <-e.arrived:
			default:
				continue
			}
			break
		}
		<-e.canceled // the member's side ended as well
	})
}

// TestGRPCUnavailable: gRPC clients understand the proxy's own refusals.
func TestGRPCUnavailable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	_ = ln.Close()
	k := start(t, grpcService, nobody, "hold: {for: 0s}", "")
	c := grpcTo(t, k.addr, insecure.NewCredentials())
	if err := c.Invoke(t.Context(), "/test.Echo/Unary", say("x"), &text{}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "service web could not be reached") {
		t.Errorf("got %v", err)
	}
}

// TestGRPCMemberRestarts: calls that the member provably did not begin go out again on a new connection.
func TestGRPCMemberRestarts(t *testing.T) {
	e := &echoService{}
	first, a := e.serve(t)
	_, b := e.serve(t)
	k := start(t, `
services:
  - name: web
    protocol: http2
    members: [{address: %q}, {address: %q}]
listeners:
  - listen: 127.0.0.1:0
    routes: [{service: web}]
`, a, b)
	c := grpcTo(t, k.addr, insecure.NewCredentials())
	for i := range 200 {
		if i == 100 {
			go first.GracefulStop()
		}
		var out text
		if err := c.Invoke(t.Context(), "/test.Echo/Unary", say("x"), &out); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}
