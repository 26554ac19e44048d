package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

const (
	// maxOutput is how much of a command's output is kept.
	maxOutput = 4 << 10
	// leftover is how long a command that ended may leave its output open in others' hands.
	leftover = 100 * time.Millisecond
)

// exec runs the command in a process group of its own, which is killed as a whole when ctx ends.
func (p *prober) exec(ctx context.Context, t Target, c config.ExecCheck) error {
	if len(c.Command) == 0 {
		return wrong("command", errors.New("it is empty"))
	}
	network, address := endpoint(t)
	if network == "unix" {
		address = "unix:" + address
	}
	cmd := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...)
	cmd.Env = append(os.Environ(), "MEMBER_ADDRESS="+address, "MEMBER_NAME="+t.Member, "SERVICE_NAME="+t.Service)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = leftover
	var out head
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		// The command ended well, but something that it began has kept its output, hence its process group: end that too.
		err = nil
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		return exitReason(exit, out.firstLine())
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("no such command: %s", c.Command[0])
	}
	return fmt.Errorf("cannot run %s: %w", c.Command[0], errors.Unwrap(err))
}

func exitReason(exit *exec.ExitError, first string) error {
	how := fmt.Sprintf("exit code %d", exit.ExitCode())
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		how = "ended by signal: " + status.Signal().String()
	}
	if first == "" {
		return errors.New(how)
	}
	return fmt.Errorf("%s (%s)", cut(first, maxReason/2), how)
}

// head keeps the first bytes written to it and swallows the rest. Commands' two outputs share one, written by one goroutine.
type head struct{ bytes.Buffer }

// Write never fails.
func (h *head) Write(b []byte) (int, error) {
	if room := maxOutput - h.Len(); room > 0 {
		h.Buffer.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

func (h *head) firstLine() string {
	for l := range strings.Lines(h.String()) {
		if l = line(l); l != "" {
			return l
		}
	}
	return ""
}
