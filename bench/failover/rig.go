package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// rig is a cluster of one system with its machines and a client, for one layout.
type rig struct {
	entrant entrant
	layout  layout
	system  system
	net     *network
	nodes   []*node // with PostgreSQL first
	client  *client
	regs    *registers
	moved   *node // whose clock a fault has moved
	ended   time.Time
	dir     string
	out     io.Writer
	o       *options
}

func newRig(ctx context.Context, o *options, e entrant, l layout, out io.Writer) (r *rig, err error) {
	r = &rig{entrant: e, layout: l, o: o, out: out}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.dir, err = os.MkdirTemp(o.dir, "bench-"+e.name+"-"); err != nil {
		return r, err
	}
	if err := os.Chmod(r.dir, 0o755); err != nil { // PostgreSQL's user passes through
		return r, err
	}
	if r.net, err = newNetwork(o.loopback); err != nil {
		return r, fmt.Errorf("no network namespaces here (-loopback does without): %w", err)
	}
	if err := r.machines(); err != nil {
		return r, err
	}
	if r.system, err = e.make(o, r.nodes, l); err != nil {
		return r, err
	}
	var doors []door
	for _, n := range r.nodes[:members] {
		doors = append(doors, door{n.name, fmt.Sprintf("%s:%d", n.address, r.system.traits().door)})
	}
	from, err := r.net.machine("client", len(r.nodes)+1)
	if err != nil {
		return r, err
	}
	r.client = newClient(from, doors, o.crew)
	began := time.Now()
	if err := r.system.start(ctx); err != nil {
		return r, err
	}
	if err := r.client.forget(ctx); err != nil {
		return r, err
	}
	if _, err := r.whole(ctx, 5*time.Minute); err != nil {
		return r, err
	}
	fmt.Fprintf(out, "%s, %s: whole after %.1f s\n", e.title, l, time.Since(began).Seconds())
	if o.register {
		if err := r.client.ask(ctx, nil, createRegisters); err != nil {
			return r, err
		}
		r.regs = startRegisters(r.client)
	}
	return r, nil
}

