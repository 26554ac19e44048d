// Package daemon finds, identifies, runs and ends the server process of one data directory, be it the node's child or one
// that an earlier node process left. It never touches a process that it cannot prove to be that one: pids are used again,
// so a process is its pid together with its start time, and a server works inside its data directory. It knows neither
// PostgreSQL nor Redis.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act"
)

// Options say whose process is supervised.
type Options struct {
	Name string // of the program, for people
	Node string
	Dir  string // in which the process works
	Log  string // file that its output is appended to
	// Hard is the signal that ends it at once; SIGKILL follows where that does not work.
	Hard syscall.Signal
	// Ours says whether a process that works in Dir is the server as Start starts it.
	Ours func(s Seen) bool
	// Weighty picks from the end of the log what says why the server ended; empty where nothing does.
	Weighty func(log string) string
	Teller  *act.Teller
	// Begun is called before a new process is shown, Ended before it is no longer.
	Begun, Ended func()
}

// A Supervisor knows the one server process of a data directory, if there is one.
type Supervisor struct {
	o Options

	starting sync.Mutex // or taking over

	mu      sync.Mutex
	proc    *Process      // nil when down
	gone    chan struct{} // closed when proc is gone
	ordered bool          // somebody has told it to end
	ending  string        // how the last one ended by itself, for people
}

// New returns a supervisor of nothing.
func New(o Options) *Supervisor { return &Supervisor{o: o} }

// Process returns the process, nil where there is none.
func (s *Supervisor) Process() *Process {
	p, _ := s.Current()
	return p
}

// Current returns the process as well as what is closed when it is gone.
func (s *Supervisor) Current() (*Process, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc, s.gone
}

// Ending says how the last process ended by itself; empty where it was told to, or another began since.
func (s *Supervisor) Ending() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// LastWords are those of the server's log.
func (s *Supervisor) LastWords() string { return s.o.Weighty(Tail(s.o.Log, 16<<10)) }

// Foreign refuses where a process runs on the data that was neither started nor taken over.
func (s *Supervisor) Foreign() error {
	if p, err := Find(s.o.Dir); err == nil {
		return fmt.Errorf("process %d, which Backstay did not start, runs on %s: stop it and disable its service", p.PID, s.o.Dir)
	}
	return nil
}

// Start runs the command as the server. Its log begins anew; the one before is kept beside it.
func (s *Supervisor) Start(cmd *exec.Cmd, own func(path string) error) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if err := Rotate(s.o.Log, 0); err != nil {
		return err
	}
	out, err := os.OpenFile(s.o.Log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("log of the instance: %w", err)
	}
	defer out.Close()
	cmd.Dir = s.o.Dir // by which it is known from the first moment
	cmd.Stdout, cmd.Stderr = out, out
	if err := errors.Join(own(s.o.Log), cmd.Start()); err != nil {
		return fmt.Errorf("start %s: %w", s.o.Name, err)
	}
	p, err := Identify(cmd.Process.Pid, s.o.Dir)
	if err != nil { // it is gone already
		return fmt.Errorf("%s ended at once: %s", s.o.Name, s.endingWords(exitWords(cmd.Wait())))
	}
	s.begin(p, func() string { return exitWords(cmd.Wait()) })
	s.o.Teller.Record(act.EventStarted, fmt.Sprintf("%s on %s was started", s.o.Name, s.o.Node), fmt.Sprintf("process %d", p.PID), nil)
	return nil
}

// Adopt takes over the process that an earlier node process left running, and says whether there is one: the one that has
// the pid file, if any will do, or one that is ours and may have to write that file yet.
func (s *Supervisor) Adopt(anyone bool) bool {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.Process() != nil {
		return false
	}
	p, err := Find(s.o.Dir)
	if err != nil || !anyone {
		var ok bool
		if p, ok = s.own(); !ok {
			return false
		}
	}
	s.begin(p, func() string {
		for p.Alive() { // it is not our child: look, do not wait
			time.Sleep(10 * time.Millisecond)
		}
		return ""
	})
	s.o.Teller.Record(act.EventStarted, fmt.Sprintf("%s on %s was running already and was taken over", s.o.Name, s.o.Node), fmt.Sprintf("process %d", p.PID), nil)
	return true
}

// own finds a server that is ours.
func (s *Supervisor) own() (Process, bool) {
	for _, seen := range Around(s.o.Dir) {
		if seen.Dir != "" && s.o.Ours(seen) {
			return seen.Process, true
		}
	}
	return Process{}, false
}

// begin shows a new process until wait says how it ended.
func (s *Supervisor) begin(p Process, wait func() string) {
	gone := make(chan struct{})
	s.o.Begun()
	s.mu.Lock()
	s.proc, s.gone, s.ordered, s.ending = &p, gone, false, ""
	s.mu.Unlock()
	go func() {
		how := s.endingWords(wait())
		s.o.Ended()
		s.mu.Lock()
		ordered := s.ordered
		s.proc = nil
		if !ordered {
			s.ending = how
		}
		s.mu.Unlock()
		close(gone)
		if !ordered {
			s.o.Teller.Record(act.EventEnded, fmt.Sprintf("%s on %s ended by itself", s.o.Name, s.o.Node), how, nil)
		}
		s.o.Teller.Notify()
	}()
}

// Stop ends the process: asks it, where ask is given and for at most the patience, then at once, then by force. What is
// gone is gone when it returns.
func (s *Supervisor) Stop(ctx context.Context, patience time.Duration, ask func(context.Context, Process) error) {
	s.mu.Lock()
	p, gone := s.proc, s.gone
	s.ordered = s.ordered || p != nil
	s.mu.Unlock()
	if p == nil {
		return
	}
	if ask != nil {
		err := s.asked(ctx, patience, *p, gone, ask)
		if err == nil {
			return
		}
		s.o.Teller.Record(act.EventForced, fmt.Sprintf("%s on %s did not stop in good order and is stopped at once", s.o.Name, s.o.Node), err.Error(), nil)
	}
	if p.Stop(ctx, s.o.Hard, time.Second) && s.o.Hard != syscall.SIGKILL {
		s.o.Teller.Record(act.EventForced, fmt.Sprintf("%s on %s did not end when told and was killed", s.o.Name, s.o.Node), fmt.Sprintf("process %d", p.PID), nil)
	}
	<-gone
}

func (s *Supervisor) asked(ctx context.Context, patience time.Duration, p Process, gone <-chan struct{}, ask func(context.Context, Process) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it runs after %v", patience))
	defer cancel()
	if err := ask(ctx, p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kill ends the process at once.
func (s *Supervisor) Kill(ctx context.Context) { s.Stop(ctx, 0, nil) }

func (s *Supervisor) endingWords(how string) string {
	switch words := s.LastWords(); {
	case how == "":
		return words
	case words == "":
		return how
	default:
		return how + "; its last words: " + words
	}
}

func exitWords(err error) string {
	if err != nil {
		return err.Error()
	}
	return "exit status 0"
}
