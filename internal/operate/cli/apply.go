package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/operate/api"
)

// applyFlags are those of commands that make a new version.
type applyFlags struct {
	yes, dryRun, restart bool
	message              string
	base                 int
	wait                 durationFlag
}

func (f *applyFlags) add(c *cobra.Command) {
	f.wait = durationFlag(30 * time.Second)
	c.Flags().StringVarP(&f.message, "message", "m", "", "`why`, for those who read the history")
	c.Flags().IntVar(&f.base, "base", 0, "refuse unless this `version` is in force: the one that the configuration was made from")
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would change and what each node makes of it, and change nothing")
	c.Flags().BoolVar(&f.restart, "restart", false, "accept what nodes take in only when they are started again, one after the other")
	c.Flags().Var(&f.wait, "wait", "longest `time` to wait for each node's answer")
}

func (a *app) applyCommand() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a configuration in force on every node of the cluster",
		Long: "Every node tries the configuration first; what any of them cannot use is refused and changes nothing. What would change\n" +
			"is shown and asked about. Then it is the cluster's newest version: every node puts it in force, keeps a copy, and goes by\n" +
			"it from then on, whatever its own file says. If somebody else applied another one meanwhile, nothing is changed.\n\n" +
			"The text is kept as it is given: refer to secrets with {env: NAME} or {file: PATH}. FILE may be - for the standard input,\n" +
			"together with --yes.",
		Example: "  backstay apply shop.yaml -m 'two more web servers'\n  backstay apply --dry-run shop.yaml\n  backstay apply --yes - < shop.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			text, name, err := a.text(files[0])
			if err != nil {
				return err
			}
			if _, err := config.Parse(name, text); err != nil {
				return err
			}
			return a.propose(cmd, api.Applying{Draft: api.Draft{Name: name, Text: string(text)}, Message: f.message}, f)
		},
	}
	f.add(c)
	return c
}

// text reads a configuration as it is; - is the standard input.
func (a *app) text(file string) (text []byte, name string, err error) {
	if file != "-" {
		text, err = os.ReadFile(file)
		return text, filepath.Base(file), err
	}
	text, err = io.ReadAll(io.LimitReader(a.In, 16<<20))
	return text, "standard input", err
}

func (a *app) rollbackCommand() *cobra.Command {
	var f applyFlags
	c := &cobra.Command{
		Use:     "rollback VERSION",
		Short:   "Put an earlier configuration in force again, as a new version",
		Long:    "Does what `backstay apply` does with the text of an earlier version, which `backstay history VERSION` prints.",
		Example: "  backstay history\n  backstay rollback 7 -m 'the new timeouts are too short'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := versionNumber(cmd, args[0])
			if err != nil {
				return err
			}
			ctx, cancel := short(cmd.Context())
			defer cancel()
			v, err := a.client().Version(ctx, number)
			if err != nil {
				return err
			}
			why := cmp.Or(f.message, fmt.Sprintf("back to version %d", number))
			return a.propose(cmd, api.Applying{Draft: api.Draft{Name: fmt.Sprint("version ", number), Text: v.Text}, Of: number, Message: why}, f)
		},
	}
	f.add(c)
	return c
}

// propose lets every node try a text, shows what would change, asks, applies and waits for the nodes.
func (a *app) propose(cmd *cobra.Command, ap api.Applying, f applyFlags) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
	defer cancel()
	trial, err := a.client().Try(ctx, ap.Draft)
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("base") && trial.Base.Number != f.base {
		return api.Errorf(api.Refused, "version %d is in force, applied by %s, and not %d; nothing was changed. `backstay history --diff %d` says what it changed",
			trial.Base.Number, trial.Base.By, f.base, trial.Base.Number)
	}
	if trial.Same {
		a.printf("version %d says the same already\n", trial.Base.Number)
		return nil
	}
	a.showTrial(trial)
	if err := verdict(trial.Answers, f.restart); err != nil {
		return err
	}
	if f.dryRun {
		a.printf("nothing was changed: --dry-run\n")
		return nil
	}
	if !f.yes {
		if err := a.confirm(cmd, "Put this in force on every node?"); err != nil {
			return err
		}
	}
	ap.Base, ap.By, ap.Restart = trial.Base.Number, a.person(), f.restart
	ctx, cancel = context.WithTimeout(cmd.Context(), 30*time.Second) // people take their time to answer
	defer cancel()
	v, err := a.client().Apply(ctx, ap)
	if err != nil {
		return err
	}
	a.printf("version %d is applied\n", v.Number)
	return a.awaitNodes(cmd.Context(), v.Number, f.wait.Duration())
}

func (a *app) showTrial(t api.Trial) {
	if t.Base.Number == 0 {
		a.printf("this is the first version of the cluster's configuration; compared with the file of the node that was asked:\n")
	} else {
		a.printf("compared with version %d, applied by %s %s:\n", t.Base.Number, t.Base.By, a.when(t.Base.Time))
	}
	if len(t.Changes) == 0 {
		a.printf("  no difference in what it means\n")
	}
	for _, change := range t.Changes {
		a.printf("  %s\n", change)
	}
	for _, note := range t.Notes {
		a.printf("note: %s\n", note)
	}
	for _, n := range t.Answers {
		switch n.State {
		case api.AnswerAway:
			a.printf("%s is not there; it follows when it is back\n", n.Node)
		case api.AnswerSilent:
			a.printf("%s did not answer in time\n", n.Node)
		case api.AnswerRestart:
			a.printf("%s would take it in when it is started again:\n%s\n", n.Node, indent(n.Detail))
		case api.AnswerError:
			a.printf("%s cannot use it:\n%s\n", n.Node, indent(n.Detail))
		}
	}
}

