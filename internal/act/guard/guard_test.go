package guard

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act/daemon"
)

// The test binary plays all parts: GUARD_PART says which.
func TestMain(m *testing.M) {
	switch os.Getenv("GUARD_PART") {
	case "guard":
		err := Run(context.Background(), Options{
			DataDir: os.Args[1], Lock: filepath.Join(os.Args[1], "lock"), Linger: 400 * time.Millisecond, Patience: 200 * time.Millisecond,
			Orders: os.Stdin, Answers: os.Stdout,
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "database": // works in its data directory, and ends when told to, or not even then
		if len(os.Args) > 1 {
			signal.Ignore(syscall.SIGQUIT)
		} else {
			signal.Reset(syscall.SIGQUIT)
		}
		fmt.Println("up")
		time.Sleep(2 * time.Minute) // at most, if its test is killed
	case "node": // holds the guard until it is killed
		h := NewHolder(HolderOptions{Command: []string{os.Args[0], os.Args[1]}, Env: append(os.Environ(), "GUARD_PART=guard", "GORACE=atexit_sleep_ms=0")})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go h.Run(ctx)
		<-h.Ready()
		for i := 0; ; i++ {
			if err := h.Keep(300 * time.Millisecond); err != nil {
				fmt.Println(err)
			}
			if i == 3 {
				fmt.Println("up")
			}
			time.Sleep(30 * time.Millisecond)
		}
	default:
		os.Exit(m.Run())
	}
}

// part starts the test binary in a part and waits until it says that it is up.
func part(t *testing.T, name, dir string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "GUARD_PART="+name, "GOTRACEBACK=none", "GORACE=atexit_sleep_ms=0")
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Process: cmd.Process, done: make(chan struct{})}
	t.Cleanup(func() { _ = p.Kill(); <-p.done })
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "up" {
		t.Fatalf("%s said %q, %v", name, line, err)
	}
	go func() { _ = cmd.Wait(); close(p.done) }()
	return p
}

type process struct {
	*os.Process
	done chan struct{}
}

func database(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	dir := t.TempDir()
	cmd := part(t, "database", dir, args...)
	text := fmt.Sprintf("%d\n%s\n0\n5432\n\n\n\nready\n", cmd.Pid, dir)
	if err := os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return cmd, dir
}

// ends says whether the process ended in time.
func ends(t *testing.T, p *process, within time.Duration) bool {
	t.Helper()
	select {
	case <-p.done:
		return true
	case <-time.After(within):
		return false
	}
}

