// Package cli is the command line: it parses what people type, asks the node over its admin socket or reads a
// configuration, and prints. It knows neither nodes nor the demo; those are handed in.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

// Options configures Main. Functions that are not set leave their commands out.
type Options struct {
	Version string
	Run     func(ctx context.Context, o RunOptions) error
	Demo    func(ctx context.Context, o DemoOptions) error
	Init    func(o RunOptions) (said string, err error)
	Join    func(ctx context.Context, o RunOptions, j JoinOptions) (said string, err error)
	Recover func(ctx context.Context, o RunOptions, r RecoverOptions) (said string, err error)
	Guard   func(ctx context.Context, o GuardOptions) error
	In      io.Reader           // standard input when nil
	Out     io.Writer           // standard output when nil
	Err     io.Writer           // standard error when nil
	Getenv  func(string) string // os.Getenv when nil
	Zone    *time.Location      // in which times are printed; the machine's when nil
}

// Main runs one command and returns its exit code; see `backstay help exit-codes`.
func Main(ctx context.Context, args []string, o Options) int {
	a := newApp(o)
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !a.started { // cobra found fault with what was typed
		err = &usageError{message: err.Error(), command: cmd.CommandPath()}
	}
	var told reported
	if !errors.As(err, &told) {
		fmt.Fprintln(a.Err, "backstay:", err)
	}
	return exitCode(err)
}

// app is one run of the command line.
type app struct {
	Options
	socket  string // --socket
	started bool   // what was typed made sense
	style   style  // how Out is written to
}

func newApp(o Options) *app {
	if o.In == nil {
		o.In = os.Stdin
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Err == nil {
		o.Err = os.Stderr
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	return &app{Options: o, style: styleOf(o.Out, o.Getenv)}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "backstay",
		Short: "High availability in one binary",
		Long: "Backstay keeps services up: it looks at their members, sends clients to those that work, and holds, retries\n" +
			"and protects what would otherwise fail.",
		Version:           a.Version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { a.started = true },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetVersionTemplate("backstay {{.Version}}\n")
	root.PersistentFlags().StringVar(&a.socket, "socket", "",
		"`path` of the node's admin socket (default $BACKSTAY_SOCKET, or admin.sock in the data folder)")
	root.AddGroup(
		&cobra.Group{ID: groupNode, Title: "Start:"},
		&cobra.Group{ID: groupConfig, Title: "Configuration:"},
		&cobra.Group{ID: groupSteer, Title: "A running node:"},
		&cobra.Group{ID: groupState, Title: "A service with an engine:"},
	)
	for group, commands := range map[string][]*cobra.Command{
		groupNode:   append(a.startCommands(), a.clusterCommands()...),
		groupState:  append(a.statefulCommands(), a.pgCommand()),
		groupConfig: {a.checkCommand(), a.configCommand(), a.applyCommand(), a.historyCommand(), a.rollbackCommand()},
		groupSteer:  {a.statusCommand(), a.eventsCommand(), a.reloadCommand(), a.drainCommand(), a.resumeCommand(), a.degradeCommand(), a.cacheCommand()},
		"":          {a.versionCommand(), a.completionCommand(), exitCodesTopic()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	return root
}

// Groups of commands in the help.
const (
	groupNode   = "node"
	groupConfig = "config"
	groupSteer  = "steer"
	groupState  = "stateful"
)

// client is a client of the node that is meant.
func (a *app) client() *api.Client { return api.Dial(socketPath(a.socket, "", a.Getenv)) }

// short bounds calls that a node answers at once.
func short(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 10*time.Second)
}

// printf writes to the standard output.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.Out, format, args...) }

// count writes a number with its noun: 1 service, 2 services.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

// indent puts two blanks before each line.
func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}
