package grpcx

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/backstay/backstay/resilience"
)

// TestHedge: a slow call of an idempotent method is made a second time, as late as calls usually take, and its answer counts with
// all that belongs to it; the slow one is cancelled.
func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const usual = 10 * time.Millisecond
		s := &service{turns: []turn{{takes: usual, trailer: "who: first"}}}
		hedges := 0
		hedge := resilience.NewHedge(resilience.HedgeOptions{Volume: 20, Window: 10 * time.Second, OnHedge: func(resilience.HedgeEvent) { hedges++ }})
		idempotent := true
		client := serve(t, s, ServerOptions{}, ClientOptions{Hedge: hedge, Idempotent: func(string) bool { return idempotent }})
		ask := func() (took time.Duration, trailer metadata.MD, from peer.Peer) {
			t.Helper()
			begun := time.Now()
			reply, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{}, grpc.Trailer(&trailer), grpc.Peer(&from))
			if err != nil || reply.GetUsername() == "" {
				t.Fatalf("%v, %v", reply, err)
			}
			return time.Since(begun), trailer, from
		}
		for range 50 {
			ask()
			time.Sleep(20 * time.Millisecond)
		}
		n := len(s.seen)
		slow := func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			n = len(s.seen)
			s.turns = make([]turn, n+2)
			s.turns[n], s.turns[n+1] = turn{takes: time.Minute, trailer: "who: first"}, turn{takes: usual, trailer: "who: second"}
		}
		slow()
		took, trailer, from := ask()
		if took > 5*usual || hedges != 1 || len(s.seen) != n+2 {
			t.Errorf("a slow call took %v, with %d hedges and %d calls of the server", took, hedges, len(s.seen)-n)
		}
		if who := trailer.Get("who"); len(who) != 1 || who[0] != "second" || from.Addr == nil {
			t.Errorf("the caller was given the trailer %v and the peer %v, not those of the answer", trailer, from)
		}
		synctest.Wait() // the slow one has been cancelled: nothing is left to wait for in this bubble

		slow()
		s.turns[n].takes = 2 * time.Second
		idempotent = false
		if took, _, _ := ask(); took < 2*time.Second || hedges != 1 {
			t.Errorf("one that may not be made twice took %v, with %d hedges in all", took, hedges)
		}
	})
}

// TestHedgeOfMany: where the second call hangs as well, a third is made, and its answer counts.
func TestHedgeOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const usual = 10 * time.Millisecond
		s := &service{turns: []turn{{takes: usual}}}
		hedge := resilience.NewHedge(resilience.HedgeOptions{
			Volume: 20, Window: 10 * time.Second, Max: 3, Budget: resilience.NewBudget(resilience.BudgetOptions{Min: 9}),
		})
		client := serve(t, s, ServerOptions{}, ClientOptions{Hedge: hedge, Idempotent: func(string) bool { return true }})
		for range 50 {
			if _, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		s.mu.Lock()
		n := len(s.seen)
		s.turns = make([]turn, n+3)
		s.turns[n], s.turns[n+1], s.turns[n+2] = turn{takes: time.Minute}, turn{takes: time.Minute}, turn{takes: usual, trailer: "who: third"}
		s.mu.Unlock()
		begun := time.Now()
		var trailer metadata.MD
		reply, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{}, grpc.Trailer(&trailer))
		if err != nil || reply.GetUsername() == "" || time.Since(begun) > 6*usual || len(s.seen) != n+3 {
			t.Errorf("%v, %v after %v and %d calls", reply, err, time.Since(begun), len(s.seen)-n)
		}
		if who := trailer.Get("who"); len(who) != 1 || who[0] != "third" {
			t.Errorf("the caller was given the trailer %v", trailer)
		}
	})
}

// TestHedgeKeepsToBudget: when everything is slow, calls are not doubled.
func TestHedgeKeepsToBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{turns: []turn{{takes: 10 * time.Millisecond}}}
		client := serve(t, s, ServerOptions{}, ClientOptions{
			Hedge: resilience.NewHedge(resilience.HedgeOptions{Volume: 20, Window: time.Hour}), Idempotent: func(string) bool { return true },
		})
		ask := func(n int) {
			for range n {
				if _, err := client.UnaryCall(t.Context(), &pb.SimpleRequest{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		ask(200)
		s.mu.Lock()
		s.turns, s.seen = []turn{{takes: 100 * time.Millisecond}}, nil
		s.mu.Unlock()
		ask(200)
		if len(s.seen) <= 200 || len(s.seen) > 225 {
			t.Errorf("200 slow calls were %d for the server, want a tenth more at most", len(s.seen))
		}
	})
}

// TestHedgeLeavesOtherMessagesAlone: what cannot be copied is called once.
func TestHedgeLeavesOtherMessagesAlone(t *testing.T) {
	if isProto(&struct{ Name string }{}) || isProto(nil) || isProto((*pb.SimpleResponse)(nil)) || !isProto(&pb.SimpleResponse{}) {
		t.Error("what is a message of protobuf and what is not is told apart wrongly")
	}
	c := &Client{options: ClientOptions{Hedge: resilience.NewHedge(resilience.HedgeOptions{})}}
	reply, calls := &struct{ Name string }{}, 0
	err := c.race(context.Background(), reply, nil, func(_ context.Context, got any, _ []grpc.CallOption) error {
		calls++
		if got != any(reply) {
			t.Error("it was given another message")
		}
		return nil
	})
	if err != nil || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
