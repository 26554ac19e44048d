package cli

import (
	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/base/config"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show, compare and describe configurations",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef(cmd, "say which: schema, show, reference or diff")
		},
	}
	c.AddCommand(
		&cobra.Command{
			Use:     "schema",
			Short:   "Print the JSON Schema of the configuration, for editors",
			Example: "  backstay config schema > backstay.schema.json\n  # first line of backstay.yaml: # yaml-language-server: $schema=backstay.schema.json",
			Args:    cobra.NoArgs,
			RunE:    func(*cobra.Command, []string) error { return a.print(config.Schema()) },
		},
		&cobra.Command{
			Use:   "reference",
			Short: "Print the reference of every key, as Markdown",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return a.print(config.Reference()) },
		},
		&cobra.Command{
			Use:   "show FILE",
			Short: "Print a configuration with every default filled in; secrets stay hidden",
			Args:  cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, files []string) error {
				cfg, err := a.load(files[0])
				if err != nil {
					return err
				}
				text, err := config.Show(cfg)
				if err != nil {
					return err
				}
				return a.print(text)
			},
		},
		a.diffCommand(),
	)
	return c
}

func (a *app) diffCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Print what a change of configuration changes, defaults included",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, files []string) error {
			before, err := a.load(files[0])
			if err != nil {
				return err
			}
			after, err := a.load(files[1])
			if err != nil {
				return err
			}
			changes := config.Diff(before, after)
			if asJSON {
				return a.printJSON(append([]config.Change{}, changes...))
			}
			if len(changes) == 0 {
				a.printf("no difference\n")
			}
			for _, change := range changes {
				a.printf("%s\n", change)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the changes as a JSON array")
	return c
}

// print writes a text, with a line feed at its end.
func (a *app) print(text []byte) error {
	if len(text) == 0 || text[len(text)-1] != '\n' {
		text = append(text[:len(text):len(text)], '\n')
	}
	_, err := a.Out.Write(text)
	return err
}
