package grpcx

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/backstay/backstay/resilience"
)

// race makes a call, and again where it takes long. The first writes to what the caller gave it; it has returned before anything
// of the others is used.
func (c *Client) race(ctx context.Context, reply any, opts []grpc.CallOption, call func(context.Context, any, []grpc.CallOption) error) error {
	if c.options.Hedge == nil || !isProto(reply) {
		return call(ctx, reply, opts)
	}
	var calls atomic.Int32
	won, err := resilience.Race(ctx, c.options.Hedge, func(ctx context.Context) (*again, error) {
		if calls.Add(1) == 1 {
			return nil, call(ctx, reply, opts)
		}
		a := newAgain(reply, opts)
		return a, call(ctx, a.reply, a.opts)
	}, nil)
	if err == nil && won != nil {
		return won.deliver(reply)
	}
	return err
}

// isProto says whether a message can be made anew and copied: it is one of protobuf's. (Their package is a module of its own.)
func isProto(message any) bool {
	v := reflect.ValueOf(message)
	return v.Kind() == reflect.Pointer && !v.IsNil() && v.MethodByName("ProtoReflect").IsValid()
}

// again is what a further call writes to.
type again struct {
	reply any
	opts  []grpc.CallOption
	keep  []func() // hand on what the caller's options asked for
}

func newAgain(reply any, opts []grpc.CallOption) *again {
	a := &again{reply: reflect.New(reflect.TypeOf(reply).Elem()).Interface()}
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			var md metadata.MD
			a.opts = append(a.opts, grpc.Header(&md))
			a.keep = append(a.keep, func() { *o.HeaderAddr = md })
		case grpc.TrailerCallOption:
			var md metadata.MD
			a.opts = append(a.opts, grpc.Trailer(&md))
			a.keep = append(a.keep, func() { *o.TrailerAddr = md })
		case grpc.PeerCallOption:
			var p peer.Peer
			a.opts = append(a.opts, grpc.Peer(&p))
			a.keep = append(a.keep, func() { *o.PeerAddr = p })
		default:
			a.opts = append(a.opts, o)
		}
	}
	return a
}

// deliver gives the caller what the further call has got.
func (a *again) deliver(reply any) error {
	codec := encoding.GetCodecV2("proto")
	if codec == nil {
		return errors.New("hedge: gRPC has no codec for protobuf")
	}
	data, err := codec.Marshal(a.reply)
	if err != nil {
		return err
	}
	defer data.Free()
	if err := codec.Unmarshal(data, reply); err != nil {
		return err
	}
	for _, keep := range a.keep {
		keep()
	}
	return nil
}
