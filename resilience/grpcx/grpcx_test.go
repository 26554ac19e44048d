package grpcx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/backstay/backstay/resilience"
)

// service answers each unary call with the next of its turns, and says what it knows of the call.
type service struct {
	pb.UnimplementedTestServiceServer
	mu    sync.Mutex
	turns []turn
	seen  []string
	hold  chan struct{} // what EmptyCall waits for, where not nil
}

type turn struct {
	code    codes.Code
	trailer string // "key: value"
	takes   time.Duration
}

func (s *service) UnaryCall(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	s.mu.Lock()
	t := s.turns[min(len(s.seen), len(s.turns)-1)]
	_, deadline := ctx.Deadline()
	known := fmt.Sprintf("try %d, %v, %v, deadline %v", resilience.AttemptOf(ctx), resilience.PriorityOf(ctx), resilience.Degraded(ctx), deadline)
	s.seen = append(s.seen, known)
	s.mu.Unlock()
	if key, value, ok := strings.Cut(t.trailer, ": "); ok {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(key, value))
	}
	select {
	case <-time.After(t.takes):
	case <-ctx.Done():
	}
	if t.code != codes.OK {
		return nil, status.Error(t.code, "as told")
	}
	return &pb.SimpleResponse{Username: known}, nil
}

func (s *service) EmptyCall(ctx context.Context, _ *pb.Empty) (*pb.Empty, error) {
	select {
	case <-s.hold:
	case <-ctx.Done():
	}
	return &pb.Empty{}, nil
}

func (s *service) FullDuplexCall(stream pb.TestService_FullDuplexCallServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if in.GetResponseStatus().GetCode() != 0 {
			return status.Error(codes.Code(in.GetResponseStatus().GetCode()), "as told")
		}
		if err := stream.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: []byte(resilience.PriorityOf(stream.Context()).String())}}); err != nil {
			return err
		}
	}
}

func (s *service) StreamingInputCall(stream pb.TestService_StreamingInputCallServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return stream.SendAndClose(&pb.StreamingInputCallResponse{})
		}
	}
}

// serve starts a server and gives a connection to it through a client.
func serve(t testing.TB, s *service, so ServerOptions, co ClientOptions) pb.TestServiceClient {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(UnaryServer(so)), grpc.StreamInterceptor(StreamServer(so)))
	pb.RegisterTestServiceServer(server, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return dial(t, listener, co)
}

// dial connects in memory, so that a test may run in synctest's time.
func dial(t testing.TB, to *bufconn.Listener, o ClientOptions) pb.TestServiceClient {
	t.Helper()
	client, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///memory", append(client.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return to.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return pb.NewTestServiceClient(conn)
}

func all(string) bool { return true }

func soon() resilience.RetryOptions {
	return resilience.RetryOptions{Backoff: resilience.Backoff{Initial: time.Millisecond}, Budget: resilience.NewBudget(resilience.BudgetOptions{Min: 100})}
}

