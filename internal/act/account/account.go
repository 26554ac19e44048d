// Package account is the user of the operating system that a node running as root runs an instance as.
package account

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// An Account is a user. The zero value is the one that this process runs as.
type Account struct {
	uid, gid int
	switched bool // it is another than our own
}

// Look returns the account of a name; where this process is not root it can only be its own, whatever the name.
func Look(name string) (Account, error) {
	if os.Geteuid() != 0 {
		return Account{}, nil
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
	return Account{uid: uid, gid: gid, switched: uid != 0}, nil
}

// Own gives a file to the account.
func (a Account) Own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// Directory makes a directory that only the account can use.
func (a Account) Directory(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return a.Own(path)
}

// Attributes are of a process that runs as the account, in a group of its own so that a terminal's signals do not reach it.
func (a Account) Attributes() *syscall.SysProcAttr {
	out := &syscall.SysProcAttr{Setpgid: true}
	if a.switched {
		out.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return out
}
