package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) cacheCommand() *cobra.Command {
	cache := &cobra.Command{Use: "cache", Short: "What the services' caches have stored"}
	var p api.Purge
	var all bool
	purge := &cobra.Command{
		Use:   "purge [PATTERN]",
		Short: "Make this node forget what its caches have stored",
		Long: "PATTERN says which URLs: a path of any host, or with a host before it. A query belongs to it, and * stands for anything.\n" +
			"Other nodes have caches of their own.",
		Example: "  backstay cache purge '/img/*'\n  backstay cache purge 'shop.example/*' --service shop\n  backstay cache purge --service shop\n  backstay cache purge --all",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				p.Pattern = args[0]
			}
			if p.Pattern == "" && p.Service == "" && !all {
				return &usageError{message: "say what is to be forgotten: a PATTERN, --service NAME, or --all", command: cmd.CommandPath()}
			}
			ctx, cancel := short(cmd.Context())
			defer cancel()
			done, err := a.client().PurgeCaches(ctx, p)
			if err != nil {
				return err
			}
			a.printf("%d forgotten\n", done.Resources)
			return nil
		},
	}
	purge.Flags().StringVar(&p.Service, "service", "", "only the cache of this service")
	purge.Flags().BoolVar(&all, "all", false, "everything in every cache")
	cache.AddCommand(purge)
	return cache
}

// cached says what a service's cache holds.
func cached(c *api.CacheStatus) string {
	text := fmt.Sprintf("%d cached (%s", c.Entries, mebibytes(c.Memory))
	if c.DiskLimit > 0 {
		text += fmt.Sprintf(", %d on disk, %s", c.Files, mebibytes(c.Disk))
	}
	return text + ")"
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
