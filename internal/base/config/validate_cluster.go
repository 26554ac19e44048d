package config

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// store holds where the nodes agree.
func (v *validator) store(s *Store, p path) {
	if s == nil {
		return
	}
	seen := map[string]path{}
	plain := 0
	for i, endpoint := range s.Endpoints {
		at := p.key("endpoints").item(i, endpoint)
		v.unique(seen, endpoint, "endpoints of the store", at)
		u, err := url.Parse(endpoint)
		if err != nil || u.Port() == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" {
			v.problem(at, fmt.Sprintf("%q is not the address of an etcd", endpoint), "write https://HOST:PORT, such as https://10.0.0.9:2379")
			continue
		}
		if u.Scheme == "http" {
			plain++
		}
	}
	if plain > 0 && plain < len(s.Endpoints) {
		v.problem(p.key("endpoints"), "some endpoints are with encryption and some without", "write https for all of them")
	}
	switch {
	case len(s.Endpoints) == 0 && s.TLS != nil:
		v.problem(p.key("tls"), "tls is for an etcd that is there already; between nodes it is always on", "take tls out, or write endpoints")
	case s.TLS != nil && plain > 0:
		v.problem(p.key("tls"), "the endpoints are without encryption", "write https://HOST:PORT as endpoints, or take tls out")
	case s.TLS != nil && (s.TLS.Cert == "") != (s.TLS.Key == ""):
		v.problem(p.key("tls"), "a certificate and its key go together", "give both cert and key, or none")
	}
	if len(s.Endpoints) == 0 && s.User != "" {
		v.problem(p.key("user"), "user is for an etcd that is there already", "take user out, or write endpoints")
	}
	if (s.User == "") != (s.Password == "") {
		v.problem(p, "user and password go together", "give both, or none")
	}
}

// engine holds what a service with an engine declares against the nodes there are.
func (v *validator) engine(s *Service, p path) {
	if len(s.Members) > 0 {
		v.problem(p.key("members"), "a service with an engine has no members of its own", "take members out: the engine's nodes are the members")
	}
	if s.Check != nil {
		v.problem(p.key("check"), "a service with an engine needs no check: the engine looks after its instances", "take check out")
	}
	if f := s.Engine.Fleet(); f.Kind != "" {
		p = p.key("engine").key(f.Kind)
		v.fleet(f, p)
		v.asynchronous(f, p)
	}
	if g := s.Engine.Postgres; g != nil {
		v.postgres(g, p)
		v.atMost(p.key("rescue"), "keep", g.Rescue.Keep, "age", g.Rescue.Age)
	}
	if r := s.Engine.Redis; r != nil {
		v.redis(r, p)
	}
	if c := s.Engine.Script; c != nil {
		v.script(c, p)
	}
}

// watchdog holds a node's watchdog against what it could be for.
func (v *validator) watchdog(n Node, p path) {
	if n.Watchdog == nil {
		return
	}
	p = p.key("watchdog")
	used := slices.ContainsFunc(v.config.Engines(), func(s Service) bool { return slices.Contains(s.Engine.Fleet().Nodes, n.Name) })
	switch {
	case !strings.HasPrefix(n.Watchdog.Device, "/"):
		v.problem(p.key("device"), fmt.Sprintf("%q is not the path of a device", n.Watchdog.Device), "write device: /dev/watchdog")
	case !used && !v.namesInDoubt():
		v.problem(p, fmt.Sprintf("no service has an engine with an instance on %s, so that it is never a primary", n.Name), "take watchdog out")
	case v.config.Agreement().Profile == "lan-fast":
		v.problem(p, "a watchdog counts in whole seconds, and with the profile lan-fast a primary's authority is certain for less than one", "write store: lan, or take watchdog out")
	}
}

// fleet holds what all kinds of engines declare.
func (v *validator) fleet(f Fleet, p path) {
	seen := map[string]path{}
	for i, name := range f.Nodes {
		at := p.key("nodes").item(i, name)
		v.unique(seen, name, "nodes of the engine", at)
		v.node(name, at)
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"no_failover", f.NoFailover}, {"async", f.Async}, {"cascade", f.Cascade}} {
		for i, name := range list.names {
			if !slices.Contains(f.Nodes, name) {
				v.problem(p.key(list.key).item(i, name), fmt.Sprintf("%q is not one of the engine's nodes", name), "name one of nodes, or take it out")
			}
		}
	}
	confirm, primary := 0, 0
	for _, name := range f.Nodes {
		if !slices.Contains(f.Async, name) && !slices.Contains(f.Cascade, name) {
			confirm++
		}
		if !slices.Contains(f.NoFailover, name) && !slices.Contains(f.Cascade, name) {
			primary++
		}
	}
	if f.Quorum > confirm-1 && f.Quorum > 0 {
		v.problem(p.key("quorum"), fmt.Sprintf("%d standbys cannot confirm: there are %d", f.Quorum, max(0, confirm-1)), "make it smaller, or add nodes")
	}
	if primary == 0 && len(f.Nodes) > 0 {
		v.problem(p.key("nodes"), "none of them may become the primary: all are in no_failover or cascade", "take one out of there")
	}
	if f.Kind == "postgres" && f.Protection == "max-protection" && confirm < 2 {
		v.problem(p.key("protection"), "with one node that confirms writes nothing could ever be acknowledged under max-protection", "add nodes, or choose max-availability")
	}
}

