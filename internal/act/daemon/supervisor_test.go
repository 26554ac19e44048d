package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/base/event"
)

// kit is a supervisor with what it tells.
type kit struct {
	*Supervisor
	t      *testing.T
	dir    string
	teller *act.Teller

	mu    sync.Mutex
	kinds []string // of the records, and begun and ended
}

func newKit(t *testing.T) *kit {
	k := &kit{t: t, dir: t.TempDir()}
	k.teller = act.NewTeller("db", "par-1", func(r event.Record) { k.note(r.Kind) }, slog.New(slog.DiscardHandler))
	k.Supervisor = New(Options{
		Name: "the server", Node: "par-1", Dir: k.dir, Log: filepath.Join(t.TempDir(), "log"), Hard: syscall.SIGKILL, Teller: k.teller,
		Ours: func(s Seen) bool { return len(s.Args) == 1 }, Weighty: func(log string) string {
			_, words, _ := strings.Cut(log, "FATAL: ")
			return strings.TrimSpace(words)
		},
		Begun: func() { k.note("begun") }, Ended: func() { k.note("ended") },
	})
	t.Cleanup(func() { k.Kill(context.Background()) })
	return k
}

func (k *kit) note(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kinds = append(k.kinds, what)
}

// told are the notes since it was last asked.
func (k *kit) told() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.kinds = nil }()
	return strings.Join(k.kinds, " ")
}

// run starts a server and waits until it is up.
func (k *kit) run(part string) Process {
	k.t.Helper()
	if err := k.Start(command(part), func(string) error { return nil }); err != nil {
		k.t.Fatal(err)
	}
	p := k.Process()
	if p == nil {
		k.t.Fatal("there is no process")
	}
	eventually(k.t, "it is up", func() bool { return strings.Contains(Tail(k.o.Log, 1<<10), "up\n") })
	return *p
}

// TestServerThatIsTold: one that is stopped did not end by itself, and is gone when Stop returns.
func TestServerThatIsTold(t *testing.T) {
	for _, tt := range []struct {
		name, part string
		ask        func(context.Context, Process) error
		want       string
	}{
		{"at once", "good", nil, "begun " + act.EventStarted + " ended"},
		{"asked", "good", func(_ context.Context, p Process) error { return p.Signal(syscall.SIGTERM) }, "begun " + act.EventStarted + " ended"},
		{"asked in vain", "good", func(context.Context, Process) error { return errors.New("no") }, "begun " + act.EventStarted + " " + act.EventForced + " ended"},
		{"not heeding what it is asked", "good", func(context.Context, Process) error { return nil }, "begun " + act.EventStarted + " " + act.EventForced + " ended"},
		{"deaf", "deaf", nil, "begun " + act.EventStarted + " ended " + act.EventForced},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKit(t)
			if tt.part == "deaf" {
				k.o.Hard = syscall.SIGTERM
			}
			p := k.run(tt.part)
			_, gone := k.Current()
			patience := time.Minute
			if tt.name == "not heeding what it is asked" {
				patience = 20 * time.Millisecond
			}
			k.Stop(t.Context(), patience, tt.ask)
			select {
			case <-gone:
			default:
				t.Error("it is said to be there")
			}
			if k.Process() != nil || p.Alive() || k.Ending() != "" {
				t.Errorf("process %v, alive %v, ending %q", k.Process(), p.Alive(), k.Ending())
			}
			got := k.told()
			if tt.part == "deaf" { // which of the two is told first is chance
				got = strings.Replace(got, act.EventForced+" ended", "ended "+act.EventForced, 1)
			}
			if got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
		})
	}
}

// TestServerThatEnds: one that ends by itself is told of with its last words; the next one's log begins anew.
func TestServerThatEnds(t *testing.T) {
	k := newKit(t)
	k.run("ends")
	_, gone := k.Current()
	write(t, filepath.Join(k.dir, "end"), "")
	<-gone
	eventually(t, "that is worth a look", func() bool {
		select {
		case <-k.teller.Changed():
			return true
		default:
			return false
		}
	})
	if got := k.told(); got != "begun "+act.EventStarted+" ended "+act.EventEnded {
		t.Errorf("told %q", got)
	}
	if k.Process() != nil || k.Ending() != "exit status 3; its last words: out of luck" {
		t.Errorf("process %v, ending %q", k.Process(), k.Ending())
	}
	k.run("good")
	if k.Ending() != "" || strings.Contains(Tail(k.o.Log, 1<<10), "luck") || !strings.Contains(Tail(k.o.Log+".1", 1<<10), "luck") {
		t.Errorf("ending %q, log %q, the one before %q", k.Ending(), Tail(k.o.Log, 1<<10), Tail(k.o.Log+".1", 1<<10))
	}
}

func TestServerThatCannotStart(t *testing.T) {
	k := newKit(t)
	cmd := command("good")
	cmd.Path = filepath.Join(k.dir, "none")
	if err := k.Start(cmd, func(string) error { return nil }); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "start the server: ") {
		t.Errorf("%v", err)
	}
	if k.Process() != nil || k.told() != "" {
		t.Error("it is said to be there")
	}
}

// TestAdopt: a server that an earlier node process left is taken over, by its pid file or because it is ours; what is neither stays
// foreign.
func TestAdopt(t *testing.T) {
	k := newKit(t)
	if k.Adopt(true) || k.Foreign() != nil {
		t.Error("there is nothing to take over")
	}
	p := server(t, k.dir, "good")
	write(t, filepath.Join(k.dir, "redis.pid"), "1\n")
	if err := k.Foreign(); err != nil {
		t.Errorf("without its pid file: %v", err)
	}
	ours := k.o.Ours
	k.o.Ours = func(Seen) bool { return false }
	if k.Adopt(false) || k.Adopt(true) {
		t.Error("one that nobody knows was taken over")
	}
	k.o.Ours = ours
	if !k.Adopt(false) || k.Adopt(false) || k.Process() == nil || *k.Process() != p {
		t.Fatalf("process %+v, want %+v, once", k.Process(), p)
	}
	_, gone := k.Current()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-gone
	eventually(t, "it is told that it ended", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return strings.Join(k.kinds, " ") == "begun "+act.EventStarted+" ended "+act.EventEnded
	})

	other := newKit(t)
	q := server(t, other.dir, "good")
	write(t, filepath.Join(other.dir, "redis.pid"), fmt.Sprintln(q.PID))
	other.o.Ours = func(Seen) bool { return false }
	if err := other.Foreign(); err == nil || !strings.Contains(err.Error(), "stop it and disable its service") {
		t.Errorf("foreign: %v", err)
	}
	if other.Adopt(false) || !other.Adopt(true) || other.Process().PID != q.PID {
		t.Error("one that has the pid file is taken over where any will do, and only there")
	}
	other.Kill(t.Context())
	if q.Alive() || other.Process() != nil {
		t.Error("one that was taken over cannot be ended")
	}
}
