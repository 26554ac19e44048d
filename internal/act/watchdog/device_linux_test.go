package watchdog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pretend is a kernel whose watchdog is a file; its driver is as quick as shortest, in seconds.
func pretend(t *testing.T, options uint32, shortest int, nowayout string) (control, string) {
	dir := t.TempDir()
	path := filepath.Join(dir, "watchdog1")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sys"), 0o700); err != nil {
		t.Fatal(err)
	}
	sys := filepath.Join(dir, "sys", "watchdog1")
	if err := errors.Join(os.Mkdir(sys, 0o700), os.WriteFile(filepath.Join(sys, "nowayout"), []byte(nowayout+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return control{
		setTimeout: func(_, seconds int) (int, error) { return max(seconds, shortest), nil },
		info:       func(int) (uint32, error) { return options, nil },
		sys:        filepath.Join(dir, "sys"),
	}, path
}

const able = unix.WDIOF_SETTIMEOUT | unix.WDIOF_MAGICCLOSE | unix.WDIOF_KEEPALIVEPING

func TestDeviceIsWrittenTo(t *testing.T) {
	c, path := pretend(t, able, 1, "0")
	d, err := c.open(path, 2600*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if d.Timeout() != 2*time.Second {
		t.Errorf("its timer is %v", d.Timeout())
	}
	if err := errors.Join(d.Kick(), d.Kick(), d.Disarm()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "\x00\x00V" {
		t.Errorf("written was %q, %v: two signs of life and the magic close", text, err)
	}
	if err := d.Kick(); err == nil {
		t.Error("it is open still")
	}
}

func TestDeviceThatCannotBeUsed(t *testing.T) {
	c, path := pretend(t, able, 1, "0")
	if _, err := c.open(filepath.Join(t.TempDir(), "watchdog"), time.Second); !strings.Contains(err.Error(), "load a driver") {
		t.Errorf("missing: %v", err)
	}
	if _, err := c.open(path, 900*time.Millisecond); !strings.Contains(err.Error(), "whole seconds") {
		t.Errorf("less than a second: %v", err)
	}
	stays, stuck := pretend(t, able, 1, "1")
	if _, err := stays.open(stuck, time.Second); !strings.Contains(err.Error(), "nowayout=0") {
		t.Errorf("nowayout: %v", err)
	}
	if text, _ := os.ReadFile(stuck); len(text) > 0 {
		t.Error("one that cannot be closed was opened")
	}
	poor, path := pretend(t, unix.WDIOF_SETTIMEOUT, 1, "0")
	if _, err := poor.open(path, time.Second); !strings.Contains(err.Error(), "not be closed without a reset") {
		t.Errorf("without magic close: %v", err)
	}
	slow, path := pretend(t, able, 30, "0")
	if d, err := slow.open(path, time.Second); err != nil || d.Timeout() != 30*time.Second {
		t.Errorf("slow: %v", err)
	}
	// The kernel's own word, of what is no watchdog.
	if _, err := OpenDevice(path, time.Second); !errors.Is(err, syscall.ENOTTY) || !strings.Contains(err.Error(), "not a watchdog") {
		t.Errorf("a file: %v", err)
	}
	if _, err := OpenDevice(filepath.Join(t.TempDir(), "none"), time.Second); err == nil || errors.Is(err, fs.ErrPermission) {
		t.Errorf("missing: %v", err)
	}
}
