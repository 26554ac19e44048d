package cli

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/spf13/cobra"
)

var (
	fence  = regexp.MustCompile("(?s)```(\\w*)\n(.*?)```")
	typed  = regexp.MustCompile(`(?m)^(?:ExecStart=|ExecReload=|[\w-]*\$ )?(?:\S*/)?backstay (.*)$`)
	quoted = regexp.MustCompile("`(?:bin/)?backstay ([^`]+)`")
)

// TestDocuments: every command line that a document names is one, with these flags.
func TestDocuments(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md", "internal/*/DESIGN.md", "internal/*/*/DESIGN.md", "examples/*"} {
		found, err := filepath.Glob("../../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	lines := 0
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		for _, line := range quoted.FindAllStringSubmatch(text, -1) {
			lines++
			if err := accepted(line[1], false); err != nil {
				t.Errorf("%s: `backstay %s`: %v", page, line[1], err)
			}
		}
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			if block[1] == "" { // in the reference, how a command is used
				continue
			}
			for _, line := range typed.FindAllStringSubmatch(block[2], -1) {
				lines++
				if err := accepted(line[1], true); err != nil {
					t.Errorf("%s: backstay %s: %v", page, line[1], err)
				}
			}
		}
	}
	if lines < 60 {
		t.Errorf("only %d command lines were found", lines)
	}
}

var (
	apart = regexp.MustCompile(`\s+[#|&;<>].*$`)
	words = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// accepted says what is wrong with a command line. One that only names its command need not have what the command takes.
func accepted(line string, whole bool) error {
	args := words.FindAllString(apart.ReplaceAllString(line, ""), -1)
	root := everyCommand()
	c, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if c.Name() == "help" {
		_, _, err = root.Find(rest)
		return err
	}
	if err := c.ParseFlags(rest); err != nil {
		return err
	}
	rest = c.Flags().Args()
	switch {
	case c.HasSubCommands() && len(rest) > 0:
		return errors.New("no such command")
	case len(rest) == 0 && !whole:
		return nil
	}
	return c.ValidateArgs(rest)
}

func everyCommand() *cobra.Command {
	root := completeApp().root()
	root.InitDefaultHelpCmd()
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	root.InitDefaultCompletionCmd()
	return root
}

func TestDocumentsAreHeldAgainstTheCommands(t *testing.T) {
	for line, want := range map[string]bool{
		"status db": true, "status --watch": true, "statsu": false, "status --wacth": false, "cluster invite --for par-2 &": true, "cluster invit": false,
		"drain web/a # soon": true, "drain --wait | cat": false, "history 1 2": false, "apply --yes - < x.yaml": true, "help exit-codes": true,
	} {
		if err := accepted(line, true); (err == nil) != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}
