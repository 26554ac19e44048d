package grpcx

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/backstay/backstay/resilience"
)

// The keys of metadata and trailers.
const (
	attemptKey  = "backstay-attempt"
	priorityKey = "backstay-priority"
	tokenKey    = "backstay-priority-token"
	degradedKey = "backstay-degraded"
	retryKey    = "backstay-retry"
	refusedKey  = "backstay-refused"
	pushbackKey = "grpc-retry-pushback-ms"
	previousKey = "grpc-previous-rpc-attempts" // gRPC's own retries
)

// outgoing adds to a context's metadata what another knows of the call.
func outgoing(ctx, of context.Context, tokens *resilience.Tokens) context.Context {
	var few [8]string
	pairs := few[:0]
	if n := resilience.AttemptOf(of); n > 1 {
		pairs = append(pairs, attemptKey, strconv.Itoa(n))
	}
	p := resilience.PriorityOf(of)
	if p != resilience.Normal {
		pairs = append(pairs, priorityKey, p.Number())
	}
	switch token := resilience.TokenOf(of); {
	case tokens != nil:
		pairs = append(pairs, tokenKey, tokens.Sign(p))
	case token != "":
		pairs = append(pairs, tokenKey, token)
	}
	if modes := resilience.Degraded(of); len(modes) > 0 {
		pairs = append(pairs, degradedKey, modeList(modes))
	}
	if len(pairs) == 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// modeList writes modes into a value: what it could not hold becomes a low line.
func modeList(modes []string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, strings.Join(modes, ", "))
}

// incoming puts what the other side tells into the context. What is malformed is as if it were not there.
func incoming(ctx context.Context, method string, o *ServerOptions) context.Context {
	attempt, _ := strconv.Atoi(first(ctx, attemptKey))
	previous, _ := strconv.Atoi(first(ctx, previousKey))
	if n := max(attempt, previous+1); n > 1 {
		ctx = resilience.WithAttempt(ctx, n)
	}
	if p, ok := resilience.ParsePriority(first(ctx, priorityKey)); ok && o.TrustPriority {
		ctx = resilience.WithPriority(ctx, p)
	}
	if token := first(ctx, tokenKey); token != "" && o.Tokens != nil {
		if p, err := o.Tokens.Verify(token); err == nil {
			ctx = resilience.WithToken(resilience.WithPriority(ctx, p), token)
		}
	}
	if o.Priority != nil {
		ctx = resilience.WithPriority(ctx, o.Priority(ctx, method))
	}
	if modes := first(ctx, degradedKey); modes != "" && o.TrustDegraded && len(modes) <= 2048 {
		for mode := range strings.SplitSeq(modes, ",") {
			if mode = strings.TrimSpace(mode); len(mode) <= 64 {
				ctx = resilience.WithDegraded(ctx, mode)
			}
		}
	}
	for _, mode := range o.Modes {
		if mode.Open() {
			ctx = resilience.WithDegraded(ctx, mode.Name())
		}
	}
	return ctx
}

func first(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// said says whether metadata has a value.
func said(md metadata.MD, key, value string) bool { return slices.Contains(md.Get(key), value) }

// refusal is the trailer of a call that was refused at the door.
func refusal(err error) metadata.MD {
	md := metadata.Pairs(refusedKey, "yes")
	if after := retryAfter(err); after > 0 {
		md.Set(pushbackKey, strconv.FormatInt(min(after.Milliseconds(), 1<<31-1), 10))
	}
	return md
}

// retryAfter is the time that an error asks to wait for; 0 where it does not.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		return e.RetryAfter()
	}
	return 0
}
