package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/internal/operate/api"
)

// RecoverOptions is what `backstay cluster recover` was told.
type RecoverOptions struct{ Snapshot, By, Why string }

func (a *app) clusterStatusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how the cluster is: its store, its nodes, and which configuration each of them uses",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			s, err := a.client().ClusterStatus(ctx)
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(s)
			}
			return a.print([]byte(a.clusterText(s)))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// clusterText writes how the cluster is for people.
func (a *app) clusterText(s api.ClusterStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s, profile %s\n", a.style.paint(bold, s.Cluster), s.Profile)
	if s.Problem != "" {
		fmt.Fprintf(&b, "%s\n", a.style.paint(red, s.Problem))
	}
	if len(s.External) > 0 {
		fmt.Fprintf(&b, "store: the etcd at %s\n", strings.Join(s.External, ", "))
	}
	switch v := s.Version; {
	case v.Number > 0:
		fmt.Fprintf(&b, "configuration: version %d, applied by %s %s %s\n", v.Number, v.By, a.when(v.Time), v.Message)
	case s.Problem == "":
		fmt.Fprintf(&b, "configuration: each node goes by its own file; `backstay apply FILE` begins\n")
	}
	b.WriteString("\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tHEARD\tINSTANCES\tCONFIGURATION")
	for _, n := range s.Nodes {
		heard, services := "yes", strings.Join(n.Services, ", ")
		if !n.Heard {
			heard = "no"
		}
		if services == "" {
			services = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Address, heard, services, a.inUse(n.Config))
	}
	_ = w.Flush()
	b.WriteString("\n")
	fmt.Fprintln(w, "STORE\tADDRESS\tROLE\tSIZE\tIN USE\tAPPLIED\tPROBLEM")
	for _, m := range s.Members {
		name, problem := m.Node, m.Problem
		if name == "" {
			name = "(not started)"
		}
		if problem == "" {
			problem = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", name, m.Address, role(m.StoreMember), bytesText(m.Size), bytesText(m.InUse), m.Applied, problem)
	}
	_ = w.Flush()
	if len(s.Recoveries)+len(s.Removed) > 0 {
		b.WriteString("\n")
	}
	for _, r := range s.Recoveries {
		fmt.Fprintf(&b, "recovered by force %s by %s on %s: %s; left out: %s\n", a.when(r.Time), r.By, r.Node, r.Why, strings.Join(r.Lost, ", "))
	}
	for _, r := range s.Removed {
		fmt.Fprintf(&b, "out of the cluster since %s: %s, %s\n", a.when(r.Time), r.Node, r.Why)
	}
	return b.String()
}

// inUse says in a few words which configuration a node uses.
func (a *app) inUse(n api.Answer) string {
	first, _, more := strings.Cut(n.Detail, "\n")
	if more {
		first += " …"
	}
	switch n.State {
	case api.AnswerUses:
		return fmt.Sprintf("version %d", n.Version)
	case api.AnswerRestart:
		return "waits for a restart: " + first
	case api.AnswerError:
		return "error: " + first
	case api.AnswerAway, api.AnswerSilent:
		if n.Version > 0 {
			return fmt.Sprintf("version %d when last heard", n.Version)
		}
		return "unknown"
	}
	return "its file"
}

func role(m api.StoreMember) string {
	switch {
	case m.Leader:
		return "leader"
	case m.Learner:
		return "learner"
	}
	return "member"
}

func bytesText(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func (a *app) leaveCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "leave",
		Short: "Take this node out of the cluster for good, and end it",
		Long: "The node gives up its vote and its part of the store, puts aside what it kept of the cluster, forgets its certificate and\n" +
			"ends. Take it out of all services first, with `backstay apply`, and out of nodes afterwards. Databases on its disk stay.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				if err := a.confirm(cmd, "Take this node out of the cluster for good?"); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			if err := a.client().Leave(ctx); err != nil {
				return err
			}
			a.printf("this node has left the cluster and ends; take it out of nodes with `backstay apply` on another\n")
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (a *app) removeCommand() *cobra.Command {
	var yes bool
	var why string
	c := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a dead node out of the cluster for good",
		Long: "The node's part of the store never starts again. A new machine may take its name and place: `backstay cluster join` there,\n" +
			"and nothing needs to change in the configuration. Else take the node out of it with `backstay apply`.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				if err := a.confirm(cmd, fmt.Sprintf("Take %s out of the cluster for good?", args[0])); err != nil {
					return err
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			if err := a.client().Remove(ctx, api.Removal{Node: args[0], Why: why, By: a.person()}); err != nil {
				return err
			}
			a.printf("%s is out of the cluster. Let a new machine join by its name, or take it out of the configuration with `backstay apply`\n", args[0])
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().StringVar(&why, "why", "removed by hand", "`reason`, for the record")
	return c
}

func (a *app) snapshotCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "snapshot FILE",
		Short: "Save the store to a file",
		Long: "The file holds all that the nodes agreed on: the configuration's versions, who is primary at which epoch, and passwords that\n" +
			"the nodes made. Keep it as you keep those; only its owner may read it. `backstay cluster recover --snapshot FILE` begins anew\n" +
			"with it, and etcd's own tools read it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Minute)
			defer cancel()
			n, err := a.client().Snapshot(ctx, path)
			if err != nil {
				return err
			}
			a.printf("%s: %s\n", path, bytesText(n))
			return nil
		},
	}
}