func TestUnaryRetries(t *testing.T) {
	bad, good := turn{code: codes.Unavailable}, turn{}
	tests := []struct {
		name  string
		again func(string) bool // Idempotent
		turns []turn
		want  codes.Code
		tries int
		took  time.Duration // at least
	}{
		{"a good answer", all, []turn{good}, codes.OK, 1, 0},
		{"unavailable, then good", all, []turn{bad, good}, codes.OK, 2, 0},
		{"exhausted, then good", all, []turn{{code: codes.ResourceExhausted}, good}, codes.OK, 2, 0},
		{"unavailable only", all, []turn{bad}, codes.Unavailable, 3, 0},
		{"a wrong request", all, []turn{{code: codes.InvalidArgument}, good}, codes.InvalidArgument, 1, 0},
		{"a broken server", all, []turn{{code: codes.Internal}, good}, codes.Internal, 1, 0},
		{"what may not be called twice", nil, []turn{bad, good}, codes.Unavailable, 1, 0},
		{"unless it was refused", nil, []turn{{code: codes.ResourceExhausted, trailer: "backstay-refused: yes"}, good}, codes.OK, 2, 0},
		{"told not to", all, []turn{{code: codes.Unavailable, trailer: "backstay-retry: no"}, good}, codes.Unavailable, 1, 0},
		{"pushed back", all, []turn{{code: codes.Unavailable, trailer: "grpc-retry-pushback-ms: 40"}, good}, codes.OK, 2, 40 * time.Millisecond},
		{"pushed back for good", all, []turn{{code: codes.Unavailable, trailer: "grpc-retry-pushback-ms: -1"}, good}, codes.Unavailable, 1, 0},
		{"pushed back with nonsense", all, []turn{{code: codes.Unavailable, trailer: "grpc-retry-pushback-ms: soon"}, good}, codes.Unavailable, 1, 0},
		{"a slow try", all, []turn{{takes: time.Minute}, good}, codes.OK, 2, 500 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{turns: tt.turns}
				retry := soon()
				retry.PerTry = 500 * time.Millisecond
				client := serve(t, s, ServerOptions{}, ClientOptions{Retry: retry, Idempotent: tt.again})
				begun := time.Now()
				_, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{})
				took := time.Since(begun)
				s.mu.Lock()
				defer s.mu.Unlock()
				if status.Code(err) != tt.want || len(s.seen) != tt.tries || took < tt.took || took > tt.took+10*time.Millisecond {
					t.Errorf("%v after %d tries and %v, want %v after %d and %v", err, len(s.seen), took, tt.want, tt.tries, tt.took)
				}
				for i, known := range s.seen {
					if !strings.HasPrefix(known, fmt.Sprintf("try %d,", i+1)) || !strings.HasSuffix(known, "deadline true") {
						t.Errorf("try %d knows %q", i+1, known)
					}
				}
			})
		})
	}
}

// TestNoConnection: what finds no connection was not sent, and may be tried again whatever it was.
func TestNoConnection(t *testing.T) {
	listener := bufconn.Listen(1)
	_ = listener.Close()
	retries := 0
	retry := soon()
	retry.OnRetry = func(resilience.RetryEvent) { retries++ }
	breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 6})
	client := dial(t, listener, ClientOptions{Retry: retry, Gates: []resilience.Gate{breaker}})
	_, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{})
	if status.Code(err) != codes.Unavailable || !errors.Is(err, resilience.ErrNotSent) || !resilience.GaveUp(err) || retries != 2 {
		t.Errorf("%v after %d retries", err, retries)
	}
	if _, err = client.FullDuplexCall(t.Context()); status.Code(err) != codes.Unavailable || retries != 4 || breaker.State() != resilience.Open {
		t.Errorf("stream: %v after %d retries, breaker %v", err, retries, breaker.State())
	}
	_, err = client.FullDuplexCall(t.Context())
	if status.Code(err) != codes.Unavailable || !errors.Is(err, resilience.ErrOpen) {
		t.Errorf("behind the open breaker: %v", err)
	}
}

func TestBreakerLearns(t *testing.T) {
	for code, want := range map[codes.Code]resilience.BreakerState{
		codes.OK: resilience.Closed, codes.NotFound: resilience.Closed, codes.PermissionDenied: resilience.Closed,
		codes.Unavailable: resilience.Open, codes.Internal: resilience.Open, codes.ResourceExhausted: resilience.Open,
	} {
		breaker := resilience.NewBreaker(resilience.BreakerOptions{Consecutive: 1})
		client := serve(t, &service{turns: []turn{{code: code}}}, ServerOptions{}, ClientOptions{Gates: []resilience.Gate{breaker}})
		_, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{})
		if status.Code(err) != code || breaker.State() != want {
			t.Errorf("%v: %v, breaker %v, want %v", code, err, breaker.State(), want)
		}
		if got := Judge(err) == resilience.Failure; got != (want == resilience.Open) {
			t.Errorf("%v is judged a failure: %v", code, got)
		}
	}
}

