package config

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// instances holds what engines run on a node against each other and against what else listens there: two on one port or in
// one folder would keep each other down, or worse.
func (v *validator) instances(bound []binding) {
	var folders []folder
	if engines := v.config.Engines(); len(engines) > 0 {
		bound = append(bound, v.agreement()...)
	}
	for i := range v.config.Services {
		s := &v.config.Services[i]
		if s.Engine == nil {
			continue
		}
		f := s.Engine.Fleet()
		p := path{}.key("services").item(i, s.Name).key("engine").key(f.Kind)
		nodes := slices.Compact(slices.Sorted(slices.Values(f.Nodes)))
		for _, name := range nodes {
			node, ok := v.config.Node(name)
			if !ok || node.Address == "" {
				continue
			}
			b := binding{address: net.JoinHostPort(node.Address, strconv.Itoa(f.Port)), where: p.key("port"), what: fmt.Sprintf("the instance of %s on %s", s.Name, name)}
			if v.collision(bound, b) {
				break
			}
			bound = append(bound, b)
		}
		folders = v.folders(folders, s, f, nodes, p)
	}
}

// agreement lists what nodes listen on among themselves.
func (v *validator) agreement() (bound []binding) {
	for _, n := range v.config.Nodes {
		for i := range 4 {
			bound = append(bound, binding{
				address: net.JoinHostPort(n.Address, strconv.Itoa(v.config.Agreement().Port+i)),
				where:   path{}.key("store").key("port"), what: fmt.Sprintf("the store of %s (four ports from %d on)", n.Name, v.config.Agreement().Port),
			})
		}
	}
	return bound
}

// A folder is one that a service's instances have to themselves on some nodes.
type folder struct {
	path    string
	service string
	nodes   []string
	where   path
}

// folders reports a service's folder that is another's, or in another's, on the same node.
func (v *validator) folders(known []folder, s *Service, f Fleet, nodes []string, p path) []folder {
	own := []folder{{f.Data, s.Name, nodes, p.key("data")}}
	if s.Engine.Postgres != nil {
		adopt := s.Engine.Postgres.Adopt
		if adopt != "" && f.Data != "" && filepath.Clean(adopt) == filepath.Clean(f.Data) {
			v.problem(p.key("adopt"), "adopt and data are the same folder, but settings, logs and what is put aside must not be among PostgreSQL's own files", "give data another folder, or leave it out")
		}
		own = append(own, folder{adopt, s.Name, nodes, p.key("adopt")})
	}
	for _, o := range own {
		if o.path == "" {
			continue
		}
		for _, k := range known {
			if !inside(o.path, k.path) && !inside(k.path, o.path) {
				continue
			}
			i := slices.IndexFunc(nodes, func(n string) bool { return slices.Contains(k.nodes, n) })
			if i < 0 {
				continue
			}
			hint := "give each instance a folder of its own"
			if at := v.places.nearest(k.where); at.line > 0 {
				hint = fmt.Sprintf("that is at line %d: %s", at.line, hint)
			}
			v.problem(o.where, fmt.Sprintf("on %s, the services %s and %s would both have %s", nodes[i], k.service, s.Name, o.path), hint)
			break
		}
	}
	return append(known, slices.DeleteFunc(own, func(o folder) bool { return o.path == "" })...)
}

// inside says whether a folder is another, or in it.
func inside(inner, outer string) bool {
	inner, outer = filepath.Clean(inner), filepath.Clean(outer)
	return inner == outer || strings.HasPrefix(inner, strings.TrimSuffix(outer, "/")+"/")
}
