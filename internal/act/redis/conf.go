package redis

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay/internal/base/config"
)

// nowhere is the upstream of an instance that has none: nobody answers there. An instance that follows it takes no writes,
// keeps its data and its place in the history, and gets nothing from anybody. The configuration always has it: whoever
// starts the instance, it is no primary until Backstay makes it one.
const (
	nowhereHost = "127.0.0.1"
	nowherePort = "0"
)

// CheckParameters says what is wrong with parameters that a user set, before anything is changed.
func CheckParameters(parameters map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		switch value := parameters[name]; {
		case config.RedisReserves(name):
			return fmt.Errorf("the parameter %s is set by Backstay: take it out of the engine's parameters", name)
		case name == "" || strings.ContainsAny(name, " \t\r\n\"'#"), strings.ContainsAny(value, "\r\n"):
			return fmt.Errorf("the parameter %q: %q cannot be a line of redis.conf", name, value)
		}
	}
	return nil
}

// configure writes redis.conf.
func (e *Engine) configure() error {
	if err := CheckParameters(e.o.Parameters); err != nil {
		return err
	}
	password, err := readPassword(e.o.Password)
	if err != nil {
		return err
	}
	lines := []string{
		"# Written by Backstay; changes are lost. Parameters are set in Backstay's configuration.",
		// Safe defaults, which parameters may override.
		"tcp-keepalive 10", "timeout 0", "repl-timeout 10", "repl-ping-replica-period 1", "repl-backlog-size 64mb", "repl-backlog-ttl 0",
		"repl-diskless-sync yes", "repl-diskless-sync-delay 0", "auto-aof-rewrite-min-size 64mb",
	}
	for _, name := range slices.Sorted(maps.Keys(e.o.Parameters)) {
		lines = append(lines, name+" "+e.o.Parameters[name])
	}
	logged := "yes"
	if e.hasDump() && !e.hasLog() {
		logged = "no" // else Redis would not look at the dump; it is turned on once that is loaded
	}
	lines = append(lines,
		"bind "+e.o.Listen, "port "+strconv.Itoa(e.o.Port), "protected-mode no",
		"dir "+strconv.Quote(e.DataPath()), "pidfile "+strconv.Quote(e.data(pidFile)), "daemonize no", "supervised no", `logfile ""`,
		`save ""`, "appendonly "+logged, "appendfsync "+e.o.Fsync, "appendfilename appendonly.aof", "appenddirname appendonlydir",
		"replicaof "+nowhereHost+" "+nowherePort, "replica-read-only yes", "replica-serve-stale-data yes", "repl-diskless-load disabled",
		"replica-announce-ip "+e.o.Listen, "replica-announce-port "+strconv.Itoa(e.o.Port),
		"min-replicas-to-write "+strconv.Itoa(e.o.MinStandbys), "min-replicas-max-lag "+strconv.Itoa(max(1, int(e.o.MaxSilence.Seconds()))),
	)
	if password != "" {
		lines = append(lines, `requirepass "`+password+`"`, `masterauth "`+password+`"`)
	}
	return e.acc.Write(e.confPath(), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// address is where the instance listens.
func (e *Engine) address() string { return net.JoinHostPort(e.o.Listen, strconv.Itoa(e.o.Port)) }
