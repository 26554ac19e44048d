package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON, watch bool
	every := durationFlag(time.Second)
	c := &cobra.Command{
		Use:   "status [SERVICE]",
		Short: "Show the node, its services and who is up, and why",
		Example: "  backstay status\n  backstay status --watch shop\n" +
			"  backstay status --json | jq -r '.services[].members[] | select(.state != \"up\") | .name'",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			show := func(s api.Status) error {
				if len(args) == 1 {
					if err := only(&s, args[0]); err != nil {
						return err
					}
				}
				if asJSON && watch {
					return json.NewEncoder(a.Out).Encode(s)
				}
				if asJSON {
					return a.printJSON(s)
				}
				text := a.style.status(s)
				if watch && a.style.terminal {
					text = clear + text
				}
				return a.print([]byte(text))
			}
			if watch {
				return a.watchStatus(cmd.Context(), every.Duration(), show)
			}
			s, err := a.status(cmd.Context())
			if err != nil {
				return err
			}
			return show(s)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; with --watch, one line for each picture")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing it until ^C")
	c.Flags().Var(&every, "every", "`time` between two pictures with --watch")
	return c
}

func (a *app) status(ctx context.Context) (api.Status, error) {
	ctx, cancel := short(ctx)
	defer cancel()
	return a.client().Status(ctx)
}

// watchStatus shows picture after picture until ctx ends. A node that goes away after the first is waited for.
func (a *app) watchStatus(ctx context.Context, every time.Duration, show func(api.Status) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for seen := false; ; seen = true {
		s, err := a.status(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // ^C is how watching ends
		case err == nil:
			if err := show(s); err != nil {
				return err
			}
		case seen && kind(err, api.Unreachable):
			if a.style.terminal {
				a.printf("%s", clear)
			}
			a.printf("%s\n", err)
		default:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// only leaves one service in the picture.
func only(s *api.Status, name string) error {
	names := make([]string, 0, len(s.Services))
	for _, svc := range s.Services {
		if svc.Name == name {
			s.Services = []api.ServiceStatus{svc}
			s.Listeners = []api.ListenerStatus{}
			return nil
		}
		names = append(names, svc.Name)
	}
	return api.Errorf(api.NotFound, "there is no service %q on node %s: it has %s", name, s.Node, strings.Join(names, ", "))
}

// durationFlag is a flag with a length of time above zero, such as 500ms.
type durationFlag time.Duration

// Duration is the value.
func (d durationFlag) Duration() time.Duration { return time.Duration(d) }

// String implements pflag.Value.
func (d *durationFlag) String() string { return time.Duration(*d).String() }

// Type implements pflag.Value.
func (d *durationFlag) Type() string { return "duration" }

// Set implements pflag.Value.
func (d *durationFlag) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return errors.New("give a length of time with its unit, such as 500ms or 1m30s")
	}
	*d = durationFlag(v)
	return nil
}
