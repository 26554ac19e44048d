package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Let the node read its configuration again",
		Long: "The node reads its configuration again and applies it without closing a healthy connection. One with mistakes\n" +
			"changes nothing; they are printed.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			r, err := a.client().Reload(ctx)
			if err != nil {
				return err
			}
			if !r.Changed {
				a.printf("configuration %.12s is in force already\n", r.Revision)
				return nil
			}
			a.printf("configuration %.12s applied\n", r.Revision)
			for _, change := range r.Changes {
				a.printf("  %s\n", change)
			}
			return nil
		},
	}
}

func (a *app) drainCommand() *cobra.Command {
	var wait bool
	var timeout durationFlag
	c := &cobra.Command{
		Use:   "drain MEMBER",
		Short: "Take no new work to a member, and let what it has end",
		Long: "MEMBER is SERVICE/MEMBER, or MEMBER alone where that is only one. Clients that stick to the member keep it until\n" +
			"their work ends or the service's drain_timeout is over. `backstay resume` ends the drain.",
		Example:           "  backstay drain --wait shop/10.0.0.1:8080 && systemctl restart shop && backstay resume shop/10.0.0.1:8080",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMembers(func(m api.MemberStatus) bool { return !let(m) }),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := withTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := a.steer(ctx, args[0], (*api.Client).Drain); err != nil {
				return err
			}
			if !wait {
				a.printf("%s gets no new work\n", args[0])
				return nil
			}
			return a.waitDrained(ctx, args[0])
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until nothing is at work on it")
	c.Flags().Var(&timeout, "timeout", "longest `time` to wait; the drain goes on after it (default no bound)")
	c.Flags().Lookup("timeout").DefValue = "" // 0s says less than the words
	return c
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resume MEMBER",
		Short:             "Send work to a drained member again",
		Long:              "MEMBER is SERVICE/MEMBER, or MEMBER alone where that is only one. Its share grows over the service's slow_start.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMembers(let),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.steer(cmd.Context(), args[0], (*api.Client).Resume); err != nil {
				return err
			}
			a.printf("%s gets work again\n", args[0])
			return nil
		},
	}
}

// let says whether a member is let go.
func let(m api.MemberStatus) bool {
	return m.State == api.MemberDraining || m.State == api.MemberDrained
}

func (a *app) steer(ctx context.Context, member string, do func(*api.Client, context.Context, string) error) error {
	ctx, cancel := short(ctx)
	defer cancel()
	return do(a.client(), ctx, member)
}

// waitDrained waits until nothing is at work on the member, or it is gone.
func (a *app) waitDrained(ctx context.Context, member string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	left := int64(-1)
	for {
		s, err := a.client().Status(ctx)
		if err == nil {
			m, found := find(s, member)
			switch {
			case !found || let(m) && m.InFlight == 0:
				a.printf("%s is drained\n", member)
				return nil
			case !let(m):
				return api.Errorf(api.Refused, "%s was resumed by somebody else while it was drained", member)
			}
			left = m.InFlight
		} else if ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%s still has %d at work; it gets no new work, and `backstay status` shows when it is drained: %w",
					member, left, ctx.Err())
			}
			return ctx.Err()
		}
	}
}

// find is the member of this name, with or without its service.
func find(s api.Status, member string) (api.MemberStatus, bool) {
	for _, svc := range s.Services {
		for _, m := range svc.Members {
			if m.ID(svc.Name) == member || m.Name == member {
				return m, true
			}
		}
	}
	return api.MemberStatus{}, false
}
