package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
)

// RunOptions is what `backstay run` was told.
type RunOptions struct {
	Config string // path of the configuration
	Node   string // name of this node; the host name when empty
	Data   string // folder for what is kept between runs
	Socket string // path of the admin socket
	Level  string // of the log: debug, info, warn, error
	Format string // of the log: text or json
}

// DemoOptions is what `backstay demo` was told.
type DemoOptions struct {
	Postgres bool   // three nodes that keep PostgreSQL up, instead of web servers behind one
	Keep     bool   // stay up after the verdict
	Plain    bool   // lines instead of a live view
	Seconds  int    // length of the demonstration; 0 for the usual one
	Listen   string // address clients use
}

// startCommands are run and demo, where there is a function for them.
func (a *app) startCommands() (commands []*cobra.Command) {
	if a.Run != nil {
		commands = append(commands, a.runCommand())
	}
	if a.Demo != nil {
		commands = append(commands, a.demoCommand())
	}
	return commands
}

func (a *app) runCommand() *cobra.Command {
	var o RunOptions
	c := &cobra.Command{
		Use:   "run",
		Short: "Run a node until it is told to stop",
		Long: "Runs a node in the foreground. SIGTERM and ^C let it end its work (shutdown in the configuration); a second one\n" +
			"ends it at once. SIGHUP reads the configuration again, as `backstay reload` does.",
		Example: "  backstay run --config /etc/backstay/backstay.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkLog(cmd, o); err != nil {
				return err
			}
			a.place(&o)
			o.Socket = socketPath(a.socket, o.Data, a.Getenv)
			return a.Run(cmd.Context(), o)
		},
	}
	a.placed(c, &o)
	f := c.Flags()
	f.StringVar(&o.Level, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	f.StringVar(&o.Format, "log-format", "text", "`format` of the log: text or json")
	_ = c.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// place fills in what the flags left open.
func (a *app) place(o *RunOptions) {
	if o.Config == "" {
		o.Config = a.Getenv("BACKSTAY_CONFIG")
	}
	if o.Config == "" {
		o.Config = defaultConfig
	}
	o.Data = dataDir(o.Data, a.Getenv, os.Geteuid())
	if whole, err := filepath.Abs(o.Data); err == nil { // programs that the node starts have folders of their own
		o.Data = whole
	}
}

const defaultConfig = "/etc/backstay/backstay.yaml"

func checkLog(cmd *cobra.Command, o RunOptions) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.Level)); err != nil {
		return usagef(cmd, "--log-level %s: it is debug, info, warn or error", o.Level)
	}
	if o.Format != "text" && o.Format != "json" {
		return usagef(cmd, "--log-format %s: it is text or json", o.Format)
	}
	return nil
}

// Logger is the log that these options ask for.
func Logger(w io.Writer, o RunOptions) *slog.Logger {
	var level slog.Level // info
	_ = level.UnmarshalText([]byte(o.Level))
	h := &slog.HandlerOptions{Level: level}
	if o.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, h))
	}
	return slog.New(slog.NewTextHandler(w, h))
}

func (a *app) demoCommand() *cobra.Command {
	var o DemoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "See members being killed, hung and slowed, and clients not noticing",
		Long: "Starts sample members as processes of their own, a node in front of them and steady traffic; then kills, hangs\n" +
			"and slows members in turn, and ends with a verdict. With --postgres three nodes keep a PostgreSQL up that is moved\n" +
			"and killed while clients write, and every write is accounted for. Everything runs on this machine and is cleaned up.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Seconds < 1 {
				return usagef(cmd, "--seconds %d: it is at least 1", o.Seconds)
			}
			if o.Postgres && cmd.Flags().Changed("listen") {
				return usagef(cmd, "--listen is not for --postgres, whose nodes choose addresses of their own")
			}
			if o.Postgres && !cmd.Flags().Changed("seconds") {
				o.Seconds = 0
			}
			return a.Demo(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.Postgres, "postgres", false, "three nodes that keep PostgreSQL up, which has to be installed")
	f.BoolVar(&o.Keep, "keep", false, "stay up after the verdict, until ^C")
	f.BoolVar(&o.Plain, "plain", false, "print lines instead of a live view")
	f.IntVar(&o.Seconds, "seconds", 60, "`length` of the demonstration; 75 with --postgres, unless told otherwise")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "`address` clients use")
	return c
}

// dataDir is the folder for what is kept between runs.
func dataDir(given string, getenv func(string) string, euid int) string {
	switch {
	case given != "":
		return given
	case getenv("BACKSTAY_DATA") != "":
		return getenv("BACKSTAY_DATA")
	case euid == 0:
		return "/var/lib/backstay"
	case getenv("XDG_STATE_HOME") != "":
		return filepath.Join(getenv("XDG_STATE_HOME"), "backstay")
	case getenv("HOME") != "":
		return filepath.Join(getenv("HOME"), ".local/state/backstay")
	}
	return filepath.Join(os.TempDir(), "backstay-"+strconv.Itoa(euid))
}

// socketPath is the path of the admin socket; data is the data folder where it is known.
func socketPath(given, data string, getenv func(string) string) string {
	switch {
	case given != "":
		return given
	case getenv("BACKSTAY_SOCKET") != "":
		return getenv("BACKSTAY_SOCKET")
	}
	return filepath.Join(dataDir(data, getenv, os.Geteuid()), "admin.sock")
}

// withTimeout bounds ctx where d is positive.
func withTimeout(ctx context.Context, d durationFlag) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d.Duration())
}
