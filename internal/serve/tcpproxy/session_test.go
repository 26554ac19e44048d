package tcpproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/telemetry"

	"github.com/backstay/backstay/internal/serve/reach"
)

func TestHalfCloseIsKeptBothWays(t *testing.T) {
	t.Run("client first", func(t *testing.T) {
		k := start(t, one("", "", member(t, func(c *net.TCPConn) {
			all, _ := io.ReadAll(c) // ends with the client's half-close only
			_, _ = io.WriteString(c, "got "+string(all))
		})))
		c := k.dial()
		_, _ = io.WriteString(c, "question")
		_ = c.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "got question" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	})
	t.Run("member first", func(t *testing.T) {
		heard := make(chan string, 1)
		k := start(t, one("", "", member(t, func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "greeting")
			_ = c.CloseWrite()
			all, _ := io.ReadAll(c)
			heard <- string(all)
		})))
		c := k.dial()
		if got, err := io.ReadAll(c); string(got) != "greeting" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		_, _ = io.WriteString(c, "thanks")
		_ = c.CloseWrite()
		if got := <-heard; got != "thanks" {
			t.Errorf("the member read %q", got)
		}
		eventually(t, "the session ends", func() bool { return k.server.Live() == 0 })
		if k.counter("backstay_tcp_sessions_total", "in", "s", "ok") != 1 {
			t.Error("the session was not counted as ended well")
		}
	})
}

func TestUnixMembersAndClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, ln, func(c net.Conn) { _, _ = io.Copy(c, c); _ = c.(*net.UnixConn).CloseWrite() })
	k := start(t, one("", "", "unix:"+path))
	c := k.dial()
	if got := ask(t, c, "over a file"); got != "over a file" {
		t.Errorf("read %q", got)
	}
}

func TestConnectFailuresAreTriedElsewhere(t *testing.T) {
	yaml := one("", "retry: {budget: 100%, initial: 1ms}\nbalance: round_robin", closedAddress(t), closedAddress(t), member(t, says("up")))
	k := start(t, yaml)
	for range 3 {
		if got := read(t, k.dial(), 2); got != "up" {
			t.Errorf("read %q", got)
		}
	}
	if k.counter("backstay_service_retries_total", "connect") == 0 {
		t.Error("no session met a closed member first")
	}
}

func TestNothingIsRetriedAfterAByteWasDelivered(t *testing.T) {
	var sessions atomic.Int64
	broken := func(c *net.TCPConn) {
		sessions.Add(1)
		_, _ = io.ReadFull(c, make([]byte, 3))
		reach.Reset(c)
	}
	k := start(t, one("", "", member(t, broken), member(t, broken)))
	c := k.dial()
	_, _ = io.WriteString(c, "pay")
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client saw %v, want a reset", err)
	}
	eventually(t, "the session ends", func() bool { return k.server.Live() == 0 })
	if n := sessions.Load(); n != 1 {
		t.Errorf("members saw %d sessions", n)
	}
	failures := uint64(0)
	for _, m := range k.pools["s"].Status().Members {
		failures += m.Failures
	}
	if failures != 1 || k.counter("backstay_tcp_sessions_total", "reset") != 1 {
		t.Errorf("the pool learned of %d failures", failures)
	}
}

func TestNoMember(t *testing.T) {
	k := start(t, one("", "hold: 0s\nretry: {attempts: 2, initial: 1ms}", closedAddress(t)))
	k.refused("")
	eventually(t, "the ending is counted", func() bool {
		return k.counter("backstay_tcp_sessions_total", "no_member") == 1
	})
}

func TestHeldSessionsAreReleased(t *testing.T) {
	m := member(t, says("back"))
	k := start(t, one("", "hold: 10m\ncheck: {tcp: {}}", m))
	k.pools["s"].SetHealth("m1", health.Status{State: health.Up})
	if err := k.pools["s"].Drain("m1", true); err != nil { // checks alone never take the last one down
		t.Fatal(err)
	}
	c := k.dial()
	eventually(t, "the session is held", func() bool { return k.pools["s"].Status().Held == 1 })
	if err := k.pools["s"].Drain("m1", false); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, 4); got != "back" {
		t.Errorf("read %q", got)
	}
}

func TestHoldEnds(t *testing.T) {
	k := start(t, one("", "hold: 20ms", member(t, echo)))
	if err := k.pools["s"].Drain("m1", true); err != nil {
		t.Fatal(err)
	}
	k.refused("")
}

