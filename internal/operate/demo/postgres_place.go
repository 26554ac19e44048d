package demo

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
)

// postgresPorts are the ports that every node of the PostgreSQL demonstration uses on its own address.
type postgresPorts struct {
	clients  int // where clients connect
	instance int // PostgreSQL's own
	store    int // the first of four
}

func (p postgresPorts) all() []int {
	return []int{p.clients, p.instance, p.store, p.store + 1, p.store + 2, p.store + 3}
}

// postgresPrefix is how the folder's name begins.
const postgresPrefix = "backstay-demo-postgres-"

// havePostgres says what is missing for PostgreSQL to run here; nil when nothing is.
func havePostgres() error {
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres", "/usr/local/pgsql/bin/postgres"} {
		programs, _ := filepath.Glob(pattern) // the patterns are good
		found = append(found, programs...)
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		found = append(found, p)
	}
	if len(found) == 0 {
		return errors.New("PostgreSQL is not installed (nothing in /usr/lib/postgresql): run `scripts/setup demo`, or install your distribution's package (Debian: apt-get install postgresql), version 13 or later")
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if _, err := user.Lookup("postgres"); err != nil {
		return fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres (%w): make one, or run the demonstration as another user than root", err)
	}
	return nil
}

// postgresFolder makes a folder that PostgreSQL's user can get into, with a path short enough for its sockets.
func postgresFolder() (string, error) {
	const longest = 60 // a socket's path has 107 bytes, of which its own folders and name need some
	var problems []error
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if len(parent) > longest {
			problems = append(problems, fmt.Errorf("%s is too long for the paths of sockets", parent))
			continue
		}
		if err := traversable(parent); err != nil && os.Geteuid() == 0 {
			problems = append(problems, err)
			continue
		}
		dir, err := os.MkdirTemp(parent, postgresPrefix)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		return dir, os.Chmod(dir, 0o711)
	}
	return "", fmt.Errorf("no folder for the demonstration's data: %w; name one that the user postgres can get into as TMPDIR", errors.Join(problems...))
}

// traversable says which folder on the way keeps other users out.
func traversable(path string) error {
	for {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("other users cannot get through %s", path)
		}
		up := filepath.Dir(path)
		if up == path {
			return nil
		}
		path = up
	}
}

// loopback finds a network 127.0.N on whose first three addresses all the ports are free. The usual ports are tried before others.
func loopback() (network string, ports postgresPorts, err error) {
	for _, ports := range []postgresPorts{{5432, 5433, 7400}, {15432, 15433, 17400}, {25432, 25433, 27400}} {
		first := rand.IntN(200)
		for i := range 20 {
			network := "127.0." + strconv.Itoa(20+(first+i)%200)
			if err = allFree(network, ports); err == nil {
				return network, ports, nil
			}
		}
	}
	return "", postgresPorts{}, fmt.Errorf("no three loopback addresses with free ports were found: %w", err)
}

func allFree(network string, ports postgresPorts) error {
	for i := 1; i <= 3; i++ {
		for _, port := range ports.all() {
			l, err := net.Listen("tcp", net.JoinHostPort(fmt.Sprintf("%s.%d", network, i), strconv.Itoa(port)))
			if err != nil {
				return err
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}
