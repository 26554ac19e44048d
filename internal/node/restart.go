package node

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/act/postgres"
	"github.com/backstay/backstay/internal/base/config"
)

// A needsRestart says what of a configuration a node can only take in when it starts.
type needsRestart struct{ what []string }

func (e *needsRestart) Error() string {
	return fmt.Sprintf("%s cannot change while the node runs: the change is taken in when the node is started again", strings.Join(e.what, ", "))
}

// compatible says what of a configuration this node could not take in while it runs: an error where it never could, a
// *needsRestart where it could by starting again.
func (n *Node) compatible(c *config.Config) error {
	snap := n.snapshot.Load()
	if snap == nil {
		return nil // it starts with it
	}
	if n.stateful == nil {
		if len(c.Engines()) > 0 {
			return fmt.Errorf("%s is a service with an engine, which needs a cluster: stop this node, then `backstay init` on the first node, "+
				"`backstay cluster join` on the others", c.Engines()[0].Name)
		}
		return nil
	}
	var errs []error
	if old := n.stateful.config(); c.Cluster != old.Cluster {
		errs = append(errs, fmt.Errorf("cluster: this one is %q and cannot become %q: all that is agreed is kept under the name", old.Cluster, c.Cluster))
	}
	errs = append(errs, n.stateful.sameAddresses(c), n.stateful.sameEngines(c))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if what := n.stateful.atStart(c); len(what) > 0 {
		return &needsRestart{what}
	}
	return nil
}

// sameAddresses holds that nodes stay where they are: the store knows its members by their addresses.
func (s *stateful) sameAddresses(c *config.Config) error {
	var errs []error
	for _, old := range s.config().Nodes {
		if now, ok := c.Node(old.Name); ok && now.Address != old.Address {
			errs = append(errs, fmt.Errorf("nodes.%s.address: a node of a cluster does not move from %s to %s: let it leave (`backstay cluster leave`), "+
				"apply the new address, and let it join anew", old.Name, old.Address, now.Address))
		}
	}
	return errors.Join(errs...)
}

// sameEngines holds what an engine can never take in, and that no service is taken from under its primary.
func (s *stateful) sameEngines(c *config.Config) error {
	var errs []error
	for _, sc := range c.Engines() {
		f := sc.Engine.Fleet()
		if e := sc.Engine.Postgres; e != nil {
			if err := errors.Join(postgres.CheckParameters(e.Parameters), postgres.CheckHBA(e.HBA)); err != nil {
				errs = append(errs, fmt.Errorf("services.%s.engine.postgres: %w", sc.Name, err))
			}
		}
		old, ok := s.config().Service(sc.Name)
		if !ok || old.Engine == nil {
			continue
		}
		if was := old.Engine.Fleet().Kind; was != f.Kind {
			errs = append(errs, fmt.Errorf("services.%s.engine: %s cannot become %s under the same name: take the service out first, or name the new one otherwise", sc.Name, was, f.Kind))
		}
		if st := s.control.State(sc.Name); st != nil && st.Primary == s.self.Name && !slices.Contains(f.Nodes, s.self.Name) {
			errs = append(errs, fmt.Errorf("services.%s.engine: %s is its primary: `backstay switchover %s` moves it, then take the node out", sc.Name, s.self.Name, sc.Name))
		}
	}
	return errors.Join(errs...)
}

// atStart lists what changes that is only looked at when the node starts.
func (s *stateful) atStart(c *config.Config) (what []string) {
	old := s.config()
	if was, now := old.Agreement(), c.Agreement(); !reflect.DeepEqual(was, now) {
		for _, change := range config.Diff(&config.Config{Store: &was}, &config.Config{Store: &now}) {
			what = append(what, change.Path)
		}
	}
	if now, ok := c.Node(s.self.Name); ok && !reflect.DeepEqual(s.self.Watchdog, now.Watchdog) {
		what = append(what, "nodes."+now.Name+".watchdog")
	}
	for _, sc := range c.Engines() {
		was, ok := old.Service(sc.Name)
		if !ok || was.Engine == nil {
			continue
		}
		for _, change := range config.Diff(whole(was.Engine), whole(sc.Engine)) {
			what = append(what, strings.Replace(change.Path, "services.x.", "services."+sc.Name+".", 1))
		}
	}
	return what
}

// whole is a configuration of nothing but an engine, without what engines take in while they live.
func whole(e *config.Engine) *config.Config {
	var c config.Engine
	switch {
	case e.Postgres != nil:
		p := *e.Postgres
		p.Nodes, p.NoFailover, p.Async, p.Cascade, p.Protection, p.Quorum = nil, nil, nil, nil, "", 0
		p.HoldDown, p.MaxLag, p.Parameters, p.HBA, p.Rescue = 0, 0, nil, nil, config.Rescue{}
		c.Postgres = &p
	case e.Redis != nil:
		r := *e.Redis
		r.Nodes, r.NoFailover, r.Protection, r.HoldDown, r.MaxLag, r.Rescue = nil, nil, "", 0, 0, config.Rescue{}
		c.Redis = &r
	case e.Script != nil:
		p := *e.Script
		p.Nodes, p.NoFailover, p.Protection, p.HoldDown, p.MaxLag = nil, nil, "", 0, 0
		c.Script = &p
	}
	return &config.Config{Services: []config.Service{{Name: "x", Engine: &c}}}
}
