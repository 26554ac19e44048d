package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A fault is something that happens to a cluster, and what is done later to make it whole again.
type fault struct {
	name  string
	title string
	// strike does it; victim is the node that no client can be expected to be served through, if any.
	strike func(r *rig, primary *node) (victim *node, err error)
	// repair undoes it, some seconds later.
	repair func(r *rig, victim *node) error
	after  time.Duration // between them; 3 s where not given
	links  bool          // needs links that can be cut
	five   bool          // needs five nodes to keep a majority
	both   bool          // has stopped both standbys
}

func signalPID(pid int, s syscall.Signal) error {
	return os.NewSyscallError("kill", syscall.Kill(pid, s))
}

func toPostmaster(s syscall.Signal) func(*rig, *node) (*node, error) {
	return func(_ *rig, p *node) (*node, error) {
		pid, err := p.postmaster()
		if err != nil {
			return nil, err
		}
		return nil, signalPID(pid, s)
	}
}

func nothing(*rig, *node) error { return nil }

func powered(r *rig, v *node) error { return r.system.restart(v) }

func mended(_ *rig, v *node) error { v.mend(); return nil }

var faults = []fault{
	{name: "switchover", title: "switchover", repair: nothing, strike: func(r *rig, p *node) (*node, error) {
		return nil, r.system.switchover(p, r.other(p))
	}},
	{name: "postmaster", title: "postmaster killed", strike: toPostmaster(syscall.SIGKILL), repair: nothing},
	{name: "node", title: "primary's machine off (all processes killed)", repair: powered, strike: func(_ *rig, p *node) (*node, error) {
		p.powerOff()
		return p, nil
	}},
	{name: "link", title: "primary's link cut (silence)", links: true, repair: mended, after: 5 * time.Second, strike: func(_ *rig, p *node) (*node, error) {
		return p, p.cut(inwards | outwards)
	}},
	{name: "link-out", title: "primary is heard no more, but hears", links: true, repair: mended, after: 5 * time.Second, strike: func(_ *rig, p *node) (*node, error) {
		return p, p.cut(outwards)
	}},
	{name: "link-in", title: "primary hears no more, but is heard", links: true, repair: mended, after: 5 * time.Second, strike: func(_ *rig, p *node) (*node, error) {
		return p, p.cut(inwards)
	}},
	{name: "agent", title: "node process killed, PostgreSQL left", repair: powered, strike: func(_ *rig, p *node) (*node, error) {
		return p, signalPID(p.agent, syscall.SIGKILL)
	}},
	{name: "agent-stop", title: "node process hangs (SIGSTOP)", after: 5 * time.Second, strike: func(_ *rig, p *node) (*node, error) {
		return p, signalPID(p.agent, syscall.SIGSTOP)
	}, repair: func(_ *rig, v *node) error { return signalPID(v.agent, syscall.SIGCONT) }},
	{name: "postmaster-stop", title: "postmaster hangs (SIGSTOP, with its sessions)", after: 5 * time.Second, strike: func(_ *rig, p *node) (*node, error) {
		pid, err := p.postmaster()
		if err != nil {
			return nil, err
		}
		for _, d := range descendants(pid) {
			err = errors.Join(err, signalPID(d, syscall.SIGSTOP))
		}
		return nil, err
	}, repair: func(r *rig, _ *node) error {
		for _, n := range r.nodes {
			if pid, err := n.postmaster(); err == nil {
				for _, d := range descendants(pid) {
					_ = signalPID(d, syscall.SIGCONT)
				}
			}
		}
		return nil
	}},
	{name: "standby", title: "standby's machine off", repair: powered, strike: func(r *rig, p *node) (*node, error) {
		v := r.other(p)
		v.powerOff()
		return v, nil
	}},
	{name: "standby-link", title: "standby's link cut (silence)", links: true, repair: mended, after: 5 * time.Second, strike: func(r *rig, p *node) (*node, error) {
		v := r.other(p)
		return v, v.cut(inwards | outwards)
	}},
	{name: "standbys", title: "both standbys' machines off, one back after 3 s", both: true, repair: powered, strike: func(r *rig, p *node) (*node, error) {
		for _, n := range r.nodes[:members] {
			if n != p {
				n.powerOff()
				if n != r.other(p) {
					r.second = n
				}
			}
		}
		return r.other(p), nil
	}},
	{name: "leader", title: "primary's machine and the one of the store's leader off", five: true, strike: func(r *rig, p *node) (*node, error) {
		leader := r.system.storeLeader()
		if leader == nil {
			return nil, errSkip("the store's leader is not known")
		}
		r.second = leader
		p.powerOff()
		leader.powerOff()
		return p, nil
	}, repair: func(r *rig, v *node) error {
		if r.second == v {
			return powered(r, v)
		}
		return errors.Join(powered(r, v), powered(r, r.second))
	}},
	{name: "store", title: "the store's members cut off from each other and from nodes", links: true, after: 6 * time.Second, strike: func(r *rig, _ *node) (*node, error) {
		return nil, r.cutStore("add")
	}, repair: func(r *rig, _ *node) error { return r.cutStore("del") }},
	{name: "full", title: "primary's disk full", strike: fillDisk, repair: func(r *rig, v *node) error {
		err := os.Remove(filepath.Join(v.dir, "db", "filler"))
		if signalPID(v.agent, 0) != nil { // as the service manager would
			err = errors.Join(err, powered(r, v))
		}
		return err
	}, after: 5 * time.Second},
}

// cutStore has packets of the store's ports vanish on every node, and no others.
func (r *rig) cutStore(verb string) error {
	var err error
	for _, n := range r.nodes {
		for _, end := range []string{"dport", "sport"} {
			for _, port := range []string{"7401", "7402"} {
				err = errors.Join(err, ip(fmt.Sprintf("-n %s rule %s pref 1 ipproto tcp %s %s blackhole", r.net.space(n.name), verb, end, port)))
			}
		}
	}
	return err
}

// fillDisk takes all the space of a node's file system, where that is one of its own.
func fillDisk(_ *rig, p *node) (*node, error) {
	var fs, up syscall.Statfs_t
	if err := errors.Join(syscall.Statfs(p.dir, &fs), syscall.Statfs(filepath.Dir(p.dir), &up)); err != nil {
		return nil, err
	}
	if fs.Fsid == up.Fsid {
		return nil, errSkip("the data folders have no file system of their own: use -tmpfs")
	}
	f, err := os.Create(filepath.Join(p.dir, "db", "filler"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, err
	}
	return p, nil
}

// errSkip says why a fault cannot be tried here.
type errSkip string

func (e errSkip) Error() string { return string(e) }

func (r *rig) findPrimary(ctx context.Context) (*node, error) {
	var address string
	if err := r.client.ask(ctx, &address, "SELECT host(inet_server_addr())"); err != nil {
		return nil, err
	}
	for _, n := range r.nodes {
		if n.address == address {
			return n, nil
		}
	}
	return nil, fmt.Errorf("nobody has the address %s", address)
}
