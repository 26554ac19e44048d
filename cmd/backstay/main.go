// Command backstay is high availability in one binary: see `backstay help`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/act/guard"
	"github.com/backstay/backstay/internal/node"
	"github.com/backstay/backstay/internal/operate/cli"
	"github.com/backstay/backstay/internal/operate/demo"
)

// version is set when the binary is linked.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Main(ctx, os.Args[1:], cli.Options{
		Version: version, Run: run, Demo: runDemo, Init: initNode, Join: join, Recover: recoverCluster, Guard: stand,
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv,
	}))
}

func run(ctx context.Context, o cli.RunOptions) error {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	n := options(o)
	n.Reload = reload
	return node.Run(ctx, n)
}

func options(o cli.RunOptions) node.Options {
	return node.Options{Config: o.Config, Name: o.Node, Data: o.Data, Socket: o.Socket, Version: version, Log: cli.Logger(os.Stderr, o)}
}

func initNode(o cli.RunOptions) (string, error) { return node.Init(options(o)) }

func join(ctx context.Context, o cli.RunOptions, j cli.JoinOptions) (string, error) {
	return node.Join(ctx, options(o), j.Token, j.Replace, j.Anew)
}

func recoverCluster(ctx context.Context, o cli.RunOptions, r cli.RecoverOptions) (string, error) {
	return node.Recover(ctx, options(o), node.Recovering(r))
}

func stand(ctx context.Context, o cli.GuardOptions) error {
	return guard.Run(ctx, guard.Options{DataDir: o.DataDir, Lock: o.Lock, Command: o.Command, Orders: o.Orders, Answers: o.Answers})
}

func runDemo(ctx context.Context, o cli.DemoOptions) error {
	d := demo.Options{Keep: o.Keep, Plain: o.Plain, Length: time.Duration(o.Seconds) * time.Second, Listen: o.Listen, Out: os.Stdout}
	if o.Postgres {
		return demo.RunPostgres(ctx, d)
	}
	return demo.Run(ctx, d)
}
