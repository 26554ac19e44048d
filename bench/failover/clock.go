package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A clock is a machine's wall clock, as far as its programs ask one that can be set: PostgreSQL and HAProxy through libfaketime, Backstay
// because it was built with a package time that adds what a file says, Patroni through a time.time that does the same (libfaketime
// breaks Python's sleep). Monotonic clocks are left alone, as they are when somebody sets a machine's clock; the real clock is
// not touched. Other programs (etcd's own binary) do not notice.
type clock struct {
	dir string
}

const fakeTime = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"

func newClock(dir string) (*clock, error) {
	if _, err := os.Stat(fakeTime); err != nil {
		return nil, fmt.Errorf("%w: scripts/setup bench-failover installs it", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c := &clock{dir: dir}
	return c, c.set(0)
}

// set moves the clock by an offset from the real one.
func (c *clock) set(offset time.Duration) error {
	seconds := int64(offset / time.Second)
	if err := c.write("go", binary.NativeEndian.AppendUint64(nil, uint64(seconds))); err != nil {
		return err
	}
	return c.write("c", fmt.Appendf(nil, "%+d\n", seconds))
}

// write puts it into the same file: Backstay has it mapped.
func (c *clock) write(name string, text []byte) error {
	f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return err
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return f.Close()
}

// env has a program use the clock.
func (c *clock) env() []string {
	if c == nil {
		return nil
	}
	return []string{
		"BENCH_CLOCK=" + filepath.Join(c.dir, "go"), "LD_PRELOAD=" + fakeTime, "FAKETIME_TIMESTAMP_FILE=" + filepath.Join(c.dir, "c"),
		"FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1",
	}
}

// pythonSource is read by Python when it starts.
const pythonSource = `import os, time
real, name = time.time, os.environ["BENCH_PYTHON_CLOCK"]
def moved():
    try:
        with open(name) as f:
            return real() + int(f.read() or 0)
    except (OSError, ValueError):
        return real()
time.time = moved
`

// python has a program in Python use the clock.
func (c *clock) python() ([]string, error) {
	if c == nil {
		return nil, nil
	}
	return []string{"PYTHONPATH=" + c.dir, "BENCH_PYTHON_CLOCK=" + filepath.Join(c.dir, "c")},
		os.WriteFile(filepath.Join(c.dir, "sitecustomize.py"), []byte(pythonSource), 0o644)
}

// programs is a folder like the given one, of which postgres uses the clock.
func (c *clock) programs(bin string) (string, error) {
	if c == nil {
		return bin, nil
	}
	dir := filepath.Join(c.dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	all, err := os.ReadDir(bin)
	if err != nil {
		return "", err
	}
	for _, program := range all {
		if program.Name() != "postgres" {
			if err := os.Symlink(filepath.Join(bin, program.Name()), filepath.Join(dir, program.Name())); err != nil {
				return "", err
			}
		}
	}
	script := fmt.Sprintf("#!/bin/sh\nexec env %s %s \"$@\"\n", strings.Join(c.env(), " "), filepath.Join(bin, "postgres"))
	return dir, os.WriteFile(filepath.Join(dir, "postgres"), []byte(script), 0o755)
}

// offsetSource is a file of package time in the binary that is built for this.
const offsetSource = `package time

import (
	"syscall"
	"unsafe"
)

var wallOffset = func() *int64 {
	if name, ok := syscall.Getenv("BENCH_CLOCK"); ok {
		if fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
			if page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED); err == nil {
				return (*int64)(unsafe.Pointer(&page[0]))
			}
		}
	}
	return new(int64)
}()
`

// buildForClock builds Backstay so that its wall clock can be moved.
func buildForClock(dir string) (binary string, err error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const reading = "sec, nsec, mono := runtimeNow()\n"
	if bytes.Count(text, []byte(reading)) != 1 {
		return "", fmt.Errorf("%s does not read the clock as expected (%q once): this version of Go needs another overlay", original, reading)
	}
	text = bytes.Replace(text, []byte(reading), []byte(reading+"\tif wallOffset != nil {\n\t\tsec += *wallOffset\n\t}\n"), 1)
	replaced := map[string]string{original: filepath.Join(dir, "time.go"), filepath.Join(filepath.Dir(original), "offset.go"): filepath.Join(dir, "offset.go")}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{"time.go": text, "offset.go": []byte(offsetSource), "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	binary = filepath.Join(dir, "backstay")
	c := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "github.com/backstay/backstay/cmd/backstay")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build -overlay: %w: %s", err, out)
	}
	return binary, nil
}

// checkClock asks PostgreSQL for the time until it is what was set, so that a clock which nobody heeds is not taken for a fault survived.
func (r *rig) checkClock(ctx context.Context, offset time.Duration) error {
	return until(ctx, 10*time.Second, func() error {
		var there time.Time
		if err := r.client.ask(ctx, &there, "SELECT clock_timestamp()"); err != nil {
			return err
		}
		if d := time.Until(there) - offset; d.Abs() > 10*time.Second {
			return fmt.Errorf("the primary's clock is %v from where it was set: libfaketime has no effect", d)
		}
		return nil
	})
}

// sweep removes what libfaketime leaves in shared memory of processes that were killed.
func (c *clock) sweep() {
	left, _ := filepath.Glob("/dev/shm/*faketime_*_*")
	for _, path := range left {
		if pid, err := strconv.Atoi(path[strings.LastIndexByte(path, '_')+1:]); err == nil && !alive(pid) {
			_ = os.Remove(path)
		}
	}
}
