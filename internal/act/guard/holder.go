package guard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// HolderOptions say how a guard process is started.
type HolderOptions struct {
	// Command is the program and its arguments; such as backstay guard --data-dir DIR.
	Command []string
	// Env is the environment; the node's own where nil.
	Env []string
	// OnStop is told when the guard stopped the database, with the reason.
	OnStop func(why string)
	Log    *slog.Logger
}

// A Holder is the node's end of the pipe. While it is run there is a guard process; one that ends is started again, and
// told the newest word.
type Holder struct {
	o HolderOptions

	mu    sync.Mutex
	word  string
	until time.Duration // since boot, of a keep
	pipe  *os.File
	said  chan struct{} // closed when the guard is ready
}

// NewHolder returns a holder, released, without a process.
func NewHolder(o HolderOptions) *Holder {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Holder{o: o, word: wordRelease, said: make(chan struct{})}
}

// Keep says that all is well for d from now. It never blocks: a guard that does not read is as good as none, and the
// error says so. Keep it up in a loop, well before d is over.
func (h *Holder) Keep(d time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	h.word, h.until = wordKeep, now+d
	return h.tell()
}

// Release says that the instance needs no guard: it is stopped, or no primary.
func (h *Holder) Release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.word = wordRelease
	return h.tell()
}

// Standby says that the instance takes no writes: where the node process ends without another word, the guard gives the
// next one time to take it over, and then stops it.
func (h *Holder) Standby() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.word = wordStandby
	return h.tell()
}

// Ready is closed when the guard process listens for the first time.
func (h *Holder) Ready() <-chan struct{} { return h.said }

// tell passes the newest word on. Called with the lock held.
func (h *Holder) tell() error {
	if h.pipe == nil {
		return errors.New("there is no guard process at the moment")
	}
	line := h.word + "\n"
	if h.word == wordKeep {
		line = fmt.Sprintf("%s %d\n", wordKeep, h.until.Milliseconds())
	}
	if err := h.pipe.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		return err
	}
	if _, err := io.WriteString(h.pipe, line); err != nil {
		return fmt.Errorf("tell the guard: %w", err)
	}
	return nil
}

// Run keeps a guard process until ctx ends. Then the pipe is closed: where the last word was a Keep, or a Standby, the guard
// stops the database, so stop it and Release before.
func (h *Holder) Run(ctx context.Context) error {
	for {
		began := time.Now()
		err := h.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		h.o.Log.Error("the guard process ended and is started again", "error", err)
		pause := max(0, 100*time.Millisecond-time.Since(began))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// once runs one guard process to its end.
func (h *Holder) once(ctx context.Context) error {
	if len(h.o.Command) == 0 {
		return errors.New("no command for the guard")
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	cmd := exec.Command(h.o.Command[0], h.o.Command[1:]...)
	cmd.Env = h.o.Env
	cmd.Stdin, cmd.Stderr = read, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's signals, and those to the node's group, are not for it
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	read.Close()
	if err != nil {
		return fmt.Errorf("start the guard: %w", err)
	}
	h.mu.Lock()
	h.pipe = write
	_ = h.tell()
	h.mu.Unlock()
	ended := make(chan error, 1)
	go func() {
		h.hear(out)
		ended <- cmd.Wait()
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	h.mu.Lock()
	h.pipe = nil
	h.mu.Unlock()
	write.Close()
	if err == nil && ctx.Err() != nil {
		err = <-ended
	}
	return err
}

// hear follows what the guard says.
func (h *Holder) hear(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() != "ready" {
			h.o.Log.Error("the guard acted", "words", lines.Text())
			if h.o.OnStop != nil {
				h.o.OnStop(lines.Text())
			}
			continue
		}
		select {
		case <-h.said:
		default:
			close(h.said)
		}
	}
}
