package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

// pgCommand is what concerns PostgreSQL only.
func (a *app) pgCommand() *cobra.Command {
	c := &cobra.Command{Use: "pg", Short: "Work with a PostgreSQL that the nodes keep up"}
	c.AddCommand(a.psqlCommand(), a.restartCommand())
	return c
}

func (a *app) psqlCommand() *cobra.Command {
	var node string
	c := &cobra.Command{
		Use:   "psql [SERVICE] [-- ARGS]",
		Short: "Connect to the primary as superuser",
		Long: "Runs psql with the superuser's password, through this node's listener: it reaches the primary, and waits while there is\n" +
			"none. What stands behind -- is for psql. The exit code is psql's.",
		Example:           "  backstay pg psql\n  backstay pg psql db -- -d shop -c 'SELECT count(*) FROM orders'",
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			service, rest, err := split(cmd, args)
			if err != nil {
				return err
			}
			ctx, cancel := short(cmd.Context())
			defer cancel()
			way, err := a.client().Access(ctx, service)
			if err != nil {
				return err
			}
			if node != "" {
				address, ok := way.Instances[node]
				if !ok {
					return api.Errorf(api.NotFound, "%s has no instance on %q", way.Service, node)
				}
				host, port, _ := net.SplitHostPort(address)
				way.Host = host
				way.Port, _ = strconv.Atoi(port)
			}
			return a.psql(way, rest)
		},
	}
	c.Flags().StringVar(&node, "node", "", "`name` of the node whose own instance is meant, whatever it is")
	return c
}

// split tells the service from what stands behind --.
func split(cmd *cobra.Command, args []string) (service string, rest []string, err error) {
	n := cmd.ArgsLenAtDash()
	if n < 0 {
		n = len(args)
	}
	switch own := args[:n]; {
	case len(own) > 1:
		return "", nil, usagef(cmd, "%q is one too many: what psql is to be given stands behind --", own[1])
	case len(own) == 1:
		service = own[0]
	}
	return service, args[n:], nil
}

// psql runs the program until it ends; the terminal's signals are its own affair meanwhile.
func (a *app) psql(way api.Access, args []string) error {
	password, err := os.ReadFile(way.Password)
	if err != nil {
		return fmt.Errorf("the password of %s: %w: use the user who runs `backstay run`, or root", way.User, err)
	}
	program, err := exec.LookPath(filepath.Join(way.Programs, "psql"))
	if err != nil {
		program, err = exec.LookPath("psql")
	}
	if err != nil {
		return fmt.Errorf("psql is not installed on this machine (postgresql-client has it); connect to %s as %s with the password in %s",
			net.JoinHostPort(way.Host, strconv.Itoa(way.Port)), way.User, way.Password)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.In, a.Out, a.Err
	cmd.Env = append(without(os.Environ(), "PGSERVICE", "PGHOSTADDR", "PGPASSFILE", "PGTARGETSESSIONATTRS"),
		"PGHOST="+way.Host, "PGPORT="+strconv.Itoa(way.Port), "PGUSER="+way.User, "PGPASSWORD="+strings.TrimRight(string(password), "\r\n"),
		"PGAPPNAME=backstay pg psql")
	if os.Getenv("PGDATABASE") == "" {
		cmd.Env = append(cmd.Env, "PGDATABASE=postgres")
	}
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(ignored)
	err = cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return reported{exited(max(1, e.ExitCode()))}
	}
	return err
}

// without leaves variables out of an environment.
func without(env []string, names ...string) []string {
	var out []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		drop := false
		for _, n := range names {
			drop = drop || n == name
		}
		if !drop {
			out = append(out, v)
		}
	}
	return out
}

// exited is how a program ended that was run in the place of this one.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