func TestServiceLimitAndItsQueue(t *testing.T) {
	k := start(t, one("", "limit: {concurrency: 1, queue: 1, wait: 10m}", member(t, says("hi"))))
	first := k.dial()
	read(t, first, 2)
	second := k.dial()
	eventually(t, "the second waits", func() bool { return k.pools["s"].Status().Queued == 1 })
	k.refused("")
	eventually(t, "the refusal is counted", func() bool { return k.counter("backstay_tcp_sessions_total", "limited") == 1 })
	first.Close()
	if got := read(t, second, 2); got != "hi" {
		t.Errorf("the second read %q", got)
	}
}

func TestListenerLimitLeavesClientsInTheQueue(t *testing.T) {
	k := start(t, one(", limits: {connections: 2}", "", member(t, says("hi"))))
	a, b, waiting := k.dial(), k.dial(), k.dial()
	read(t, a, 2)
	read(t, b, 2)
	_ = waiting.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if _, err := waiting.Read(make([]byte, 1)); err == nil {
		t.Error("a third was served")
	}
	a.Close()
	_ = waiting.SetReadDeadline(time.Now().Add(patience))
	if got := read(t, waiting, 2); got != "hi" {
		t.Errorf("read %q", got)
	}
}

func TestCutWhenTheMemberIsGone(t *testing.T) {
	for _, how := range []string{"removed", "down"} {
		t.Run(how, func(t *testing.T) {
			stays, goes := member(t, says("1")), member(t, says("2"))
			yaml := one("", "check: {tcp: {}}\ndrain_timeout: 1ms\nbalance: round_robin", stays, goes)
			k := start(t, yaml)
			up := health.Status{State: health.Up}
			k.pools["s"].SetHealth("m1", up)
			k.pools["s"].SetHealth("m2", up)
			sessions := map[string]*net.TCPConn{}
			for len(sessions) < 2 {
				c := k.dial()
				sessions[read(t, c, 1)] = c
			}
			if how == "removed" {
				k.apply(one("", "check: {tcp: {}}\ndrain_timeout: 1ms\nbalance: round_robin", stays))
			} else {
				k.pools["s"].SetHealth("m2", health.Status{State: health.Down, Evidence: "a test says so"})
			}
			if _, err := sessions["2"].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the session of the one that is gone saw %v, want a reset", err)
			}
			if got := ask(t, sessions["1"], "still"); got != "still" {
				t.Errorf("the other's session read %q", got)
			}
			eventually(t, "the cut is counted", func() bool { return k.counter("backstay_tcp_sessions_total", "cut") == 1 })
		})
	}
}

func TestSessionsOfADownMemberMayDrain(t *testing.T) {
	k := start(t, one("", "check: {tcp: {}}\non_member_down: drain", member(t, says("1")), member(t, says("1"))))
	for _, m := range []string{"m1", "m2"} {
		k.pools["s"].SetHealth(m, health.Status{State: health.Up})
	}
	c := k.dial()
	read(t, c, 1)
	for _, m := range []string{"m1", "m2"} {
		k.pools["s"].SetHealth(m, health.Status{State: health.Down})
		if got := ask(t, c, "still"); got != "still" {
			t.Errorf("read %q", got)
		}
	}
}

// TestIdleSessionsEnd is about a session that idles and one that does not. Where the machine stalls the busy one idles as well; that proves
// nothing, and they begin anew.
func TestIdleSessionsEnd(t *testing.T) {
	for range 20 {
		if idleAndBusy(t) {
			return
		}
	}
	t.Error("a session with a byte now and then was ended each time")
}

func idleAndBusy(t *testing.T) (judged bool) {
	const timeout = 400 * time.Millisecond
	k := start(t, one("", "timeout: {idle: 400ms}", member(t, says("hi"))))
	began := time.Now()
	idle, busy := k.dial(), k.dial()
	read(t, busy, 2)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, idle)
		ended <- err
	}()
	var longest time.Duration   // that the busy one was left alone
	for last := time.Now(); ; { // a byte now and then keeps a session
		over := false
		select {
		case err := <-ended:
			if over = true; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the idle session saw %v", err)
			}
			if took := time.Since(began); took < timeout-10*time.Millisecond {
				t.Errorf("ended after %v", took)
			}
		case <-time.After(timeout / 10):
		}
		_, err := io.WriteString(busy, "x")
		if err == nil {
			_, err = io.ReadFull(busy, make([]byte, 1))
		}
		longest = max(longest, time.Since(last))
		last = time.Now()
		if err != nil && longest > timeout/2 {
			return false
		}
		if err != nil {
			t.Fatalf("the busy session, left alone for %v at most, saw %v", longest, err)
		}
		if over {
			eventually(t, "counted", func() bool { return k.counter("backstay_tcp_sessions_total", "idle") >= 1 })
			return true
		}
	}
}

