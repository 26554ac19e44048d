package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

func (a *app) restartCommand() *cobra.Command {
	var node string
	var rolling, pending bool
	timeout := durationFlag(10 * time.Minute)
	c := &cobra.Command{
		Use:   "restart [SERVICE]",
		Short: "Start instances again, such as for settings that need it",
		Long: "With --rolling, one instance after the other: the standbys first, each until it follows again, then the primary, once a\n" +
			"standby has taken over from it by a switchover. With --node, that one alone. With neither, nothing is done but to say which\n" +
			"instances have settings that need it.",
		Example:           "  backstay pg restart db\n  backstay pg restart db --rolling --pending",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout.Duration())
			defer cancel()
			r := restart{app: a}
			if len(args) > 0 {
				r.service = args[0]
			}
			s, err := r.look(ctx)
			if err != nil {
				return err
			}
			switch {
			case node != "" && (rolling || pending):
				return usagef(cmd, "--node is for one instance, --rolling for all: give one of them")
			case node != "":
				return r.one(ctx, node)
			case rolling:
				return r.all(ctx, s, pending)
			}
			return r.tell(s)
		},
	}
	f := c.Flags()
	f.StringVar(&node, "node", "", "`name` of the node whose instance is meant")
	f.BoolVar(&rolling, "rolling", false, "all instances, one after the other")
	f.BoolVar(&pending, "pending", false, "with --rolling: only those with settings that need it")
	f.Var(&timeout, "timeout", "longest `time` to wait")
	return c
}

// restart is instances of one service being started again.
type restart struct {
	*app
	service string
}

// look finds the service.
func (r *restart) look(ctx context.Context) (api.ServiceStatus, error) {
	s, err := r.status(ctx)
	if err != nil {
		return api.ServiceStatus{}, err
	}
	var all []string
	var found api.ServiceStatus
	for _, svc := range s.Services {
		if len(svc.Instances) > 0 && (r.service == "" || svc.Name == r.service) {
			all, found = append(all, svc.Name), svc
		}
	}
	switch {
	case len(all) > 1:
		return found, api.Errorf(api.Ambiguous, "several services have an engine; say which: %s", strings.Join(all, ", "))
	case len(all) == 0 && r.service == "":
		return found, api.Errorf(api.NotFound, "no service of node %s has an engine", s.Node)
	case len(all) == 0:
		return found, api.Errorf(api.NotFound, "node %s has no service %q with an engine", s.Node, r.service)
	}
	r.service = found.Name
	return found, nil
}

// tell says which instances have settings that need a restart.
func (r *restart) tell(s api.ServiceStatus) error {
	any := false
	for _, i := range s.Instances {
		if len(i.PendingRestart) > 0 {
			any = true
			r.printf("%s (%s): %s\n", i.Node, i.Role, strings.Join(i.PendingRestart, ", "))
		}
	}
	if !any {
		r.printf("no setting of %s needs a restart\n", s.Name)
		return nil
	}
	r.printf("`backstay pg restart %s --rolling --pending` starts them again, one after the other\n", s.Name)
	return nil
}

// all restarts standbys first, in their order, and who is primary then last.
func (r *restart) all(ctx context.Context, s api.ServiceStatus, pending bool) error {
	var left []string
	for _, i := range s.Instances {
		if !pending || len(i.PendingRestart) > 0 {
			left = append(left, i.Node)
		}
	}
	if len(left) == 0 {
		return r.tell(s)
	}
	for len(left) > 0 {
		s, err := r.look(ctx)
		if err != nil {
			return err
		}
		next := slices.IndexFunc(left, func(n string) bool { return instance(s, n).Role != "primary" })
		next = max(next, 0)
		if err := r.one(ctx, left[next]); err != nil {
			return fmt.Errorf("%w; not restarted: %s", err, strings.Join(left, ", "))
		}
		left = slices.Delete(left, next, next+1)
	}
	return nil
}

// one restarts an instance, and waits until it is as useful as before.
func (r *restart) one(ctx context.Context, node string) error {
	s, err := r.look(ctx)
	if err != nil {
		return err
	}
	before := instance(s, node)
	switch {
	case before.Node == "":
		return api.Errorf(api.NotFound, "%s has no instance on %q", s.Name, node)
	case before.Role != "primary" && before.Role != "standby":
		return api.Errorf(api.Refused, "%s does not run on %s: it is %s", s.Name, node, before.Role)
	case s.Asked != "":
		return api.Errorf(api.Refused, "%s is under way for %s: wait until it is done", s.Asked, s.Name)
	}
	if len(before.PendingRestart) > 0 {
		r.printf("%s is restarted for %s\n", node, strings.Join(before.PendingRestart, ", "))
	} else {
		r.printf("%s is restarted\n", node)
	}
	if err := r.client().Wish(ctx, api.Wish{Service: s.Name, Kind: "restart", To: node}); err != nil {
		return err
	}
	asked := time.Now()
	for {
		s, err := r.look(ctx)
		now := instance(s, node)
		anew := err == nil && now.Started.After(before.Started)
		switch {
		case anew && s.Asked == "" && (now.Role == "primary" || now.Role == "standby" && now.Streaming):
			if before.Role == "primary" && now.Role != "primary" {
				r.printf("%s is restarted, and a standby now\n", node)
			}
			return nil
		case err == nil && s.Asked == "" && !anew && time.Since(asked) > 15*time.Second:
			return api.Errorf(api.Refused, "the restart of %s was refused, or had no effect: `backstay events` says why", node)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("the restart of %s goes on, but was not seen to end in time; `backstay explain %s` says how it goes: %w", node, s.Name, ctx.Err())
			}
			return ctx.Err()
		}
	}
}

func instance(s api.ServiceStatus, node string) api.InstanceStatus {
	for _, i := range s.Instances {
		if i.Node == node {
			return i
		}
	}
	return api.InstanceStatus{}
}
