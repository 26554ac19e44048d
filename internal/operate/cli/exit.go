package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/operate/api"
)

// Exit codes. They are part of the interface: scripts go by them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitRefused     = 5
	exitTimeout     = 6
	exitInterrupted = 130
)

// exits says what each code means, and which errors lead to it. The first that holds is taken.
var exits = []struct {
	code    int
	meaning string
	holds   func(error) bool
}{
	{exitOK, "Done.", func(err error) bool { return err == nil }},
	{exitUsage, "The command line or the configuration is wrong. Nothing was done.", func(err error) bool {
		return is[*usageError](err) || is[config.Problems](err) || errors.Is(err, errBadConfig) || kind(err, api.Invalid)
	}},
	{exitUnreachable, "No node answers on the admin socket, or it went away.", func(err error) bool { return kind(err, api.Unreachable) }},
	{exitNotFound, "There is no service or member of that name, or more than one.", func(err error) bool {
		return kind(err, api.NotFound) || kind(err, api.Ambiguous)
	}},
	{exitRefused, "The node refused, such as a reload of a configuration with mistakes. Nothing was changed.", func(err error) bool {
		return kind(err, api.Refused)
	}},
	{exitTimeout, "What was waited for did not happen in time.", func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
	{exitInterrupted, "Interrupted (^C) before it was done.", func(err error) bool { return errors.Is(err, context.Canceled) }},
	{exitFailed, "Anything else went wrong; the message says what.", func(error) bool { return true }},
}

// exitCode is the code for an error.
func exitCode(err error) int {
	if program, ok := errors.AsType[exited](err); ok {
		return int(program)
	}
	for _, e := range exits {
		if e.holds(err) {
			return e.code
		}
	}
	return exitFailed
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func kind(err error, k api.Kind) bool { return errors.Is(err, &api.Error{Kind: k}) }

// errBadConfig ends a command that has told of problems in a configuration.
var errBadConfig = errors.New("bad configuration")

// reported is an error that people have been told of already.
type reported struct{ error }

func (r reported) Unwrap() error { return r.error }

// usageError is a fault in what was typed.
type usageError struct{ message, command string }

func (e *usageError) Error() string {
	return fmt.Sprintf("%s\nSee `%s --help`.", strings.TrimSpace(e.message), e.command)
}

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), command: cmd.CommandPath()}
}

// exitTable lists the codes in ascending order.
func exitTable() string {
	codes := make([]string, 0, len(exits))
	for code := range exitInterrupted + 1 {
		for _, e := range exits {
			if e.code == code {
				codes = append(codes, fmt.Sprintf("%5d  %s", e.code, e.meaning))
			}
		}
	}
	return strings.Join(codes, "\n")
}

// exitCodesTopic is `backstay help exit-codes`.
func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long:  "Exit codes of every command:\n\n" + exitTable(),
	}
}
