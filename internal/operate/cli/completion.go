package cli

import (
	"context"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.printf("backstay %s (%s, %s/%s)\n", a.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	shells := map[string]func(root *cobra.Command) error{
		"bash": func(root *cobra.Command) error { return root.GenBashCompletionV2(a.Out, true) },
		"zsh":  func(root *cobra.Command) error { return root.GenZshCompletion(a.Out) },
		"fish": func(root *cobra.Command) error { return root.GenFishCompletion(a.Out, true) },
	}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes commands, and names of services and members",
		Example: "  source <(backstay completion bash)\n" +
			"  backstay completion bash > /etc/bash_completion.d/backstay\n" +
			"  backstay completion zsh > \"${fpath[1]}/_backstay\"\n" +
			"  backstay completion fish > ~/.config/fish/completions/backstay.fish",
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"bash", "zsh", "fish"},
		DisableFlagsInUseLine: true,
		RunE:                  func(cmd *cobra.Command, args []string) error { return shells[args[0]](cmd.Root()) },
	}
}

// snapshot asks the node what there is, for completion: quickly or not at all.
func (a *app) snapshot(ctx context.Context) api.Status {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	s, _ := a.client().Status(ctx) // nothing to complete where no node answers
	return s
}

func (a *app) completeServices(cmd *cobra.Command, args []string, typed string) (names []string, _ cobra.ShellCompDirective) {
	s := a.snapshot(cmd.Context())
	for _, svc := range s.Services {
		if len(args) == 0 && strings.HasPrefix(svc.Name, typed) {
			names = append(names, cobra.CompletionWithDesc(svc.Name, string(svc.State)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeMembers completes SERVICE/MEMBER of those members that fit.
func (a *app) completeMembers(fits func(api.MemberStatus) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) (names []string, _ cobra.ShellCompDirective) {
		s := a.snapshot(cmd.Context())
		for _, svc := range s.Services {
			for _, m := range svc.Members {
				if id := m.ID(svc.Name); len(args) == 0 && fits(m) && strings.HasPrefix(id, typed) {
					names = append(names, cobra.CompletionWithDesc(id, string(m.State)))
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
