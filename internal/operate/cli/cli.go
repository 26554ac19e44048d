// Package cli is the command line: it parses what people type, asks the node over its admin socket or reads a
// configuration, and prints. It knows neither nodes nor the demo; those are handed in.
package cli

import (
	"context"
	"io"
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
	Keep    bool   // stay up after the verdict
	Plain   bool   // lines instead of a live view
	Seconds int    // length of the demonstration
	Listen  string // address clients use
}

// Options configures Main. Unset functions leave their commands out.
type Options struct {
	Version string
	Run     func(ctx context.Context, o RunOptions) error
	Demo    func(ctx context.Context, o DemoOptions) error
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Getenv  func(string) string
}

// Main runs one command and returns its exit code; see `backstay help exit-codes`.
func Main(ctx context.Context, args []string, o Options) int { panic("not yet") }