// verdict refuses what a node cannot use.
func verdict(answers []api.Answer, restart bool) error {
	for _, n := range answers {
		if n.State == api.AnswerError {
			return api.Errorf(api.Refused, "refused: %s cannot use it; nothing was changed", n.Node)
		}
	}
	for _, n := range answers {
		if n.State == api.AnswerRestart && !restart {
			return api.Errorf(api.Refused, "refused, as it takes a restart of nodes: with --restart it is applied, and each node takes it in when it is started again; nothing was changed")
		}
	}
	return nil
}

// awaitNodes prints what becomes of a version on each node, until all who are there have answered.
func (a *app) awaitNodes(ctx context.Context, number int, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	told := map[string]bool{}
	var failed []string
	for {
		answers, err := a.client().Answers(ctx)
		if err != nil && ctx.Err() == nil && !kind(err, api.Refused) {
			return err
		}
		var silent []string
		for _, n := range answers {
			switch {
			case told[n.Node]:
				continue
			case n.State == api.AnswerSilent || n.Version < number && n.State != api.AnswerAway:
				silent = append(silent, n.Node)
				continue
			case n.State == api.AnswerError:
				failed = append(failed, n.Node)
			}
			told[n.Node] = true
			a.printf("%s\n", a.answer(n))
		}
		if err == nil && len(silent) == 0 {
			break
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("version %d is applied, but %s did not say whether it is used; `backstay cluster status` does later: %w", number, strings.Join(silent, ", "), ctx.Err())
			}
			return ctx.Err()
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("version %d is applied, but not in full in use on %s: mend it there, or `backstay rollback`", number, strings.Join(failed, ", "))
	}
	return nil
}

// answer says what a node makes of the newest version.
func (a *app) answer(n api.Answer) string {
	switch n.State {
	case api.AnswerUses:
		return fmt.Sprintf("%s uses version %d", n.Node, n.Version)
	case api.AnswerRestart:
		return fmt.Sprintf("%s takes version %d in when it is started again:\n%s", n.Node, n.Version, indent(n.Detail))
	case api.AnswerError:
		return fmt.Sprintf("%s cannot use version %d in full:\n%s", n.Node, n.Version, indent(n.Detail))
	case api.AnswerAway:
		return n.Node + " is not there; it follows when it is back"
	}
	return n.Node + " has not said anything yet"
}

func (a *app) historyCommand() *cobra.Command {
	var asJSON, diff bool
	c := &cobra.Command{
		Use:   "history [VERSION]",
		Short: "List the versions of the cluster's configuration, or print one",
		Example: "  backstay history\n  backstay history 7 > shop.yaml\n" +
			"  backstay history --diff 7   # what it changed",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := short(cmd.Context())
			defer cancel()
			if len(args) == 0 && diff {
				return usagef(cmd, "--diff needs a version, such as `backstay history --diff 7`")
			}
			if len(args) == 0 {
				return a.history(ctx, asJSON)
			}
			number, err := versionNumber(cmd, args[0])
			if err != nil {
				return err
			}
			v, err := a.client().Version(ctx, number)
			switch {
			case err != nil:
				return err
			case diff:
				return a.diffVersion(ctx, v)
			case asJSON:
				return a.printJSON(v)
			}
			return a.print([]byte(v.Text))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&diff, "diff", false, "print what the version changed")
	return c
}

func (a *app) history(ctx context.Context, asJSON bool) error {
	all, err := a.client().History(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(all)
	}
	if len(all) == 0 {
		a.printf("no configuration was applied yet: each node goes by its own file. `backstay apply FILE` begins\n")
		return nil
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tAPPLIED\tBY\tON\tMESSAGE")
	for _, v := range all {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", v.Number, a.when(v.Time), v.By, v.Node, strings.ReplaceAll(v.Message, "\n", " "))
	}
	return w.Flush()
}

// diffVersion prints what a version changed against the one before.
func (a *app) diffVersion(ctx context.Context, v api.Version) error {
	now, err := config.Parse(fmt.Sprint("version ", v.Number), []byte(v.Text))
	if err != nil {
		return err
	}
	var before *config.Config
	if v.Number > 1 {
		old, err := a.client().Version(ctx, v.Number-1)
		if err != nil {
			return err
		}
		if before, err = config.Parse(fmt.Sprint("version ", old.Number), []byte(old.Text)); err != nil {
			return err
		}
	}
	changes := config.Diff(before, now)
	if len(changes) == 0 {
		a.printf("no difference in what it means\n")
	}
	for _, change := range changes {
		a.printf("%s\n", change)
	}
	return nil
}

func versionNumber(cmd *cobra.Command, s string) (int, error) {
	number, err := strconv.Atoi(s)
	if err != nil || number < 1 {
		return 0, usagef(cmd, "%q is no version: `backstay history` lists them", s)
	}
	return number, nil
}

// when writes a moment.
func (a *app) when(t time.Time) string { return t.In(a.Zone).Format("2006-01-02 15:04:05") }

// person is who types: the user, and not root where sudo says so.
func (a *app) person() string {
	if name := a.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprint("uid ", os.Getuid())
}

// confirm asks a question and goes on only with a yes.
func (a *app) confirm(cmd *cobra.Command, question string) error {
	fmt.Fprintf(a.Out, "%s [y/N] ", question)
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && line == "" {
		a.printf("\n")
		return usagef(cmd, "nobody is there to answer: say --yes")
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return api.Errorf(api.Refused, "nothing was changed")
}
