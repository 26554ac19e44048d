package transport

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sleeper counts how often it is woken.
type sleeper struct {
	conn  *net.TCPConn
	woken chan struct{}
	times atomic.Int32
}

func (s *sleeper) Wake() {
	s.times.Add(1)
	s.woken <- struct{}{}
}

// lot runs a Lot for the length of a test.
func lot(t *testing.T) *Lot {
	t.Helper()
	l := &Lot{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return l
}

// pair is a connection over loopback: the far end and a sleeper on the near one.
func pair(t *testing.T) (net.Conn, *sleeper) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close(); near.Close() })
	return far, &sleeper{conn: near.(*net.TCPConn), woken: make(chan struct{}, 8)}
}

func (s *sleeper) park(t *testing.T, l *Lot, by time.Time) {
	t.Helper()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Park(raw, by, s); err != nil {
		t.Fatal(err)
	}
}

func (s *sleeper) await(t *testing.T, why string) {
	t.Helper()
	select {
	case <-s.woken:
	case <-time.After(10 * time.Second):
		t.Fatalf("not woken: %s", why)
	}
}

func TestLotWakes(t *testing.T) {
	l := lot(t)
	for name, stir := range map[string]func(net.Conn){
		"bytes":  func(far net.Conn) { far.Write([]byte("x")) },
		"close":  func(far net.Conn) { far.Close() },
		"reset":  func(far net.Conn) { far.(*net.TCPConn).SetLinger(0); far.Close() },
		"before": nil,
	} {
		t.Run(name, func(t *testing.T) {
			far, s := pair(t)
			if stir == nil { // what is there when it is parked must not be missed
				far.Write([]byte("x"))
				time.Sleep(10 * time.Millisecond)
			}
			s.park(t, l, time.Time{})
			if stir != nil {
				stir(far)
			}
			s.await(t, name)
		})
	}
	if n := l.Parked(); n != 0 {
		t.Errorf("%d still parked", n)
	}
}

func TestLotServesAConnectionAgainAndAgain(t *testing.T) {
	l := lot(t)
	far, s := pair(t)
	buf := make([]byte, 8)
	for i := range 50 {
		s.park(t, l, time.Time{})
		far.Write([]byte{byte(i)})
		s.await(t, "bytes")
		if n, err := s.conn.Read(buf); err != nil || n != 1 || buf[0] != byte(i) {
			t.Fatalf("round %d read %v, %v", i, buf[:n], err)
		}
	}
	if n := s.times.Load(); n != 50 {
		t.Errorf("woken %d times in 50 rounds", n)
	}
}

func TestLotWakesWhenTheTimeIsUp(t *testing.T) {
	l := lot(t)
	_, s := pair(t)
	_, other := pair(t)
	s.park(t, l, time.Now())
	other.park(t, l, time.Now().Add(time.Hour))
	s.await(t, "its time is up")
	if other.times.Load() != 0 || l.Parked() != 1 {
		t.Error("one whose time is not up was woken")
	}
}

func TestLotWakesAllAtItsEnd(t *testing.T) {
	l := &Lot{}
	ctx, cancel := context.WithCancel(context.Background())
	var all []*sleeper
	for range 20 {
		_, s := pair(t)
		s.park(t, l, time.Time{})
		all = append(all, s)
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	l.WakeAll(func(s Sleeper) bool { return s == Sleeper(all[0]) })
	all[0].await(t, "it was chosen")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for i, s := range all {
		if s.times.Load() != 1 {
			t.Errorf("sleeper %d was woken %d times", i, s.times.Load())
		}
	}
}

// Sleepers that are stirred, expire and are chosen at the same time are woken once each.
func TestLotWakesOnce(t *testing.T) {
	l := lot(t)
	var wg sync.WaitGroup
	for range 50 {
		far, s := pair(t)
		s.park(t, l, time.Now())
		wg.Go(func() { far.Write([]byte("x")) })
		wg.Go(func() { l.WakeAll(func(Sleeper) bool { return true }) })
		wg.Go(func() {
			s.await(t, "it is")
			time.Sleep(5 * time.Millisecond)
			if n := s.times.Load(); n != 1 {
				t.Errorf("woken %d times", n)
			}
		})
	}
	wg.Wait()
}
