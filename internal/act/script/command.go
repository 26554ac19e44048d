package script

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/decide/plan"
)

// mostOutput bounds what is read of a command's output.
const mostOutput = 64 << 10

// run runs a command to its end and returns what it printed. Its output goes to a file, so that a daemon that it leaves
// behind does not keep it from ending. When the time is over the whole process group is killed.
func (e *Engine) run(ctx context.Context, timeout time.Duration, words []string, s plan.Step) ([]byte, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	out, err := os.CreateTemp(e.o.DataDir, ".output-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	defer out.Close()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = e.o.DataDir
	cmd.Env = append(os.Environ(), e.environment(s)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	text := readAll(out)
	switch {
	case err == nil:
		return text, nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it did not end within %v and was killed", timeout)
	case ctx.Err() != nil:
		err = fmt.Errorf("it was called off: %w", ctx.Err())
	}
	return text, fmt.Errorf("%s: %w%s", filepath.Base(words[0]), err, lastLines(text))
}

func readAll(f *os.File) []byte {
	text := make([]byte, mostOutput)
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	n, _ := f.ReadAt(text, max(0, info.Size()-mostOutput)) // the end of the file is no error
	return text[:n]
}

// lastLines are the last three lines of what a command printed, which mostly say why it failed.
func lastLines(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if lines[0] == "" {
		return ""
	}
	return ": " + strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// environment is what commands are told.
func (e *Engine) environment(s plan.Step) []string {
	upstream := s.Upstream
	epoch := s.Epoch
	if s.Kind == "" {
		st := e.ledger.State()
		upstream, epoch = st.Upstream, st.Epoch
	}
	env := slices.Concat(e.o.Env, []string{
		"BACKSTAY_SERVICE=" + e.o.Service, "BACKSTAY_NODE=" + e.o.Node, fmt.Sprintf("BACKSTAY_EPOCH=%d", epoch),
		"BACKSTAY_STEP=" + string(s.Kind), "BACKSTAY_UPSTREAM=" + upstream, "BACKSTAY_UPSTREAM_ADDRESS=" + e.peer(upstream), "BACKSTAY_MODE=" + s.Mode,
	})
	return env
}
