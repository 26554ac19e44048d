package script

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/daemon"
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
	if err = cmd.Start(); err == nil {
		e.note(cmd.Process.Pid)
		err = cmd.Wait()
		e.unnote(cmd.Process.Pid)
	}
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

// commandsDir has a file for each command under way, named by its pid: the next node process ends what this one does not
// live to end.
func (e *Engine) commandsDir() string { return filepath.Join(e.o.DataDir, "commands") }

func (e *Engine) note(pid int) {
	p, ok := daemon.At(pid)
	if !ok {
		return
	}
	path := filepath.Join(e.commandsDir(), strconv.Itoa(pid))
	if err := os.WriteFile(path, strconv.AppendUint(nil, p.Started, 10), 0o600); err != nil {
		e.o.Log.Warn("a command is not noted", "error", err)
	}
}

func (e *Engine) unnote(pid int) { _ = os.Remove(filepath.Join(e.commandsDir(), strconv.Itoa(pid))) }

// reap ends the commands that a node process was at when it was killed, each with its process group.
func (e *Engine) reap() error {
	if err := os.MkdirAll(e.commandsDir(), 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(e.commandsDir())
	if err != nil {
		return err
	}
	for _, f := range files {
		pid, err1 := strconv.Atoi(f.Name())
		text, err2 := os.ReadFile(filepath.Join(e.commandsDir(), f.Name()))
		started, err3 := strconv.ParseUint(string(text), 10, 64)
		if p, ok := daemon.At(pid); errors.Join(err1, err2, err3) == nil && ok && p.Started == started {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			e.tell.Record(act.EventForced, fmt.Sprintf("a command that a node process was at on %s when it was killed was ended", e.o.Node), fmt.Sprintf("process %d", pid), nil)
			daemon.Reap(context.Background(), []daemon.Process{p})
		}
		if err := os.Remove(filepath.Join(e.commandsDir(), f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
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