// refuser refuses with an error of its own.
type refuser struct{ err error }

func (r refuser) Enter(context.Context) (resilience.Pass, error) { return resilience.Pass{}, r.err }

type later struct{ error }

func (l later) Unwrap() error             { return l.error }
func (l later) RetryAfter() time.Duration { return 1500 * time.Millisecond }

func TestServerRefuses(t *testing.T) {
	tests := []struct {
		err      error
		want     codes.Code
		refused  string
		pushback string
	}{
		{resilience.ErrShed, codes.ResourceExhausted, "[yes]", "[]"},
		{resilience.ErrRate, codes.ResourceExhausted, "[yes]", "[]"},
		{resilience.ErrQueueTimeout, codes.ResourceExhausted, "[yes]", "[]"},
		{resilience.ErrOpen, codes.Unavailable, "[yes]", "[]"},
		{later{resilience.ErrOpen}, codes.Unavailable, "[yes]", "[1500]"},
		{resilience.ErrHoldFull, codes.Unavailable, "[yes]", "[]"},
		{resilience.ErrTooLate, codes.DeadlineExceeded, "[yes]", "[]"},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "[]", "[]"},
		{context.Canceled, codes.Canceled, "[]", "[]"},
		{errors.New("odd"), codes.Unknown, "[]", "[]"},
	}
	for _, tt := range tests {
		s := &service{turns: []turn{{}}}
		client := serve(t, s, ServerOptions{Gates: []resilience.Gate{refuser{tt.err}}}, ClientOptions{Retry: resilience.RetryOptions{Attempts: 1}})
		var trailer metadata.MD
		_, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{}, grpc.Trailer(&trailer))
		if status.Code(err) != tt.want || fmt.Sprint(trailer.Get(refusedKey)) != tt.refused || fmt.Sprint(trailer.Get(pushbackKey)) != tt.pushback || len(s.seen) != 0 {
			t.Errorf("%v: %v, trailer %v; want %v, %s, %s", tt.err, err, trailer, tt.want, tt.refused, tt.pushback)
		}
		stream, err := client.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = stream.Recv(); status.Code(err) != tt.want || fmt.Sprint(stream.Trailer().Get(refusedKey)) != tt.refused {
			t.Errorf("stream, %v: %v, trailer %v", tt.err, err, stream.Trailer())
		}
	}
}

