// Package account is the user of the operating system that a node running as root runs an instance as.
package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// An Account is a user. The zero value is the one that this process runs as.
type Account struct {
	Name     string
	UID, GID int
	switched bool // it is another than our own
}

// Look returns the account of a name; where this process is not root it can only be its own, whatever the name.
func Look(name string) (Account, error) {
	if os.Geteuid() != 0 {
		own := Account{Name: strconv.Itoa(os.Geteuid()), UID: os.Geteuid(), GID: os.Getegid()}
		if me, err := user.Current(); err == nil {
			own.Name = me.Username
		}
		return own, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return Account{}, fmt.Errorf("there is no user %q for the instance to run as: make one, or name another as user: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return Account{}, err
	}
	return Account{Name: u.Username, UID: uid, GID: gid, switched: uid != 0}, nil
}

// Own gives a file to the account.
func (a Account) Own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, a.UID, a.GID)
}

// Directory makes a directory that only the account can use.
func (a Account) Directory(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return a.Own(path)
}

// Command prepares a program to run as the account, in a group of its own so that a terminal's signals do not reach it.
func (a Account) Command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID)}
	}
	return cmd
}

// Write replaces a file of the account's so that after a crash there is the old or the new one, whole.
func (a Account) Write(path string, text []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), a.Own(tmp), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir has the names in a folder on disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