// postgres holds what only PostgreSQL has: files of which all are given or none.
func (v *validator) postgres(g *Postgres, p path) {
	at := p.key("tls")
	switch given := g.TLS.Cert != "" || g.TLS.Key != "" || g.TLS.CA != ""; {
	case given && (g.TLS.Cert == "" || g.TLS.Key == "" || g.TLS.CA == ""):
		v.problem(at, "cert, key and ca belong together: members show the one and check each other by the other", "give all three files, or none to have the cluster's own authority issue certificates")
	case given && g.TLS.Off:
		v.problem(at, "certificates have no effect where TLS is off", "take off out, or the files")
	}
	if w := g.Passwords; w != (PostgresPasswords{}) && (w.Superuser == "" || w.Replication == "" || w.Rewind == "") {
		v.problem(p.key("passwords"), "superuser, replication and rewind belong together", "name a file for each, or none to have Backstay make them")
	}
}

// asynchronous refuses a promise that nobody could keep.
func (v *validator) asynchronous(f Fleet, p path) {
	if f.Kind == "postgres" || f.Protection == "max-performance" || f.Protection == "" {
		return
	}
	why := map[string]string{
		"redis":  "Redis acknowledges a write before any standby has it (WAIT tells a client only afterwards), so that a failover may lose the last writes",
		"script": "whether a write waits for standbys is up to the service; Backstay cannot see to it by commands",
	}[f.Kind]
	v.problem(p.key("protection"), fmt.Sprintf("%s cannot be had: %s", f.Protection, why), "write protection: max-performance, or leave it out")
}

// redisReserved are parameters of Redis that Backstay sets itself.
var redisReserved = []string{
	"aclfile", "appenddirname", "appendfilename", "appendfsync", "appendonly", "bind", "cluster-enabled", "daemonize", "dbfilename", "dir",
	"include", "logfile", "masterauth", "masteruser", "min-replicas-max-lag", "min-replicas-to-write", "min-slaves-max-lag",
	"min-slaves-to-write", "pidfile", "port", "protected-mode", "rename-command", "repl-diskless-load", "replica-announce-ip",
	"replica-announce-port", "replica-read-only", "replica-serve-stale-data", "replicaof", "requirepass", "save", "slave-read-only", "slaveof",
	"supervised", "tls-port", "unixsocket", "user",
}

// RedisReserves says whether a parameter of Redis is one that Backstay sets itself.
func RedisReserves(name string) bool { return slices.Contains(redisReserved, strings.ToLower(name)) }

func (v *validator) redis(r *Redis, p path) {
	v.atMost(p.key("rescue"), "keep", r.Rescue.Keep, "age", r.Rescue.Age)
	if r.MinStandbys > len(r.Nodes)-1 && r.MinStandbys > 0 {
		v.problem(p.key("min_standbys"), fmt.Sprintf("%d standbys cannot be heard: there are %d", r.MinStandbys, len(r.Nodes)-1), "make it smaller, or add nodes")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		if at := p.key("parameters").key(name); RedisReserves(name) {
			v.problem(at, fmt.Sprintf("the parameter %s is set by Backstay", name), "take it out")
		} else if name == "" || strings.ContainsAny(name, " \t\r\n\"'#") || strings.ContainsAny(r.Parameters[name], "\r\n") {
			v.problem(at, fmt.Sprintf("%q cannot be a line of redis.conf", name), "write one parameter and its value")
		}
	}
}

func (v *validator) script(c *Script, p path) {
	for name, words := range map[string][]string{
		"observe": c.Observe, "promote": c.Promote, "demote": c.Demote, "follow": c.Follow, "create": c.Create, "clone": c.Clone,
		"rewind": c.Rewind, "start": c.Start, "stop": c.Stop, "fence": c.Fence, "checkpoint": c.Checkpoint,
	} {
		if len(words) > 0 && words[0] == "" {
			v.problem(p.key(name), "the command names no program", "write a program and its arguments: [/usr/local/bin/svc, "+name+"]")
		}
	}
	for name := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "BACKSTAY_") {
			v.problem(p.key("env").key(name), fmt.Sprintf("%q cannot be the name of a variable here", name), "use another; those that begin with BACKSTAY_ are Backstay's")
		}
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
