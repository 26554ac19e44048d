package peer

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runNode is the process of node b, which knows a node a at an address, until its input ends.
func runNode(a string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	l := New(Options{Self: "b", Peers: map[string]string{"a": a}, Heartbeat: 50 * time.Millisecond, Suspicion: 400 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	l.Publish([]byte("alive"), true)
	go func() {
		for { // what it heard is what it says
			<-l.Changed()
			l.Publish(append([]byte("heard "), l.Contacts()["a"].Message...), true)
		}
	}()
	fmt.Println(listener.Addr())
	_ = l.Serve(ctx, listener)
	os.Exit(0)
}

// spawn starts node b as a process of its own, and a here.
func spawn(t *testing.T, o Options) (a *process, b *exec.Cmd) {
	t.Helper()
	o.Self = "a"
	a = start(t, o)
	b = exec.Command(os.Args[0])
	b.Env = append(os.Environ(), "PEER_TEST_NODE="+a.address)
	b.Stderr = os.Stderr
	in, err := b.StdinPipe() // ends with this process
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = b.Process.Kill()
		_ = b.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	a.Configure(map[string]string{"b": strings.TrimSpace(address)})
	a.Publish([]byte("1"), true)
	a.hears(t, "b", "heard 1")
	return a, b
}

// TestKilledProcess has evidence without waiting for any silence, and measures from the signal to it.
func TestKilledProcess(t *testing.T) {
	var all []time.Duration
	for i := range 10 {
		a, b := spawn(t, rare("a"))
		for j := range i { // at some moment between heartbeats
			text := fmt.Sprint("round ", j)
			a.Publish([]byte(text), true)
			a.hears(t, "b", "heard "+text)
		}
		began := time.Now()
		if err := b.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		a.await(t, "b", "broken", broken)
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	t.Logf("broken after SIGKILL: median %v, slowest %v", all[5], all[9])
}

// TestStoppedProcess has a process that hangs for longer than the suspicion, and goes on.
func TestStoppedProcess(t *testing.T) {
	a, b := spawn(t, Options{Suspicion: 400 * time.Millisecond})
	if err := b.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	by := time.Now().Add(patience)
	for i := 2; time.Since(a.Contacts()["b"].Received) < 1200*time.Millisecond; i++ {
		a.Publish(fmt.Append(nil, i), true)
		if c := a.Contacts()["b"]; c.Broken != "" {
			t.Fatalf("broken, though it only hangs: %s", c.Broken)
		}
		if time.Now().After(by) {
			t.Fatal("a stopped process is heard")
		}
		select {
		case <-a.Changed():
		case <-time.After(5 * time.Millisecond):
		}
	}
	began := time.Now()
	if err := b.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	a.Publish([]byte("again"), true)
	a.hears(t, "b", "heard again")
	t.Logf("heard and answered %v after SIGCONT", time.Since(began))
}
