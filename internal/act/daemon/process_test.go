package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays the servers: DAEMON_PART says which. None lives for longer than two minutes, should its test be killed.
func TestMain(m *testing.M) {
	part, _, _ := strings.Cut(os.Getenv("DAEMON_PART"), " ")
	switch part {
	case "":
		os.Exit(m.Run())
	case "good": // ends when told to
		signal.Reset(syscall.SIGTERM)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "parent": // of one that is deaf
		child, err := begin(".", "deaf")
		if err != nil {
			panic(err)
		}
		fmt.Println("child", child.Process.Pid)
	case "ends": // when it is told that it may
		fmt.Println("up")
		for {
			if _, err := os.Stat("end"); err == nil {
				fmt.Println("FATAL: out of luck")
				os.Exit(3)
			}
			time.Sleep(time.Millisecond)
		}
	}
	fmt.Println("up")
	time.Sleep(2 * time.Minute)
}

// command is that of a server.
func command(part string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "DAEMON_PART="+part, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// begin starts a server in a directory and returns when it is up.
func begin(dir, part string, lines ...*string) (*exec.Cmd, error) {
	cmd := command(part)
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	said := bufio.NewScanner(out)
	for said.Scan() && said.Text() != "up" {
		for _, l := range lines {
			*l = said.Text()
		}
	}
	return cmd, nil
}

// server starts one that is nobody's, and ends it with the test.
func server(t *testing.T, dir, part string, lines ...*string) Process {
	t.Helper()
	cmd, err := begin(dir, part, lines...)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	p, err := Identify(cmd.Process.Pid, dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// eventually polls: the machine may be busy.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for by := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(by) {
			t.Fatalf("never: %s", what)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLockIsOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid(), " has ", path)) {
		t.Errorf("a second one: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Lock(path)
	if err != nil {
		t.Fatalf("when the first has let go: %v", err)
	}
	_ = second.Close()
	if _, err := Lock(filepath.Join(path, "none")); err == nil || errors.Is(err, ErrOwned) {
		t.Errorf("where no file can be: %v", err)
	}
}

// TestFind: a pid file is believed only where the process works in its directory.
func TestFind(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	here, there := server(t, dir, "good"), server(t, elsewhere, "good")
	for _, tt := range []struct {
		name, file, text string
		want             int // 0: there is none
	}{
		{"no file", "", "", 0},
		{"PostgreSQL's", "postmaster.pid", fmt.Sprintf("%d\n/data\n1700000000\n", here.PID), here.PID},
		{"Redis's", "redis.pid", fmt.Sprintf("%d\n", here.PID), here.PID},
		{"of another directory", "postmaster.pid", fmt.Sprintf("%d\n", there.PID), 0},
		{"of a process that is gone", "postmaster.pid", "4194305\n", 0}, // more than a pid can be
		{"no number", "postmaster.pid", "what\n", 0},
		{"the first process", "postmaster.pid", "1\n", 0},
		{"empty", "postmaster.pid", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.file != "" {
				path := filepath.Join(dir, tt.file)
				write(t, path, tt.text)
				defer os.Remove(path)
			}
			p, err := Find(dir)
			switch {
			case tt.want == 0 && !errors.Is(err, ErrNone):
				t.Errorf("%+v, %v", p, err)
			case tt.want != 0 && (err != nil || p != here):
				t.Errorf("%+v, %v; want %+v", p, err, here)
			}
		})
	}
}

// TestPidOfAnother: a process with the pid of one that is gone is another, and is left alone.
func TestPidOfAnother(t *testing.T) {
	p := server(t, t.TempDir(), "good")
	gone := p
	gone.Started--
	if gone.Alive() || !p.Alive() {
		t.Errorf("alive: %v and %v", gone.Alive(), p.Alive())
	}
	if err := gone.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal: %v", err)
	}
	if gone.Stop(t.Context(), syscall.SIGKILL, time.Minute) {
		t.Error("force was used on one that is gone")
	}
	if pids := Reap(t.Context(), []Process{gone}); len(pids) != 0 || !p.Alive() {
		t.Errorf("reaped %v", pids)
	}
}

// TestStop: a server ends in good order where it heeds the signal, else by force, with all that it started.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name, part string
		freeze     bool
		patience   time.Duration
		forced     bool
	}{
		{"heeds the signal", "good", false, time.Minute, false},
		{"is deaf", "deaf", false, 20 * time.Millisecond, true},
		{"is frozen", "good", true, time.Hour, true}, // it is not waited for
		{"leaves a child that is deaf", "parent", true, time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			var said string
			p := server(t, dir, tt.part, &said)
			all := []Process{p}
			if tt.part == "parent" {
				child := 0
				if _, err := fmt.Sscanf(said, "child %d", &child); err != nil {
					t.Fatal(err)
				}
				c, err := Identify(child, dir)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Signal(syscall.SIGKILL) })
				all = append(all, c)
			}
			if tt.freeze {
				if err := p.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				eventually(t, "it is frozen", p.frozen)
			}
			if forced := p.Stop(t.Context(), syscall.SIGTERM, tt.patience); forced != tt.forced {
				t.Errorf("forced %v", forced)
			}
			for _, p := range all {
				if p.Alive() {
					t.Errorf("process %d lives", p.PID)
				}
			}
		})
	}
}

// TestStopDoesNotOutliveItsContext: with its context over, nothing is waited for and the server is killed.
func TestStopDoesNotOutliveItsContext(t *testing.T) {
	p := server(t, t.TempDir(), "deaf")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if !p.Stop(ctx, syscall.SIGTERM, time.Hour) || p.Alive() {
		t.Error("it was not killed")
	}
}

// TestAround: what works in a directory or names it is seen, and nothing else; Reap ends it.
func TestAround(t *testing.T) {
	dir := t.TempDir()
	inside, outside := server(t, dir, "good"), server(t, t.TempDir(), "good")
	naming, err := begin(t.TempDir(), "good "+dir) // in its environment only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = naming.Process.Kill(); _ = naming.Wait() })
	seen := Around(dir)
	if len(seen) != 1 || seen[0].PID != inside.PID || seen[0].Dir != dir || seen[0].Parent != os.Getpid() || seen[0].Program != filepath.Base(os.Args[0]) {
		t.Errorf("%+v", seen)
	}
	other := command("good")
	other.Args = append(other.Args, dir+"/data")
	other.Dir = t.TempDir()
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	_, _ = io.ReadFull(out, make([]byte, 2))
	seen = Around(dir)
	if len(seen) != 2 || seen[0].Dir+seen[1].Dir != dir {
		t.Errorf("%+v", seen)
	}
	if pids := Reap(t.Context(), []Process{inside}); len(pids) != 1 || pids[0] != inside.PID || inside.Alive() || !outside.Alive() {
		t.Errorf("reaped %v", pids)
	}
}

func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := Rotate(path, 5); err != nil || Tail(path, 9) != "" {
		t.Errorf("without a log: %v", err)
	}
	write(t, path, "12345")
	if err := Rotate(path, 5); err != nil || Tail(path, 9) != "12345" || Tail(path, 2) != "45" {
		t.Errorf("within its bound: %v, %q", err, Tail(path, 9))
	}
	write(t, path, "123456")
	if err := Rotate(path, 5); err != nil || Tail(path, 9) != "" || Tail(path+".1", 9) != "123456" {
		t.Errorf("beyond: %v, %q, %q", err, Tail(path, 9), Tail(path+".1", 9))
	}
}
