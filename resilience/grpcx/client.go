package grpcx

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/backstay/backstay/resilience"
)

// ClientOptions says how calls are made.
type ClientOptions struct {
	// Retry says what is tried again; Retryable is that of this package where nil. For a stream, all of it is about opening one.
	Retry resilience.RetryOptions
	// Idempotent says which methods ("/package.Service/Method") may be called twice. The others, and all where nil, are tried
	// again only where the server provably has not begun: no connection was had, or it says that it has refused the call.
	Idempotent func(method string) bool
	Gates      []resilience.Gate // passed by each try: a breaker, a limit, a throttle. A stream stays inside until it ends
	// Hedge, where given, makes slow unary calls of idempotent methods again and takes the answer that comes first. Messages must
	// be protobuf's; others are not hedged.
	Hedge    *resilience.Hedge
	Tokens   *resilience.Tokens  // signs the priority of calls; where nil, a token that came with the call served is passed on
	Name     string              // what the observer is told of; the method where empty
	Observer resilience.Observer // told of each call, retry and refusal
}

// Client makes calls through gates and makes them again where that is safe. Hand its DialOptions to grpc.NewClient, and leave gRPC's
// own retries (the service config's retryPolicy) off: they know of no budget.
type Client struct {
	options ClientOptions
	retry   *resilience.Retry
}

// NewClient makes a client, or says what is wrong with its options.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Retry.Retryable == nil {
		o.Retry.Retryable = Retryable
	}
	if tell := o.Observer.Retry(o.Name); tell != nil {
		own := o.Retry.OnRetry
		o.Retry.OnRetry = func(e resilience.RetryEvent) {
			tell(e)
			if own != nil {
				own(e)
			}
		}
	}
	retry, err := resilience.NewRetry(o.Retry)
	if err != nil {
		return nil, err
	}
	return &Client{o, retry}, nil
}

// DialOptions put the client around all calls of a connection, inside of interceptors given before it.
func (c *Client) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(c.Unary), grpc.WithChainStreamInterceptor(c.Stream)}
}

func (c *Client) name(method string) string {
	if c.options.Name != "" {
		return c.options.Name
	}
	return method
}

// safe marks a method that may not be called twice.
func (c *Client) safe(ctx context.Context, method string) context.Context {
	if c.options.Idempotent != nil && c.options.Idempotent(method) {
		return ctx
	}
	return resilience.Unsafe(ctx)
}

// refused tells the observer of a refusal by a gate.
func (c *Client) refused(ctx context.Context, method string, err error) {
	if c.options.Observer != nil && errors.Is(err, resilience.ErrRefused) {
		c.options.Observer(ctx, resilience.Event{
			Kind: resilience.EventRefusal, Name: c.name(method), Err: err, Attempt: resilience.AttemptOf(ctx),
		})
	}
}

// Unary is a grpc.UnaryClientInterceptor. Its errors have a status; those of gates also wrap resilience.ErrRefused.
func (c *Client) Unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	_, err := resilience.Watch(ctx, c.options.Observer, c.name(method), func(ctx context.Context) (struct{}, error) {
		return resilience.Do(c.safe(ctx, method), c.retry, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, c.race(ctx, reply, opts, func(ctx context.Context, reply any, opts []grpc.CallOption) error {
				return c.pass(ctx, method, func(ctx context.Context, own ...grpc.CallOption) error {
					return invoke(ctx, method, request, reply, conn, append(opts[:len(opts):len(opts)], own...)...)
				})
			})
		})
	})
	return withStatus(err)
}

// pass makes a unary call once, through the gates.
func (c *Client) pass(ctx context.Context, method string, invoke func(context.Context, ...grpc.CallOption) error) error {
	var answer error
	_, err := resilience.Guard(ctx, func(ctx context.Context) (struct{}, error) {
		var trailer metadata.MD
		var at peer.Peer
		answer = invoke(outgoing(ctx, ctx, c.options.Tokens), grpc.Trailer(&trailer), grpc.Peer(&at))
		return struct{}{}, failure(answer, trailer, at.Addr != nil)
	}, c.options.Gates...)
	c.refused(ctx, method, err)
	if err == nil {
		err = answer // no failure to policies, but an error to the caller
	}
	return err
}

// Stream is a grpc.StreamClientInterceptor. A stream that cannot be opened is tried again; one that breaks is not. It stays inside
// the gates until RecvMsg returns the end or an error, or its context ends, one of which must come about, as gRPC demands.
func (c *Client) Stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	begun := time.Now()
	s, err := resilience.Do(c.safe(ctx, method), c.retry, func(try context.Context) (*clientStream, error) {
		leave, err := resilience.EnterAll(try, c.options.Gates...)
		if err != nil {
			c.refused(try, method, err)
			return nil, err
		}
		// The stream outlives Do's context, which ends it only until it is open.
		within, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(try, cancel)
		stream, err := open(outgoing(within, try, c.options.Tokens), desc, conn, method, opts...)
		if !stop() && err == nil {
			err = context.Cause(try)
		}
		if err != nil {
			cancel()
			err = orItself(failure(err, nil, false), err)
			leave(err)
			return nil, err
		}
		return &clientStream{ClientStream: stream, leave: leave, within: within, cancel: cancel, one: !desc.ServerStreams}, nil
	})
	if err != nil {
		c.ended(ctx, method, begun, err)
		return nil, withStatus(err)
	}
	s.ended = func(err error) { c.ended(ctx, method, begun, err) }
	context.AfterFunc(s.within, func() { s.finish(context.Cause(s.within)) })
	return s, nil
}

func orItself(failed, err error) error {
	if failed != nil {
		return failed
	}
	return err
}

// ended tells the observer of a stream's end.
func (c *Client) ended(ctx context.Context, method string, begun time.Time, err error) {
	if c.options.Observer != nil {
		c.options.Observer(ctx, resilience.Event{Kind: resilience.EventCall, Name: c.name(method), Err: err, Took: time.Since(begun)})
	}
}

// clientStream leaves the gates when it ends.
type clientStream struct {
	grpc.ClientStream
	leave  func(error)
	ended  func(error)
	within context.Context // not the stream's: asking for that one would end gRPC's own transparent retries
	cancel context.CancelFunc
	one    bool // the server answers with one message
	once   sync.Once
}

// RecvMsg notes the stream's end.
func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	switch {
	case errors.Is(err, io.EOF):
		s.finish(nil)
	case err != nil:
		s.finish(failure(err, s.Trailer(), true))
	case s.one:
		s.finish(nil)
	}
	return err
}

func (s *clientStream) finish(err error) {
	s.once.Do(func() {
		s.leave(err)
		s.ended(err)
		s.cancel()
	})
}