func TestNodeIsKilled(t *testing.T) {
	for name, args := range map[string][]string{"heeds": nil, "needs force": {"stubborn"}} {
		t.Run(name, func(t *testing.T) {
			db, dir := database(t, args...)
			node := part(t, "node", "", dir)
			if err := node.Kill(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if !ends(t, db, 5*time.Second) {
				t.Fatal("the database outlived its node")
			}
			t.Logf("ended %v after the node", time.Since(began).Round(time.Millisecond))
		})
	}
}

func TestNodeHangs(t *testing.T) {
	db, dir := database(t)
	node := part(t, "node", "", dir)
	if err := node.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if !ends(t, db, 5*time.Second) {
		t.Fatal("the database outlived its node's authority")
	}
	took := time.Since(began)
	t.Logf("ended %v after the node was stopped, which had kept it for 300ms", took.Round(time.Millisecond))
	if took < 150*time.Millisecond {
		t.Error("the guard did not wait until the time was over")
	}
}

func TestNodeIsWell(t *testing.T) {
	db, dir := database(t)
	part(t, "node", "", dir)
	if ends(t, db, time.Second) {
		t.Fatal("the guard stopped the database of a node that is well")
	}
}

// hold runs a holder in this process.
func hold(t *testing.T, dir string) (*Holder, func()) {
	t.Helper()
	h := NewHolder(HolderOptions{Command: []string{os.Args[0], dir}, Env: append(os.Environ(), "GUARD_PART=guard", "GORACE=atexit_sleep_ms=0")})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	end := func() { cancel(); <-done; done <- nil }
	t.Cleanup(end)
	<-h.Ready()
	return h, end
}

func TestReleased(t *testing.T) {
	db, dir := database(t)
	h, end := hold(t, dir)
	if err := h.Keep(time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	end()
	if ends(t, db, 300*time.Millisecond) {
		t.Fatal("a released database was stopped")
	}
}

// Another process with the pid of the lock file is not touched: it does not work in the data directory.
func TestPIDUsedAgain(t *testing.T) {
	other, _ := database(t)
	dir := t.TempDir()
	text := fmt.Sprintf("%d\n%s\n0\n5432\n\n\n\nready\n", other.Pid, dir)
	if err := os.WriteFile(filepath.Join(dir, "postmaster.pid"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h, end := hold(t, dir)
	if err := h.Keep(time.Millisecond); err != nil {
		t.Fatal(err)
	}
	end()
	if ends(t, other, 300*time.Millisecond) {
		t.Fatal("a process that is not the postmaster was stopped")
	}
}

// A standby outlives its node process for as long as the next may need to take it over, and no longer.
func TestStandbyWithoutANode(t *testing.T) {
	db, dir := database(t)
	h, end := hold(t, dir)
	if err := h.Standby(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	end()
	if !ends(t, db, 20*time.Second) {
		t.Fatal("a standby that nobody looks after goes on for ever")
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it was stopped after %v: the next node process had no time to come", took)
	}
}

func TestStandbyIsTakenOver(t *testing.T) {
	db, dir := database(t)
	h, end := hold(t, dir)
	if err := h.Standby(); err != nil {
		t.Fatal(err)
	}
	lock, err := daemon.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	end() // it returns when the guard has ended: it saw that there is somebody
	if ends(t, db, 100*time.Millisecond) {
		t.Fatal("a standby that was taken over was stopped")
	}
}

// Data that is not marked as a standby's may take writes, whatever the node was about to say.
func TestPrimaryWithoutAWord(t *testing.T) {
	db, dir := database(t)
	if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := daemon.Lock(filepath.Join(dir, "lock")) // not even if somebody has taken over
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	h, end := hold(t, dir)
	if err := h.Standby(); err != nil {
		t.Fatal(err)
	}
	end()
	if !ends(t, db, 20*time.Second) {
		t.Fatal("a primary outlived its node")
	}
}

// A promotion may come about only when the node that asked for it is gone.
func TestPromotedWithoutANode(t *testing.T) {
	db, dir := database(t)
	for _, name := range []string{"PG_VERSION", "standby.signal"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := &guard{Options: Options{DataDir: dir, Lock: filepath.Join(dir, "lock"), Linger: time.Hour, Patience: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}}
	over := make(chan struct{})
	go func() { defer close(over); g.linger(t.Context()) }()
	if err := os.Remove(filepath.Join(dir, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	if !ends(t, db, 20*time.Second) {
		t.Fatal("a primary outlived its node")
	}
	<-over
}

func TestGuardIsKilled(t *testing.T) {
	db, dir := database(t)
	h, _ := hold(t, dir)
	kill := func() {
		guards, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range guards {
			text, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
			for _, f := range strings.Fields(string(text)) {
				var pid int
				fmt.Sscan(f, &pid)
				if cmdline, _ := os.ReadFile("/proc/" + f + "/cmdline"); pid != db.Pid && strings.Contains(string(cmdline), dir) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	}
	kill()
	deadline := time.Now().Add(5 * time.Second)
	for h.Keep(time.Minute) != nil || func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.pipe == nil }() {
		if time.Now().After(deadline) {
			t.Fatal("no new guard")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := h.Keep(0); err != nil {
		t.Fatal(err)
	}
	if !ends(t, db, 5*time.Second) {
		t.Fatal("the new guard did not act")
	}
}
