package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// clusterCommands make a cluster and let nodes join it.
func (a *app) clusterCommands() (commands []*cobra.Command) {
	if a.Init != nil {
		commands = append(commands, a.initCommand())
	}
	c := &cobra.Command{Use: "cluster", Short: "Who the cluster consists of, and the store that they keep"}
	c.AddCommand(a.clusterStatusCommand(), a.nodesCommand(), a.inviteCommand(), a.leaveCommand(), a.removeCommand(), a.snapshotCommand(), a.defragmentCommand())
	if a.Join != nil {
		c.AddCommand(a.joinCommand())
	}
	if a.Recover != nil {
		c.AddCommand(a.recoverCommand())
	}
	return append(commands, c)
}

// JoinOptions is what `backstay cluster join` was told.
type JoinOptions struct {
	Token   string
	Replace bool // take the place of a lost node of this name
	Anew    bool // put aside what the node keeps of a cluster
}

// placed adds the flags that say which node is meant.
func (a *app) placed(c *cobra.Command, o *RunOptions) {
	f := c.Flags()
	f.StringVarP(&o.Config, "config", "c", "", "`file` with the configuration (default $BACKSTAY_CONFIG, or "+defaultConfig+")")
	f.StringVar(&o.Node, "node", "", "`name` of this node among the configuration's nodes (default the host name)")
	f.StringVar(&o.Data, "data", "", "`folder` for what is kept between runs (default $BACKSTAY_DATA, /var/lib/backstay for root, or backstay in $XDG_STATE_HOME)")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	_ = c.MarkFlagDirname("data")
}

func (a *app) initCommand() *cobra.Command {
	var o RunOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Make this node the first of a cluster",
		Long: "Makes the cluster's certificate authority and this node's certificate in the data folder. Services with an engine\n" +
			"need it, once, on the first node. The other nodes join: see `backstay cluster invite`.",
		Example: "  backstay init --config shop.yaml --node par-1 && backstay run --config shop.yaml --node par-1",
		Args:    cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			a.place(&o)
			said, err := a.Init(o)
			if err == nil {
				a.printf("%s\n", said)
			}
			return err
		},
	}
	a.placed(c, &o)
	return c
}

func (a *app) joinCommand() *cobra.Command {
	var o RunOptions
	var j JoinOptions
	c := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Get this node its certificate from the cluster that the token names",
		Long: "The token comes from `backstay cluster invite` on a node that runs. It is good once. Nothing is sent before the other\n" +
			"side has proven to be of the cluster that the token names.",
		Example: "  backstay cluster join backstay.x7k2.… --config shop.yaml --node par-2 && backstay run --config shop.yaml --node par-2",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.place(&o)
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			j.Token = args[0]
			said, err := a.Join(ctx, o, j)
			if err == nil {
				a.printf("%s\n", said)
			}
			return err
		},
	}
	a.placed(c, &o)
	c.Flags().BoolVar(&j.Replace, "replace", false, "take the place of a node of this name that is lost for good")
	c.Flags().BoolVar(&j.Anew, "anew", false, "put aside what this node keeps of a cluster that it was in: its part of the store and its certificate, never databases")
	return c
}

func (a *app) inviteCommand() *cobra.Command {
	var node string
	var ttl durationFlag
	c := &cobra.Command{
		Use:   "invite",
		Short: "Make a token by which one node can join",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := short(cmd.Context())
			defer cancel()
			token, err := a.client().Invite(ctx, node, time.Duration(ttl))
			if err == nil {
				a.printf("%s\n", token)
			}
			return err
		},
	}
	c.Flags().StringVar(&node, "for", "", "`name` of the only node that may use it")
	c.Flags().Var(&ttl, "ttl", "how long it is good for (default 1h)")
	return c
}

func (a *app) nodesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "members",
		Aliases: []string{"nodes"},
		Short:   "List the nodes that keep the store",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := short(cmd.Context())
			defer cancel()
			nodes, err := a.client().Nodes(ctx)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NODE\tADDRESS\tROLE")
			for _, n := range nodes {
				role := "member"
				switch {
				case n.Leader:
					role = "leader"
				case n.Learner:
					role = "learner"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", n.Node, n.Address, role)
			}
			return w.Flush()
		},
	}
}

// statefulCommands steer services with an engine.
func (a *app) statefulCommands() []*cobra.Command {
	commands := []*cobra.Command{
		a.explainCommand(),
		a.replayCommand(),
		a.wishCommand("switchover SERVICE", "switchover", "Move the primary of a service without losing a write", false),
		a.wishCommand("failover SERVICE", "failover", "Promote what is left of a service, although acknowledged writes may be lost", true),
		a.reinitCommand(),
		a.pauseCommand("pause SERVICE", "Take the automatic hand away from a service", true),
		a.pauseCommand("unpause SERVICE", "Give the automatic hand back", false),
	}
	if a.Guard != nil {
		commands = append(commands, a.guardCommand())
	}
	return commands
}

// GuardOptions are what a guard process is told.
type GuardOptions struct {
	DataDir, Lock string
	Command       []string
	Orders        io.Reader
	Answers       io.Writer
}

// guardCommand is the process beside a node that stops its database where the node cannot.
func (a *app) guardCommand() *cobra.Command {
	o := GuardOptions{Orders: a.In, Answers: a.Out}
	c := &cobra.Command{
		Use: "guard", Hidden: true,
		RunE: func(cmd *cobra.Command, command []string) error {
			o.Command = command
			return a.Guard(context.WithoutCancel(cmd.Context()), o)
		},
	}
	c.Flags().StringVar(&o.Lock, "lock", "", "the file that is locked by whoever looks after the instance")
	c.Flags().StringVar(&o.DataDir, "data-dir", "", "the data directory of PostgreSQL or Redis; or a command that stops the instance, behind --")
	return c
}
