package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/backstay/backstay/bench/internal/process"
)

// A fault is something that happens to a cluster, and what is done later to make it whole again.
type fault struct {
	name  string
	title string
	needs layout
	links bool // needs links that can be cut
	// prepare brings about what the fault presupposes, before clients work; nil where nothing.
	prepare func(ctx context.Context, r *rig, primary *node) error
	// strike does it. No client can be expected to be served through the nodes that it returns: errors there are not counted.
	strike func(ctx context.Context, r *rig, primary *node) (victims []*node, err error)
	// undo is given the same nodes, some time later; nil where nothing has to be undone.
	undo  func(r *rig, victims []*node) error
	after time.Duration // between them, exactly; where zero, when the system has reacted and there are writes again
}

func signalPID(pid int, s syscall.Signal) error {
	return os.NewSyscallError("kill", syscall.Kill(pid, s))
}

func toPostmaster(s syscall.Signal, all bool) func(context.Context, *rig, *node) ([]*node, error) {
	return func(_ context.Context, _ *rig, p *node) ([]*node, error) {
		pid, err := p.postmaster()
		if err != nil {
			return nil, err
		}
		pids := []int{pid}
		if all {
			pids = process.Descendants(pid)
		}
		for _, pid := range pids {
			if e := signalPID(pid, s); !errors.Is(e, syscall.ESRCH) { // sessions come and go
				err = errors.Join(err, e)
			}
		}
		return nil, err
	}
}

// wake lets every PostgreSQL go on, whichever was stopped.
func wake(r *rig, _ []*node) error {
	for _, n := range r.nodes[:members] {
		if pid, err := n.postmaster(); err == nil {
			for _, d := range process.Descendants(pid) {
				_ = signalPID(d, syscall.SIGCONT)
			}
		}
	}
	return nil
}

func powerOn(r *rig, victims []*node) (err error) {
	for _, v := range victims {
		err = errors.Join(err, r.system.restart(v))
	}
	return err
}

func mend(_ *rig, victims []*node) error {
	for _, v := range victims {
		v.mend()
	}
	return nil
}

func cutPrimary(directions int) func(context.Context, *rig, *node) ([]*node, error) {
	return func(_ context.Context, _ *rig, p *node) ([]*node, error) { return []*node{p}, p.cut(directions) }
}

var faults = []fault{
	{name: "switchover", title: "switchover", strike: func(ctx context.Context, r *rig, p *node) ([]*node, error) {
		return nil, r.system.switchover(ctx, p, r.other(p))
	}},
	{name: "postmaster", title: "postmaster killed", strike: toPostmaster(syscall.SIGKILL, false)},
	{name: "node", title: "primary's machine off (all processes killed)", undo: powerOn, strike: func(_ context.Context, _ *rig, p *node) ([]*node, error) {
		p.powerOff()
		return []*node{p}, nil
	}},
	{name: "link", title: "primary's link cut (silence)", links: true, undo: mend, strike: cutPrimary(inwards | outwards)},
	{name: "link-out", title: "primary is heard no more, but hears", links: true, undo: mend, strike: cutPrimary(outwards)},
	{name: "link-in", title: "primary hears no more, but is heard", links: true, undo: mend, strike: cutPrimary(inwards)},
	{name: "agent", title: "node process killed, PostgreSQL left", undo: powerOn, strike: func(_ context.Context, _ *rig, p *node) ([]*node, error) {
		return []*node{p}, kill(p.agent)
	}},
	{name: "agent-stop", title: "node process hangs (SIGSTOP)", strike: func(_ context.Context, _ *rig, p *node) ([]*node, error) {
		return []*node{p}, signalPID(p.agent, syscall.SIGSTOP)
	}, undo: func(_ *rig, victims []*node) error { return signalPID(victims[0].agent, syscall.SIGCONT) }},
	{name: "postmaster-stop", title: "postmaster hangs (SIGSTOP, with its sessions)", strike: toPostmaster(syscall.SIGSTOP, true), undo: wake},
	{name: "standby", title: "synchronous standby's machine off", undo: powerOn, strike: func(ctx context.Context, r *rig, p *node) ([]*node, error) {
		v, err := r.synchronous(ctx)
		if err != nil {
			return nil, err
		}
		v.powerOff()
		return []*node{v}, nil
	}},
	{name: "standby-link", title: "synchronous standby's link cut (silence)", links: true, undo: mend, strike: func(ctx context.Context, r *rig, p *node) ([]*node, error) {
		v, err := r.synchronous(ctx)
		if err != nil {
			return nil, err
		}
		return []*node{v}, v.cut(inwards | outwards)
	}},
	{name: "standbys", title: "both standbys' machines off, back after 3 s", after: 3 * time.Second, undo: powerOn, strike: func(_ context.Context, r *rig, p *node) ([]*node, error) {
		var victims []*node
		for _, n := range r.nodes[:members] {
			if n != p {
				n.powerOff()
				victims = append(victims, n)
			}
		}
		return victims, nil
	}},
	{name: "store", title: "the whole store away", links: true, undo: func(r *rig, _ []*node) error { return r.system.startStore() },
		strike: func(_ context.Context, r *rig, _ *node) ([]*node, error) { return nil, r.system.stopStore() }},
	{name: "full", title: "primary's disk for PostgreSQL full", needs: layout{disks: true}, undo: makeRoom, strike: func(_ context.Context, _ *rig, p *node) ([]*node, error) {
		return []*node{p}, fill(p.disk)
	}},
	{name: "full-all", title: "all of the primary's disks full, the store's as well", needs: layout{disks: true}, undo: makeRoom, strike: func(_ context.Context, _ *rig, p *node) ([]*node, error) {
		return []*node{p}, errors.Join(fill(p.disk), fill(p.dir))
	}},
	{name: "leader", title: "primary's machine and the one of the store's leader off, of five", needs: layout{witnesses: 2}, prepare: leadElsewhere, undo: powerOn,
		strike: func(_ context.Context, r *rig, p *node) ([]*node, error) {
			leader := r.system.storeLeader()
			if leader == nil {
				return nil, errors.New("the store's leader is not known")
			}
			p.powerOff()
			leader.powerOff()
			if leader == p {
				return []*node{p}, nil
			}
			return []*node{p, leader}, nil
		}},
	{name: "clock-ahead", title: "primary's clock an hour ahead", needs: layout{clocks: true}, after: 8 * time.Second, undo: setClock, strike: moveClock(time.Hour)},
	{name: "clock-behind", title: "primary's clock an hour behind", needs: layout{clocks: true}, after: 8 * time.Second, undo: setClock, strike: moveClock(-time.Hour)},
}