func TestWhatIsPassedOn(t *testing.T) {
	tokens := func(id string) *resilience.Tokens {
		k, err := resilience.NewTokens(resilience.TokenOptions{Keys: []resilience.TokenKey{{ID: id, Secret: bytes.Repeat([]byte(id), 32)}}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := tokens("k1")
	mode := resilience.NewMode("images off", resilience.ModeOptions{})
	mode.Force(true)
	critical := resilience.WithPriority(t.Context(), resilience.Critical+3)
	tests := []struct {
		name   string
		ctx    context.Context
		server ServerOptions
		client ClientOptions
		want   string
		told   string
	}{
		{"nothing", t.Context(), ServerOptions{TrustPriority: true}, ClientOptions{}, "try 1, normal, [], deadline false", "[]"},
		{"a priority", critical, ServerOptions{TrustPriority: true}, ClientOptions{}, "try 1, critical, [], deadline false", "[]"},
		{"a priority that is not believed", critical, ServerOptions{}, ClientOptions{}, "try 1, normal, [], deadline false", "[]"},
		{"signed", critical, ServerOptions{Tokens: k}, ClientOptions{Tokens: k}, "try 1, critical, [], deadline false", "[]"},
		{"a token passed on", resilience.WithToken(t.Context(), k.Sign(resilience.CriticalPlus)), ServerOptions{Tokens: k}, ClientOptions{}, "try 1, critical+, [], deadline false", "[]"},
		{"signed by a stranger", critical, ServerOptions{Tokens: k}, ClientOptions{Tokens: tokens("k2")}, "try 1, normal, [], deadline false", "[]"},
		{"by method", critical, ServerOptions{Priority: func(_ context.Context, method string) resilience.Priority {
			return map[string]resilience.Priority{"/grpc.testing.TestService/UnaryCall": resilience.Sheddable}[method]
		}}, ClientOptions{}, "try 1, sheddable, [], deadline false", "[]"},
		{"modes", resilience.WithDegraded(t.Context(), "search off"), ServerOptions{TrustDegraded: true, Modes: []*resilience.Mode{mode}}, ClientOptions{}, "try 1, normal, [search off images off], deadline false", "[search off, images off]"},
		{"gRPC's own retries", metadata.AppendToOutgoingContext(t.Context(), previousKey, "2"), ServerOptions{}, ClientOptions{}, "try 3, normal, [], deadline false", "[]"},
		{"nonsense", metadata.AppendToOutgoingContext(t.Context(), priorityKey, "9.9", attemptKey, "-3", tokenKey, "x"), ServerOptions{TrustPriority: true, Tokens: k}, ClientOptions{}, "try 1, normal, [], deadline false", "[]"},
	}
	for _, tt := range tests {
		client := serve(t, &service{turns: []turn{{}}}, tt.server, tt.client)
		var header metadata.MD
		answer, err := client.UnaryCall(tt.ctx, &pb.SimpleRequest{}, grpc.Header(&header))
		if err != nil || answer.GetUsername() != tt.want || fmt.Sprint(header.Get(degradedKey)) != tt.told {
			t.Errorf("%s: %q, %v, %v; want %q, %s", tt.name, answer.GetUsername(), err, header.Get(degradedKey), tt.want, tt.told)
		}
	}
}

// TestRetriesDoNotMultiply has a service in the middle that gives up; the client does not try again what it has tried.
func TestRetriesDoNotMultiply(t *testing.T) {
	last := &service{turns: []turn{{code: codes.Unavailable}}}
	behind := serve(t, last, ServerOptions{}, ClientOptions{Retry: soon(), Idempotent: all})
	middle := &forwarding{to: behind}
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(UnaryServer(ServerOptions{})))
	pb.RegisterTestServiceServer(server, middle)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	client := dial(t, listener, ClientOptions{Retry: soon(), Idempotent: all})
	_, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{})
	if status.Code(err) != codes.Unavailable || len(last.seen) != 3 {
		t.Errorf("%v after %d tries, want 3", err, len(last.seen))
	}
}

type forwarding struct {
	pb.UnimplementedTestServiceServer
	to pb.TestServiceClient
}

func (f *forwarding) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return f.to.UnaryCall(ctx, r)
}

// TestStreamsStayInside: a stream holds its place in the gates, on both sides, until it ends, however it ends.
func TestStreamsStayInside(t *testing.T) { synctest.Test(t, streamsStayInside) }

