package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/decide/failover"
	"github.com/backstay/backstay/internal/operate/api"
)

// waiting is how a command waits for what it asked for.
type waiting struct {
	not     bool
	timeout durationFlag
}

func (w *waiting) flags(c *cobra.Command) {
	w.timeout = durationFlag(2 * time.Minute)
	c.Flags().BoolVar(&w.not, "no-wait", false, "do not wait for the outcome")
	c.Flags().Var(&w.timeout, "timeout", "longest `time` to wait; what was asked for stays asked for")
}

func (a *app) wishCommand(use, kind, what string, force bool) *cobra.Command {
	var to string
	var sure bool
	var w waiting
	c := &cobra.Command{
		Use: use, Short: what, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeServices,
		Long: "Waits until it is done and says how it goes. The exit code is 0 when it is done, 5 where it was refused and nothing was\n" +
			"changed, 6 where it was not done in time, 1 where it was tried and came out otherwise.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if force && !sure {
				return usagef(cmd, "acknowledged writes may be lost: say --force if that is meant. `backstay explain %s` says what is missing", args[0])
			}
			return a.wish(cmd.Context(), api.Wish{Service: args[0], Kind: kind, To: to}, w)
		},
	}
	c.Flags().StringVar(&to, "to", "", "`node` that becomes the primary (default the best standby)")
	if force {
		c.Flags().BoolVar(&sure, "force", false, "accept that acknowledged writes may be lost")
	}
	w.flags(c)
	return c
}

func (a *app) reinitCommand() *cobra.Command {
	var w waiting
	c := &cobra.Command{
		Use: "reinit SERVICE NODE", Short: "Throw a standby's data away and copy it anew", Args: cobra.ExactArgs(2),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.wish(cmd.Context(), api.Wish{Service: args[0], Kind: failover.WishReinit, To: args[1]}, w)
		},
	}
	w.flags(c)
	w.timeout = durationFlag(24 * time.Hour) // a copy takes as long as it takes
	c.Flags().Lookup("timeout").DefValue = w.timeout.String()
	return c
}

// wish asks for something and waits for its answer.
func (a *app) wish(ctx context.Context, wish api.Wish, w waiting) error {
	wish.ID = rand.Text()[:8]
	asking, cancel := short(ctx)
	defer cancel()
	if err := a.client().Wish(asking, wish); err != nil {
		return err
	}
	if w.not {
		a.printf("%s of %s is asked for; `backstay explain %s` says how it goes\n", wish.Kind, wish.Service, wish.Service)
		return nil
	}
	told := &steps{done: map[string]bool{}}
	return a.until(ctx, wish.Kind+" of "+wish.Service, wish.Service, w.timeout, func(e failover.Explanation) (bool, error) {
		a.progress(e, told)
		for _, answer := range e.Answers {
			if answer.Wish.ID != wish.ID {
				continue
			}
			switch answer.Outcome {
			case failover.Fulfilled:
				a.last(e, told)
				a.printf("done: %s\n", answer.Text)
				return true, nil
			case failover.Refused:
				return true, api.Errorf(api.Refused, "%s of %s was refused: %s", wish.Kind, wish.Service, answer.Text)
			}
			return true, fmt.Errorf("%s of %s came out otherwise: %s", wish.Kind, wish.Service, answer.Text)
		}
		return false, nil
	})
}

// steps are those of a plan that people were told of.
type steps struct {
	plan string
	done map[string]bool
}

// progress prints the steps that were done since the last time.
func (a *app) progress(e failover.Explanation, told *steps) {
	p := e.Plan
	if p == nil || p.Kind == failover.PlanSync {
		return
	}
	told.plan = p.ID
	for i, t := range p.Tasks {
		key := fmt.Sprint(p.ID, i, t.Kind)
		if !t.Done || told.done[key] {
			continue
		}
		told.done[key] = true
		what := string(t.Kind)
		if t.Node != "" {
			what += " on " + t.Node
		}
		a.step(t.At.Sub(p.Created), what)
	}
}

// last prints how the plan ended: it is gone from the record by then, and its proof is there.
func (a *app) last(e failover.Explanation, told *steps) {
	for _, p := range e.History {
		if p.ID != told.plan {
			continue
		}
		for _, what := range []string{"promoted", "granted"} {
			if at, ok := p.Times[what]; ok {
				a.step(at.Sub(p.Times["began"]), p.To+" "+what)
			}
		}
	}
}

func (a *app) step(after time.Duration, what string) {
	a.printf("  %8s  %s\n", after.Round(time.Millisecond), what)
}

// until looks again and again what is thought of a service, until what is waited for is there.
func (a *app) until(ctx context.Context, what, service string, timeout durationFlag, look func(failover.Explanation) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout.Duration())
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		e, err := a.client().Explain(ctx, service)
		if err == nil {
			if over, err := look(e.Explanation); over {
				return err
			}
		} else if ctx.Err() == nil {
			return fmt.Errorf("%s was asked for, but its outcome cannot be seen: %w", what, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("%s was not seen to end in %v and may still come; `backstay explain %s` says how it goes: %w", what, timeout.Duration(), service, ctx.Err())
			}
			return ctx.Err()
		}
	}
}

func (a *app) pauseCommand(use, what string, paused bool) *cobra.Command {
	var w waiting
	c := &cobra.Command{
		Use: use, Short: what, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeServices,
		Long: "Waits until every node that is heard knows.",
		RunE: func(cmd *cobra.Command, args []string) error {
			asking, cancel := short(cmd.Context())
			defer cancel()
			if err := a.client().Pause(asking, args[0], paused); err != nil || w.not {
				return err
			}
			state := map[bool]string{true: "paused: nothing is done automatically", false: "looked after automatically"}[paused]
			return a.until(cmd.Context(), cmd.Name()+" of "+args[0], args[0], w.timeout, func(e failover.Explanation) (bool, error) {
				for _, n := range e.Nodes {
					if n.Heard && (n.Revision < e.Revision || e.Revision == 0) {
						return false, nil
					}
				}
				if e.Paused != paused {
					return false, nil
				}
				a.printf("%s is %s\n", args[0], state)
				return true, nil
			})
		},
	}
	w.flags(c)
	return c
}