// leadElsewhere has the store led from a node without PostgreSQL, or the primary's own: with two of three members gone nobody could know
// what was acknowledged, and that is another fault. Elections are left to chance.
func leadElsewhere(ctx context.Context, r *rig, p *node) error {
	for range 20 {
		leader := r.system.storeLeader()
		if leader == p || leader != nil && leader.index >= members {
			return nil
		}
		if leader != nil {
			leader.powerOff()
			pause(ctx, time.Second)
			if err := r.system.restart(leader); err != nil {
				return err
			}
		}
		if _, err := r.whole(ctx, 2*time.Minute); err != nil {
			return err
		}
	}
	return errors.New("the store's leader is still on a standby's node after 20 elections")
}

func makeRoom(r *rig, victims []*node) error {
	v := victims[0]
	return errors.Join(empty(v.disk), empty(v.dir), r.system.restart(v)) // as the service manager would
}

// moveClock leaves all doors in the count: nothing is broken.
func moveClock(by time.Duration) func(context.Context, *rig, *node) ([]*node, error) {
	return func(ctx context.Context, r *rig, p *node) ([]*node, error) {
		r.moved = p
		return nil, errors.Join(p.clock.set(by), r.checkClock(ctx, by))
	}
}

func setClock(r *rig, _ []*node) error { return r.moved.clock.set(0) }

// synchronous finds a standby whose confirmations commits wait for.
func (r *rig) synchronous(ctx context.Context) (*node, error) {
	var address string
	if err := r.client.ask(ctx, &address, "SELECT host(client_addr) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum') ORDER BY random() LIMIT 1"); err != nil {
		return nil, fmt.Errorf("find a synchronous standby: %w", err)
	}
	return r.at(address)
}

func (r *rig) findPrimary(ctx context.Context) (*node, error) {
	var address string
	if err := r.client.ask(ctx, &address, "SELECT host(inet_server_addr())"); err != nil {
		return nil, fmt.Errorf("find the primary: %w", err)
	}
	return r.at(address)
}

func (r *rig) at(address string) (*node, error) {
	for _, n := range r.nodes {
		if n.address == address {
			return n, nil
		}
	}
	return nil, fmt.Errorf("nobody has the address %s", address)
}

// other is a member that is not the given one.
func (r *rig) other(than *node) *node { return r.nodes[(than.index+1)%members] }
