package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/cluster"
	"github.com/backstay/backstay/internal/cluster/versions"
	"github.com/backstay/backstay/internal/operate/api"
)

const (
	trialTime = 10 * time.Second // for the nodes to try a configuration
	storeTime = 8 * time.Second  // for the store to answer people
	lookEvery = 100 * time.Millisecond
)

var _ api.Configuration = (*Node)(nil)

// Version implements api.Configuration.
func (n *Node) Version(ctx context.Context, number int) (api.Version, error) {
	if n.stateful == nil {
		return api.Version{}, errStateless()
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	var v versions.Version
	var err error
	if number == 0 {
		v, err = n.stateful.follow.log.Current(ctx)
	} else {
		v, err = n.stateful.follow.log.Get(ctx, number)
	}
	return shown(v, true), stored(err)
}

// History implements api.Configuration.
func (n *Node) History(ctx context.Context) ([]api.Version, error) {
	if n.stateful == nil {
		return nil, errStateless()
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	all, err := n.stateful.follow.log.List(ctx)
	out := []api.Version{}
	for _, v := range all {
		out = append(out, shown(v, false))
	}
	return out, stored(err)
}

func shown(v versions.Version, text bool) api.Version {
	out := api.Version{Number: v.Number, Time: v.Time, By: v.By, Node: v.Node, Message: v.Message, Of: v.Of}
	if text {
		out.Text = v.Text
	}
	return out
}

// stored gives errors of the store the kind that people's programs go by.
func stored(err error) error {
	var conflict *versions.Conflict
	switch {
	case err == nil:
		return nil
	case errors.As(err, &conflict):
		return api.Errorf(api.Refused, "%v; nothing was changed. Look at it (`backstay history %d`), and apply again", err, conflict.Newest.Number)
	case errors.Is(err, versions.ErrNone):
		return api.Errorf(api.NotFound, "%v", err)
	case errors.Is(err, versions.ErrTooLarge), errors.Is(err, cluster.ErrFull), errors.Is(err, cluster.ErrExternal):
		return api.Errorf(api.Refused, "%v", err)
	case errors.Is(err, cluster.ErrUnavailable):
		return api.Errorf(api.Refused, "the nodes cannot agree on anything now: %v", err)
	}
	return err
}

// Try implements api.Configuration.
func (n *Node) Try(ctx context.Context, t api.Draft) (api.Trial, error) {
	s := n.stateful
	if s == nil {
		return api.Trial{}, errStateless()
	}
	l, err := parse(cmp.Or(t.Name, "configuration"), []byte(t.Text))
	if err != nil {
		return api.Trial{}, refusal(err)
	}
	base, old, err := s.base(ctx)
	if err != nil {
		return api.Trial{}, stored(err)
	}
	out := api.Trial{Base: shown(base, false), Same: base.Number > 0 && base.Text == t.Text, Notes: s.parting(old, l.config)}
	for _, change := range config.Diff(old, l.config) {
		out.Changes = append(out.Changes, change.String())
	}
	if err := s.keepsMembers(ctx, l.config); err != nil {
		return out, err
	}
	out.Answers, err = s.askAll(ctx, versions.Trial{Node: s.self.Name, Name: l.source, Text: t.Text}, l.config)
	return out, stored(err)
}

// base is the version in force and what it says; before the first, what this node's file says.
func (s *stateful) base(ctx context.Context) (versions.Version, *config.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	v, err := s.follow.log.Current(ctx)
	if errors.Is(err, versions.ErrNone) {
		return versions.Version{}, s.node.snapshot.Load().Config, nil
	}
	if err != nil {
		return v, nil, err
	}
	l, err := parseVersion(v)
	if err != nil { // of a newer program: everything counts as new
		return v, nil, nil
	}
	return v, l.config, nil
}

// parting says what becomes of what goes.
func (s *stateful) parting(old, next *config.Config) (notes []string) {
	if old == nil {
		return nil
	}
	for _, sc := range old.Engines() {
		nodes := sc.Engine.Fleet().Nodes
		now, stays := next.Service(sc.Name)
		if !stays || now.Engine == nil {
			notes = append(notes, fmt.Sprintf("%s is stopped on %s and not looked after any more. Its data stays on their disks, and what is agreed about it in the store: "+
				"put back under its name it goes on", sc.Name, strings.Join(nodes, ", ")))
			continue
		}
		for _, node := range nodes {
			if !slices.Contains(now.Engine.Fleet().Nodes, node) {
				notes = append(notes, fmt.Sprintf("the instance of %s on %s is stopped and leaves the service. Its data stays on the disk", sc.Name, node))
			}
		}
	}
	return notes
}

// keepsMembers refuses a configuration without a node that keeps a part of the store.
func (s *stateful) keepsMembers(ctx context.Context, c *config.Config) error {
	if len(s.config().Agreement().Endpoints) > 0 {
		return nil // nodes are no members of it
	}
	members, err := s.store.Members(ctx)
	if err != nil {
		return stored(err)
	}
	for _, m := range members {
		if _, ok := c.Node(m.Node); !ok && m.Node != "" {
			return api.Errorf(api.Refused, "the node %s is not in it, and is a member of the cluster: `backstay cluster leave` on it first, or `backstay cluster remove %s` once it is dead", m.Node, m.Node)
		}
	}
	return nil
}

// askAll lets every node try a text and waits for their verdicts.
func (s *stateful) askAll(ctx context.Context, t versions.Trial, c *config.Config) ([]api.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, trialTime+storeTime)
	defer cancel()
	id, err := s.follow.log.Try(ctx, t)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(trialTime)
	for {
		verdicts, err := s.follow.log.Verdicts(ctx, id)
		if err != nil {
			return nil, err
		}
		answers, complete := s.judged(verdicts, c)
		if complete || time.Now().After(deadline) {
			return answers, s.follow.log.EndTrial(ctx, id)
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// judged is what the nodes say of a trial; complete when nobody who is there is silent.
func (s *stateful) judged(verdicts map[string]versions.Verdict, c *config.Config) (answers []api.Answer, complete bool) {
	complete = true
	for _, node := range s.nodes(c) {
		a := api.Answer{Node: node}
		switch v, ok := verdicts[node]; {
		case !ok && s.away(node):
			a.State = api.AnswerAway
		case !ok:
			a.State, complete = api.AnswerSilent, false
		case v.Error != "":
			a.State, a.Detail = api.AnswerError, v.Error
		case v.Restart != "":
			a.State, a.Detail = api.AnswerRestart, v.Restart
		default:
			a.State = api.AnswerGood
		}
		answers = append(answers, a)
	}
	return answers, complete
}

// nodes lists those of a configuration.
func (s *stateful) nodes(c *config.Config) (names []string) {
	for _, node := range c.Nodes {
		names = append(names, node.Name)
	}
	return names
}

// away says whether another node is not there.
func (s *stateful) away(node string) bool { return node != s.self.Name && !s.hears(node) }

// Apply implements api.Configuration.
func (n *Node) Apply(ctx context.Context, a api.Applying) (api.Version, error) {
	s := n.stateful
	if s == nil {
		return api.Version{}, errStateless()
	}
	l, err := parse(cmp.Or(a.Name, "configuration"), []byte(a.Text))
	if err == nil {
		err = n.try(l)
	}
	var restart *needsRestart
	if errors.As(err, &restart) && a.Restart {
		err = nil
	}
	if err != nil {
		return api.Version{}, refusal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := s.keepsMembers(ctx, l.config); err != nil {
		return api.Version{}, err
	}
	v, err := s.follow.log.Apply(ctx, versions.Version{By: cmp.Or(a.By, "unknown"), Node: s.self.Name, Message: a.Message, Of: a.Of, Text: a.Text}, a.Base)
	return shown(v, false), stored(err)
}

// Answers implements api.Configuration.
func (n *Node) Answers(ctx context.Context) ([]api.Answer, error) {
	s := n.stateful
	if s == nil {
		return nil, errStateless()
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	v, err := s.follow.log.Current(ctx)
	if err != nil {
		return nil, stored(err)
	}
	told, err := s.follow.log.Answers(ctx)
	if err != nil {
		return nil, stored(err)
	}
	c := s.config()
	if l, err := parseVersion(v); err == nil {
		c = l.config
	}
	out := []api.Answer{}
	for _, node := range s.nodes(c) {
		out = append(out, s.answered(node, v.Number, told[node]))
	}
	return out, nil
}

// answered is what a node says of the newest version.
func (s *stateful) answered(node string, newest int, told versions.Answer) api.Answer {
	a := api.Answer{Node: node, Version: told.Version}
	switch {
	case s.away(node):
		a.State = api.AnswerAway
	case told.Version != newest:
		a.State = api.AnswerSilent
	case told.Error != "":
		a.State, a.Detail = api.AnswerError, told.Error
	case told.Restart != "":
		a.State, a.Detail = api.AnswerRestart, told.Restart
	default:
		a.State = api.AnswerUses
	}
	return a
}