// machines makes the nodes with all that the layout wants of them.
func (r *rig) machines() error {
	for i := range members + r.layout.witnesses {
		m, err := r.net.machine(fmt.Sprintf("n%d", i+1), i+1)
		if err != nil {
			return err
		}
		n := &node{machine: m, dir: filepath.Join(r.dir, m.name), index: i}
		n.disk = filepath.Join(n.dir, "db")
		r.nodes = append(r.nodes, n)
		if err := os.Mkdir(n.dir, 0o755); err != nil {
			return err
		}
		if r.layout.clocks {
			if n.clock, err = newClock(n.dir + ".clock"); err != nil {
				return err
			}
		}
		if r.layout.disks {
			if err := errors.Join(mount(n.dir, n.dir+".img", nodeDisk), mount(n.disk, n.dir+".db.img", dataDisk)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rig) close() {
	if r.client != nil {
		r.client.halt()
	}
	var all []*machine
	for _, n := range r.nodes {
		all = append(all, n.machine)
	}
	if r.client != nil {
		all = append(all, r.client.from)
	}
	if r.net != nil {
		r.net.close(all...)
	}
	if r.layout.clocks && len(r.nodes) > 0 {
		r.nodes[0].clock.sweep()
	}
	if r.layout.disks {
		for _, n := range r.nodes {
			unmount(n.disk)
			unmount(n.dir)
		}
	}
	if r.o.keep {
		fmt.Fprintln(r.out, "logs and data are in", r.dir)
		return
	}
	_ = os.RemoveAll(r.dir)
}

// whole waits until all standbys stream, as many as should be are synchronous, and every door leads to the primary.
func (r *rig) whole(ctx context.Context, d time.Duration) (time.Duration, error) {
	began := time.Now()
	want := r.system.traits().inLine
	err := until(ctx, d, func() error {
		var n, in int
		if err := r.client.ask(ctx, &n, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"); err != nil {
			return err
		}
		if err := r.client.ask(ctx, &in, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state <> 'async'"); err != nil {
			return err
		}
		if n < members-1 || in < want {
			return fmt.Errorf("%d of %d standbys stream, %d of %d count for commits", n, members-1, in, want)
		}
		for _, door := range r.client.doors {
			var standby bool
			if err := r.client.askAt(ctx, door, &standby, "SELECT pg_is_in_recovery()"); err != nil {
				return err
			}
			if standby {
				return fmt.Errorf("%s leads to a standby", door.node)
			}
		}
		return r.system.settled(ctx)
	})
	if err != nil {
		err = fmt.Errorf("redundancy is not whole %w\n%s", err, r.system.explain())
	}
	return time.Since(began), err
}

// round lets a fault happen once to a cluster that is whole, and leaves it whole.
func (r *rig) round(ctx context.Context, f fault) (res result, err error) {
	res = result{System: r.entrant.name, Fault: f.name, Load: load()}
	pause(ctx, r.o.settle-time.Since(r.ended)) // past the hold-down
	defer func() { r.ended = time.Now() }()
	primary, err := r.findPrimary(ctx)
	if err != nil {
		return res, err
	}
	if f.prepare != nil {
		if err := f.prepare(ctx, r, primary); err != nil {
			return res, err
		}
	}
	defer r.client.halt()
	if err := r.client.start(ctx); err != nil {
		return res, err
	}
	began := time.Now()
	res.At = began
	victims, err := f.strike(ctx, r, primary)
	if err != nil {
		return res, err
	}
	wholeFrom := began
	if f.undo == nil {
		r.resumed(ctx, began, time.Second)
	} else {
		if f.after > 0 {
			pause(ctx, time.Until(began.Add(f.after)))
		} else {
			res.Stuck = !r.resumed(ctx, began, r.system.traits().reaction)
		}
		wholeFrom = time.Now()
		if err := f.undo(r, victims); err != nil {
			return res, err
		}
	}
	if _, err := r.whole(ctx, r.system.traits().recovery); err != nil {
		res.Difficulty = err.Error()
	}
	res.Whole = time.Since(wholeFrom).Seconds()
	if !r.resumed(ctx, time.Now(), time.Second/2) && res.Difficulty == "" {
		res.Difficulty = "no writes although it is whole"
	}
	end := time.Now()
	r.client.halt()
	acks, failures := r.client.told(began.Add(-time.Second))
	res.Gap, res.Acked, res.Two = gap(acks, end).Seconds(), len(acks), max(0, two(acks).Seconds())
	r.count(&res, failures, victims)
	if after, e := r.findPrimary(ctx); e == nil {
		res.Moved = after != primary
	}
	res.LostFrom, res.Extra, err = r.client.verify(ctx)
	for _, n := range res.LostFrom {
		res.Lost += n
	}
	return res, err
}

// resumed waits until some time has passed and there are writes after that, or for as long as the system's patience goes.
func (r *rig) resumed(ctx context.Context, from time.Time, at time.Duration) bool {
	const steady = 300 * time.Millisecond
	for ctx.Err() == nil && time.Since(from) < r.system.traits().patience {
		pause(ctx, 50*time.Millisecond)
		if time.Since(from) < at {
			continue
		}
		acks, _ := r.client.told(time.Now().Add(-steady))
		if len(acks) > 0 && acks[0].at.Before(time.Now().Add(-steady/2)) {
			return true
		}
	}
	return false
}

// count splits the errors by what clients were about. Doors on nodes that the fault has taken are left out.
func (r *rig) count(res *result, failures []failure, victims []*node) {
	taken := map[string]bool{}
	for _, v := range victims {
		taken[v.name] = true
	}
	for _, x := range failures {
		if r.o.verbose {
			fmt.Fprintf(r.out, "    %s %s through %s: %s\n", x.at.Format("05.000"), x.what, x.via, briefly(x.err))
		}
		if taken[x.via] {
			continue
		}
		switch x.what {
		case opening:
			res.New++
		case idling:
			res.Idle++
		case atWork:
			res.Work++
		}
	}
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	for _, d := range r.client.doors {
		if !taken[d.node] {
			res.NewWait = max(res.NewWait, r.client.slowest[d.node].Seconds())
			res.NewOf += r.client.opened[d.node]
			res.IdleOf += r.client.resting[d.node]
		}
	}
}

func load() (l float64) {
	text, _ := os.ReadFile("/proc/loadavg")
	_, _ = fmt.Sscan(string(text), &l)
	return l
}
