package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/base/config"
)

func (a *app) checkCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Say everything that is wrong with configurations",
		Long: "Reads each configuration (- is the standard input) and prints every mistake with its place, or what it holds.\n" +
			"A node that is running is not touched.",
		Example: "  backstay check /etc/backstay/backstay.yaml\n  backstay check --json *.yaml | jq -r '.[].message'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error {
			if asJSON {
				return a.checkJSON(files)
			}
			return a.checkText(files)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the problems as a JSON array")
	return c
}

// load reads a configuration; - is the standard input.
func (a *app) load(file string) (*config.Config, error) {
	if file != "-" {
		return config.Load(file)
	}
	text, err := io.ReadAll(io.LimitReader(a.In, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("read the standard input: %w", err)
	}
	return config.Parse("standard input", text)
}

func (a *app) checkText(files []string) error {
	var result error
	for _, file := range files {
		cfg, err := a.load(file)
		var problems config.Problems
		switch {
		case errors.As(err, &problems):
			for _, p := range problems {
				fmt.Fprintln(a.Err, strings.TrimRight(p.Text(), "\n")+"\n")
			}
			fmt.Fprintf(a.Err, "%s: %s\n", file, count(len(problems), "problem"))
			result = reported{errBadConfig}
		case err != nil:
			fmt.Fprintln(a.Err, "backstay:", err)
			if result == nil {
				result = reported{err}
			}
		default:
			a.printf("%s: ok: %s\n", file, contents(cfg))
		}
	}
	return result
}

// checkJSON prints the problems of all files as one array, for editors and CI.
func (a *app) checkJSON(files []string) error {
	all := config.Problems{}
	for _, file := range files {
		_, err := a.load(file)
		var problems config.Problems
		if err != nil && !errors.As(err, &problems) {
			return err
		}
		all = append(all, problems...)
	}
	if err := a.printJSON(all); err != nil {
		return err
	}
	if len(all) > 0 {
		return reported{errBadConfig}
	}
	return nil
}

// contents says what a configuration holds.
func contents(c *config.Config) string {
	var members, routes int
	for _, s := range c.Services {
		members += len(s.Members)
	}
	for _, l := range c.Listeners {
		routes += len(l.Routes) + len(l.SNI)
	}
	parts := []string{count(len(c.Services), "service"), count(members, "member"), count(len(c.Listeners), "listener"), count(routes, "route")}
	if len(c.Nodes) > 0 {
		parts = append(parts, count(len(c.Nodes), "node"))
	}
	return strings.Join(parts, ", ")
}

// printJSON writes v, indented.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