func streamsStayInside(t *testing.T) {
	inside := func(l *resilience.Limit, want int) string {
		synctest.Wait() // the server's handler ends a moment after the client has heard
		if now := l.Snapshot().InUse; now != want {
			return fmt.Sprintf("%d inside, want %d", now, want)
		}
		return ""
	}
	ask := &pb.StreamingOutputCallRequest{}
	fail := &pb.StreamingOutputCallRequest{ResponseStatus: &pb.EchoStatus{Code: int32(codes.Unavailable)}}
	tests := []struct {
		name string
		end  func(pb.TestService_FullDuplexCallClient, context.CancelFunc) error
		want codes.Code
		told string
	}{
		{"by both", func(s pb.TestService_FullDuplexCallClient, _ context.CancelFunc) error {
			_ = s.CloseSend()
			if _, err := s.Recv(); !errors.Is(err, io.EOF) {
				return err
			}
			return nil
		}, codes.OK, "ok"},
		{"by the server", func(s pb.TestService_FullDuplexCallClient, _ context.CancelFunc) error {
			_ = s.Send(fail)
			_, err := s.Recv()
			return err
		}, codes.Unavailable, "failed"},
		{"by leaving", func(_ pb.TestService_FullDuplexCallClient, leave context.CancelFunc) error { leave(); return nil }, codes.OK, "canceled"},
	}
	for _, tt := range tests {
		here, there := resilience.NewLimit(resilience.LimitOptions{Concurrency: 5}), resilience.NewLimit(resilience.LimitOptions{Concurrency: 5})
		told := make(chan string, 1)
		client := serve(t, &service{}, ServerOptions{Gates: []resilience.Gate{there}, TrustPriority: true}, ClientOptions{
			Retry: resilience.RetryOptions{PerTry: time.Hour}, Gates: []resilience.Gate{here},
			Observer: func(_ context.Context, e resilience.Event) { told <- e.Reason() },
		})
		ctx, cancel := context.WithCancel(resilience.WithPriority(t.Context(), resilience.Critical))
		s, err := client.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := s.Send(ask); err != nil {
				t.Fatal(err)
			}
			answer, err := s.Recv()
			if err != nil || string(answer.GetPayload().GetBody()) != "critical" {
				t.Fatalf("%s, %v", answer.GetPayload().GetBody(), err)
			}
		}
		if wrong := inside(here, 1) + inside(there, 1); wrong != "" {
			t.Errorf("%s, while open: %s", tt.name, wrong)
		}
		if err := tt.end(s, cancel); status.Code(err) != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
		if reason := <-told; reason != tt.told {
			t.Errorf("%s: told %s, want %s", tt.name, reason, tt.told)
		}
		if wrong := inside(here, 0) + inside(there, 0); wrong != "" {
			t.Errorf("%s, at its end: %s", tt.name, wrong)
		}
		in, err := client.StreamingInputCall(ctx)
		if tt.told == "canceled" {
			if err == nil {
				t.Error("opened a stream for somebody who left")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.CloseAndRecv(); err != nil {
			t.Error(err)
		}
		if wrong := inside(here, 0) + inside(there, 0); wrong != "" {
			t.Errorf("%s, one answer: %s", tt.name, wrong)
		}
		cancel()
	}
}

func TestObserverIsTold(t *testing.T) {
	var mu sync.Mutex
	var told []string
	note := func(where string) resilience.Observer {
		return func(_ context.Context, e resilience.Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(where, " ", e.Name[strings.LastIndex(e.Name, "/")+1:], " ", e.Kind, " ", e.Reason()))
		}
	}
	own := 0
	retry := soon()
	retry.OnRetry = func(resilience.RetryEvent) { own++ }
	rate := resilience.NewRate(resilience.RateOptions{PerSecond: 1e-6, Burst: 1})
	client := serve(t, &service{turns: []turn{{}}}, ServerOptions{Gates: []resilience.Gate{rate}, Observer: note("server")}, ClientOptions{Retry: retry, Observer: note("client"), Name: "shop"})
	for range 2 {
		_, _ = client.UnaryCall(t.Context(), &pb.SimpleRequest{})
	}
	mu.Lock()
	defer mu.Unlock()
	count := map[string]int{}
	for _, what := range told {
		count[what]++
	}
	want := map[string]int{"server UnaryCall call ok": 1, "client shop call ok": 1, "server UnaryCall call rate": 3, "server UnaryCall refusal rate": 3, "client shop retry failed": 2, "client shop call failed": 1}
	for what, n := range want {
		if count[what] != n || len(count) != len(want) {
			t.Errorf("told %v, want %v", count, want)
			break
		}
	}
	if own != 2 {
		t.Errorf("own hook called %d times", own)
	}
}

func TestNewClientRefuses(t *testing.T) {
	if _, err := NewClient(ClientOptions{Retry: resilience.RetryOptions{Attempts: -1}}); err == nil {
		t.Error("took negative attempts")
	}
}
