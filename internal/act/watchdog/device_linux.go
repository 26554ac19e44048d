package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// magic is what makes the driver stop the timer when the device is closed after it.
const magic = "V"

// file is an open device file.
type file struct {
	f       *os.File
	timeout time.Duration
}

// control does what the device's ioctls do; tests have their own.
type control struct {
	setTimeout func(fd, seconds int) (int, error)
	info       func(fd int) (options uint32, err error)
	sys        string // /sys/class/watchdog
}

var kernel = control{
	setTimeout: func(fd, seconds int) (int, error) {
		err := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds)
		if err != nil && !errors.Is(err, unix.EINVAL) { // of a driver that cannot be so quick: it stays at what it has
			return 0, err
		}
		return unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
	},
	info: func(fd int) (uint32, error) {
		info, err := unix.IoctlGetWatchdogInfo(fd)
		if err != nil {
			return 0, err
		}
		return info.Options, nil
	},
	sys: "/sys/class/watchdog",
}

// OpenDevice opens the kernel's watchdog and sets its timer, in whole seconds, to at most the timeout where its driver can. From
// then on the timer runs.
func OpenDevice(path string, timeout time.Duration) (Device, error) {
	return kernel.open(path, timeout)
}

func (c control) open(path string, timeout time.Duration) (Device, error) {
	if timeout < time.Second {
		return nil, fmt.Errorf("the timer counts in whole seconds, and %v is less: use a store profile with longer times", timeout)
	}
	if c.stays(path) {
		return nil, fmt.Errorf("the driver of %s was loaded with nowayout: it could never be closed without a reset of the machine; load it with nowayout=0", path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s: load a driver (the machine's own, or softdog), or take watchdog out of this node's configuration", path)
	case errors.Is(err, syscall.EBUSY):
		return nil, fmt.Errorf("%s is in use by another program, such as systemd (RuntimeWatchdogSec) or watchdogd: a device has one user", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s may not be opened by this user: %w", path, err)
	case err != nil:
		return nil, err
	}
	d := &file{f: f}
	options, err := c.info(int(f.Fd()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not a watchdog: %w", path, err), d.Disarm())
	}
	if options&unix.WDIOF_SETTIMEOUT == 0 || options&unix.WDIOF_MAGICCLOSE == 0 {
		return nil, errors.Join(fmt.Errorf("the driver of %s cannot set its timer, or not be closed without a reset of the machine: use another, such as softdog", path), d.Disarm())
	}
	seconds, err := c.setTimeout(int(f.Fd()), int(timeout/time.Second))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the timer of %s cannot be set to %v: %w", path, timeout.Truncate(time.Second), err), d.Disarm())
	}
	d.timeout = time.Duration(seconds) * time.Second
	return d, nil
}

// stays reads whether the driver was told never to stop.
func (c control) stays(path string) bool {
	name := filepath.Base(path)
	if name == "watchdog" {
		name = "watchdog0"
	}
	text, err := os.ReadFile(filepath.Join(c.sys, name, "nowayout"))
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// Timeout implements Device.
func (d *file) Timeout() time.Duration { return d.timeout }

// Kick implements Device: any byte but the magic one will do.
func (d *file) Kick() error {
	_, err := d.f.WriteString("\x00")
	return err
}

// Disarm implements Device.
func (d *file) Disarm() error {
	_, err := d.f.WriteString(magic)
	return errors.Join(err, d.f.Close())
}
