package config

import (
	"fmt"
	"slices"
)

// engine holds what a service with an engine declares against the nodes there are.
func (v *validator) engine(s *Service, p path) {
	if len(s.Members) > 0 {
		v.problem(p.key("members"), "a service with an engine has no members of its own", "take members out: the engine's nodes are the members")
	}
	if s.Check != nil {
		v.problem(p.key("check"), "a service with an engine needs no check: the engine looks after its instances", "take check out")
	}
	if s.Engine.Postgres != nil {
		v.postgres(s.Engine.Postgres, p.key("engine").key("postgres"))
	}
}

func (v *validator) postgres(e *Postgres, p path) {
	seen := map[string]path{}
	for i, name := range e.Nodes {
		at := p.key("nodes").item(i, name)
		v.unique(seen, name, "nodes of the engine", at)
		v.node(name, at)
	}
	for i, name := range e.NoFailover {
		if !slices.Contains(e.Nodes, name) {
			v.problem(p.key("no_failover").item(i, name), fmt.Sprintf("%q is not one of the engine's nodes", name), "name one of nodes, or take it out")
		}
	}
	if e.Quorum > len(e.Nodes)-1 && e.Quorum > 0 {
		v.problem(p.key("quorum"), fmt.Sprintf("%d standbys cannot confirm: there are %d", e.Quorum, len(e.Nodes)-1), "make it smaller, or add nodes")
	}
	if e.Protection == "max-protection" && len(e.Nodes) < 2 {
		v.problem(p.key("protection"), "with one node nothing could ever be acknowledged under max-protection", "add nodes, or choose max-availability")
	}
}

// node holds a reference to one of the configuration's nodes.
func (v *validator) node(name string, p path) {
	node, ok := v.config.Node(name)
	switch {
	case !ok:
		var names []string
		for _, n := range v.config.Nodes {
			names = append(names, n.Name)
		}
		hint := "declare it under nodes"
		if near := closest(name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		v.problem(p, fmt.Sprintf("there is no node %q", name), hint)
	case node.Address == "":
		v.problem(p, fmt.Sprintf("the node %q has no address, so the others cannot reach it", name), "give it one under nodes: address: 10.0.0.1")
	}
}