func TestDrain(t *testing.T) {
	k := start(t, one("", "", member(t, says("hi"))))
	finishes, stays := k.dial(), k.dial()
	read(t, finishes, 2)
	read(t, stays, 2)
	k.stop()
	if c, err := net.Dial("tcp", k.address); err == nil {
		c.Close()
		t.Error("still accepting")
	}
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() { drained <- k.server.Drain(ctx) }()
	if got := ask(t, finishes, "last words"); got != "last words" {
		t.Errorf("read %q", got)
	}
	_ = finishes.CloseWrite()
	if _, err := io.ReadAll(finishes); err != nil {
		t.Errorf("a session that ends in time: %v", err)
	}
	eventually(t, "one is left", func() bool { return k.server.Live() == 1 })
	cancel()
	if err := <-drained; err == nil {
		t.Error("nobody was told that a session was cut")
	}
	if _, err := stays.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the one that stays saw %v, want a reset", err)
	}
}

func TestEarlyAnswerReachesAClientThatStillSends(t *testing.T) {
	k := start(t, one("", "", member(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "too much")
		_ = c.CloseWrite()
	})))
	c := k.dial()
	go func() { _, _ = c.Write(make([]byte, 8<<20)) }()
	if got := read(t, c, 8); got != "too much" {
		t.Errorf("read %q", got)
	}
}

func TestHashByClientIsStable(t *testing.T) {
	k := start(t, one("", "balance: {policy: hash, hash: {client: true}}", member(t, says("1")), member(t, says("2")), member(t, says("3"))))
	first := ""
	for range 20 {
		c := k.dial()
		got := read(t, c, 1)
		if first == "" {
			first = got
		}
		if got != first {
			t.Fatalf("the same client came to %s and %s", first, got)
		}
		c.Close() // with sessions open, its member might count as full
		eventually(t, "it ends", func() bool { return k.server.Live() == 0 })
	}
}

func TestSessionsSurviveReloads(t *testing.T) {
	m := member(t, says("hi"))
	k := start(t, one("", "", m))
	c := k.dial()
	read(t, c, 2)
	for range 20 {
		k.apply(one("", "timeout: {idle: 10m}", m))
		if got := ask(t, c, "still"); got != "still" {
			t.Fatalf("read %q", got)
		}
	}
}

func TestEachSessionLeavesALine(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewAccessLog(telemetry.AccessOptions{Config: config.AccessLog{Mode: "full"}, Out: &out})
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() { written <- log.Run(ctx) }()
	k := startWith(t, one("", "hold: 0s\nretry: 1", member(t, echo)), log)
	c := k.dial()
	ask(t, c, "four")
	c.Close()
	eventually(t, "the session ends", func() bool { return k.server.Live() == 0 })
	if err := k.pools["s"].Drain("m1", true); err != nil {
		t.Fatal(err)
	}
	k.refused("")
	eventually(t, "the session ends", func() bool { return k.server.Live() == 0 })
	cancel()
	if err := <-written; err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("lines:\n%s", out.String())
	}
	for i, words := range [][]string{
		{`"listener":"in"`, `"service":"s"`, `"member":"m1"`, `"proto":"TCP"`, `"client":"127.0.0.1:`, `:4`},
		{`"listener":"in"`, `"service":"s"`, "no member of the service can serve"},
	} {
		for _, w := range words {
			if !strings.Contains(lines[i], w) {
				t.Errorf("line %d lacks %s: %s", i, w, lines[i])
			}
		}
	}
}

// The only member restarts: the session waits for it, though nothing tells that it is away but refused connections.
func TestSessionWaitsForTheOnlyMember(t *testing.T) {
	address := closedAddress(t)
	k := start(t, one("", "hold: 10m\nbreaker: off\nretry: {initial: 5ms, max: 20ms}", address))
	client := k.dial()
	eventually(t, "the session is held", func() bool { return k.pools["s"].Status().Held == 1 })
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	accept(t, ln, func(c net.Conn) { says("hi")(c.(*net.TCPConn)) })
	if got := read(t, client, 2); got != "hi" {
		t.Errorf("read %q", got)
	}
}
