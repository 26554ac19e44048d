package grpcx

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/backstay/backstay/resilience"
)

// ServerOptions says how calls are served.
type ServerOptions struct {
	Gates []resilience.Gate // passed by each call: a shedder, a limit, a deadline. A stream stays inside until it ends
	// Priority says how much a call of a method ("/package.Service/Method") matters; where nil, what its metadata says if it is
	// trusted or signed. What they have said is in the context.
	Priority      func(ctx context.Context, method string) resilience.Priority
	TrustPriority bool                // all who can reach this server are this system's own
	Tokens        *resilience.Tokens  // verifies signed priorities, from whomever they come
	Modes         []*resilience.Mode  // the service's ways to do less: the open ones are in the context and in the answer's header
	TrustDegraded bool                // takes the modes that calls name for open as well
	Name          string              // what the observer is told of; the method where empty
	Observer      resilience.Observer // told of each call and each refusal
}

func (o *ServerOptions) name(method string) string {
	if o.Name != "" {
		return o.Name
	}
	return method
}

// UnaryServer serves calls behind gates. Attempt, priority and modes that the other side tells are in their context.
func UnaryServer(o ServerOptions) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		ctx = incoming(ctx, info.FullMethod, &o)
		var answer any
		err := o.serve(ctx, info.FullMethod, metadataOf{
			header:  func(md metadata.MD) { _ = grpc.SetHeader(ctx, md) },
			trailer: func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) },
		}, func(ctx context.Context) (err error) {
			answer, err = handle(ctx, request)
			return err
		})
		if err != nil {
			return nil, err
		}
		return answer, nil
	}
}

// StreamServer serves streams behind gates, in which they stay until their handler returns.
func StreamServer(o ServerOptions) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		ctx := incoming(stream.Context(), info.FullMethod, &o)
		return o.serve(ctx, info.FullMethod, metadataOf{
			header:  func(md metadata.MD) { _ = stream.SetHeader(md) },
			trailer: stream.SetTrailer,
		}, func(ctx context.Context) error { return handle(service, &serverStream{stream, ctx}) })
	}
}

// serverStream has the context that the handler is to see.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

// metadataOf is where an answer's metadata goes. It cannot be sent any more where setting it fails, which changes nothing.
type metadataOf struct{ header, trailer func(metadata.MD) }

// serve handles a call behind the gates.
func (o *ServerOptions) serve(ctx context.Context, method string, md metadataOf, handle func(context.Context) error) error {
	if modes := resilience.Degraded(ctx); len(modes) > 0 {
		md.header(metadata.Pairs(degradedKey, modeList(modes)))
	}
	served := false
	var answer error
	_, err := resilience.Watch(ctx, o.Observer, o.name(method), func(ctx context.Context) (struct{}, error) {
		return resilience.Guard(ctx, func(ctx context.Context) (struct{}, error) {
			served = true
			answer = withStatus(handle(ctx))
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return struct{}{}, ctx.Err()
			}
			return struct{}{}, failure(answer, nil, true)
		}, o.Gates...)
	})
	switch {
	case !served && err != nil:
		if errors.Is(err, resilience.ErrRefused) {
			md.trailer(refusal(err))
			if o.Observer != nil {
				o.Observer(ctx, resilience.Event{Kind: resilience.EventRefusal, Name: o.name(method), Err: err})
			}
		}
		return withStatus(err)
	case resilience.GaveUp(answer):
		md.trailer(metadata.Pairs(retryKey, "no"))
	}
	return answer
}