func (a *app) defragmentCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "defragment",
		Short: "Give the unused space of this node's part of the store back to the disk",
		Long:  "Nodes do so by themselves where it is worth it. One member at a time, which does not serve meanwhile.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Minute)
			defer cancel()
			if err := a.client().Defragment(ctx); err != nil {
				return err
			}
			a.printf("done; `backstay events` says how much it was\n")
			return nil
		},
	}
}

// recoverWarning is what a recovery by force means.
const recoverWarning = `The majority of the store's members is to be given up for good:
  - what they agreed on without this node, or after the snapshot, is lost;
  - they must never run again with what they have: stop them first, and let them join anew;
  - while one of them still runs with others, there are two clusters, and each may have a primary;
  - every service with a primary gets a new epoch and is paused: look who has the newest data, and then unpause it.
`

func (a *app) recoverCommand() *cobra.Command {
	var o RunOptions
	var r RecoverOptions
	var force, yes bool
	c := &cobra.Command{
		Use:   "recover",
		Short: "Make a cluster of one from this node, where the majority is lost for good",
		Long: "For when no majority of the store's members can be brought back. The node must not run. What it has, or a snapshot, becomes\n" +
			"a cluster of its own, in which the others join anew. It is refused while another node answers that is part of a majority.\n" +
			"An audit record stays in the store: `backstay cluster status` shows it.\n\n" + recoverWarning,
		Example: "  backstay cluster recover --force --why 'both other machines burnt' --config shop.yaml --node par-1\n" +
			"  backstay cluster recover --force --why 'the store was lost' --snapshot store.db",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprint(a.Err, recoverWarning)
			if !force {
				return usagef(cmd, "say --force if that is meant")
			}
			if r.Why == "" {
				return usagef(cmd, "say --why, for the record")
			}
			if !yes {
				if err := a.confirm(cmd, "Give the others up for good?"); err != nil {
					return err
				}
			}
			a.place(&o)
			o.Level = "error" // etcd's own talk is of no use here
			r.By = a.person()
			said, err := a.Recover(cmd.Context(), o, r)
			if err == nil {
				a.printf("%s\n", said)
			}
			return err
		},
	}
	a.placed(c, &o)
	c.Flags().BoolVar(&force, "force", false, "accept what it means")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().StringVar(&r.Why, "why", "", "`reason`, for the record")
	c.Flags().StringVar(&r.Snapshot, "snapshot", "", "begin with this `file` instead of what the node has")
	_ = c.MarkFlagFilename("snapshot")
	return c
}
