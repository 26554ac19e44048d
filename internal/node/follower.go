package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/cluster/versions"
)

const (
	followAgain = 10 * time.Second // between tries of what could not be done
	tellTime    = 5 * time.Second  // for the store to take an answer
)

// A follower puts the cluster's version of the configuration in force on this node, tries what is asked about, and tells the
// others how that went.
type follower struct {
	s   *stateful
	log versions.Log

	served chan struct{} // closed when the first configuration is in force

	mu     sync.Mutex
	newest *versions.Version // nil: none is known
	answer versions.Answer
	told   versions.Answer // the last that the store took
}

func newFollower(s *stateful) *follower {
	return &follower{s: s, log: versions.Log{Store: s.store}, served: make(chan struct{})}
}

// Newest returns the cluster's newest version as far as this node knows; nil where there is none.
func (f *follower) Newest() *versions.Version {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest
}

// Run follows until ctx ends.
func (f *follower) Run(ctx context.Context) error {
	select {
	case <-f.served:
	case <-ctx.Done():
		return nil
	}
	news, trials := f.log.Watch(ctx), f.log.Trials(ctx)
	again := time.NewTicker(followAgain)
	defer again.Stop()
	for {
		select {
		case v, ok := <-news:
			if !ok {
				return nil
			}
			f.take(v)
		case t, ok := <-trials:
			if !ok {
				return nil
			}
			f.judge(ctx, t)
		case <-f.s.crew.troubled:
			f.settle()
		case <-again.C:
			if v := f.Newest(); v != nil && f.unused() {
				f.take(*v)
			}
		case <-ctx.Done():
			return nil
		}
		f.tell(ctx)
	}
}

// unused says whether the newest version could not be put in force for a reason that may pass.
func (f *follower) unused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answer.Error != "" && !f.answer.Uses
}

// take puts a version in force, or notes why it cannot be.
func (f *follower) take(v versions.Version) {
	f.mu.Lock()
	f.newest = &v
	f.mu.Unlock()
	n := f.s.node
	a := versions.Answer{Node: f.s.self.Name, Version: v.Number}
	var err error
	if now := n.versionInForce(); now == nil || now.ID != v.ID {
		err = n.use(v)
	}
	var restart *needsRestart
	switch {
	case err == nil:
		a.Uses = true
	case errors.As(err, &restart):
		a.Restart = restart.Error()
	default:
		a.Error = err.Error()
	}
	if a.Error == "" { // what only waits for the next start is used there
		if err := writeCopy(n.options.Data, v); err != nil {
			a.Error = fmt.Sprintf("no copy of it can be kept: %v", err)
		}
	}
	f.mu.Lock()
	f.answer = a
	f.mu.Unlock()
	f.settle()
}

// waiting says why the newest version is not in force here; empty where it is.
func (f *follower) waiting() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch a := f.answer; {
	case a.Restart != "":
		return fmt.Sprintf("version %d of the cluster waits for this node to be started again: %s", a.Version, a.Restart)
	case a.Error != "" && !a.Uses:
		return fmt.Sprintf("version %d of the cluster cannot be used here: %s", a.Version, a.Error)
	case a.Error != "":
		return a.Error
	}
	return ""
}

// settle adds to the answer what the version in force asks for and this node cannot run.
func (f *follower) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answer.Uses {
		f.answer.Error = f.s.crew.unable()
	}
}

// judge tries a text and says how it went.
func (f *follower) judge(ctx context.Context, t versions.Trial) {
	v := versions.Verdict{Node: f.s.self.Name, Trial: t.ID}
	l, err := parse(t.Name, []byte(t.Text))
	if err == nil {
		err = f.s.node.try(l)
	}
	var restart *needsRestart
	switch {
	case errors.As(err, &restart):
		v.Restart = restart.Error()
	case err != nil:
		v.Error = err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	if err := f.log.Judge(ctx, v); err != nil {
		f.s.log.Warn("the others were not told of a trial's outcome", "error", err)
	}
}

// tell puts the answer into the store, where it is news.
func (f *follower) tell(ctx context.Context) {
	f.mu.Lock()
	a, told := f.answer, f.told
	f.mu.Unlock()
	if a.Version == 0 || a == told {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	if err := f.log.Answer(ctx, a); err != nil {
		f.s.log.Info("the others were not told of the configuration in use; it is tried again", "error", err)
		return
	}
	f.mu.Lock()
	f.told = a
	f.mu.Unlock()
}

// versionInForce returns the cluster's version that is in force here; nil where a file is.
func (n *Node) versionInForce() *versions.Version {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.version
}

// use puts a version of the cluster in force, or changes nothing and says why.
func (n *Node) use(v versions.Version) error {
	l, err := parseVersion(v)
	if err == nil {
		_, err = n.put(l)
	} else {
		n.refused(title(v), err)
	}
	return err
}

// tellVersion puts on the event log which version the node goes by, and that its file is not used.
func (n *Node) tellVersion(v versions.Version) {
	message := fmt.Sprintf("configuration %s, %s", title(v), credit(v))
	if path := n.options.differing(v); path != "" {
		message += fmt.Sprintf("; %s differs and is not used", path)
	}
	n.events.Append(event.Record{Kind: event.ConfigVersion, Message: message, Fields: map[string]any{"version": v.Number}})
}
