package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// shape is what a YAML node looks like.
type shape int

const (
	empty shape = iota // a key without a value, ~ or null
	lost               // what it should have been has been reported already
	text
	whole
	fraction
	truth
	list
	mapping
)

// node is YAML with aliases and merge keys resolved: a value, a list or a mapping, with its place.
type node struct {
	shape        shape
	line, column int
	text         string // of a scalar, as it is meant
	origin       string // of a scalar, as it is written
	number       any    // int64 or uint64 of a whole number, float64 of a fraction
	items        []*node
	entries      []entry
}

type entry struct {
	key          string
	line, column int
	merged       bool
	value        *node
}

func (n *node) scalar() bool { return n.shape >= text && n.shape <= truth }

func (n *node) find(key string) *node {
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// maxDepth bounds how deeply a file nests; the schema itself needs about ten.
const maxDepth = 100

// grower turns the library's syntax tree into nodes.
type grower struct {
	report  func(line, column int, message, hint string)
	anchors map[string]*node // nil while the anchor's own value is being read
	depth   int
}

func (g *grower) grow(in ast.Node) *node {
	if in == nil {
		return &node{}
	}
	g.depth++
	defer func() { g.depth-- }()
	n := &node{shape: lost}
	n.line, n.column = position(in)
	if g.depth > maxDepth {
		if g.depth == maxDepth+1 {
			g.report(n.line, n.column, "this is nested too deeply", "")
		}
		return n
	}
	switch in := in.(type) {
	case *ast.AnchorNode:
		name := in.Name.GetToken().Value
		g.anchors[name] = nil
		n = g.grow(in.Value)
		g.anchors[name] = n
	case *ast.AliasNode:
		return g.alias(in, n)
	case *ast.TagNode:
		return g.tag(in, n)
	case *ast.MappingNode:
		n.shape = mapping
		g.mapping(n, in.Values)
	case *ast.MappingValueNode:
		n.shape = mapping
		g.mapping(n, []*ast.MappingValueNode{in})
	case *ast.SequenceNode:
		n.shape = list
		for _, value := range in.Values {
			n.items = append(n.items, g.grow(value))
		}
	default:
		growScalar(n, in)
	}
	return n
}

func growScalar(n *node, in ast.Node) {
	tk := in.GetToken()
	n.text, n.origin = tk.Value, tk.Origin
	switch in := in.(type) {
	case *ast.NullNode:
		n.shape = empty
	case *ast.IntegerNode:
		n.shape, n.number = whole, in.Value
	case *ast.FloatNode:
		n.shape, n.number = fraction, in.Value
	case *ast.BoolNode:
		n.shape = truth
	case *ast.LiteralNode:
		n.shape, n.text = text, in.Value.Value
		n.origin += in.Value.GetToken().Origin
	default: // strings; .inf and .nan too, which no key wants
		n.shape = text
	}
}

func (g *grower) alias(in *ast.AliasNode, n *node) *node {
	name := in.Value.GetToken().Value
	target, known := g.anchors[name]
	switch {
	case !known:
		hint := "anchors are set with &" + name + ", before they are used"
		if near := closest(name, keys(g.anchors)); near != "" {
			hint = fmt.Sprintf("did you mean *%s?", near)
		}
		g.report(n.line, n.column, fmt.Sprintf("there is no anchor &%s above", name), hint)
	case target == nil:
		g.report(n.line, n.column, fmt.Sprintf("the anchor &%s contains itself", name), "")
	default:
		return target
	}
	return n
}

func (g *grower) tag(in *ast.TagNode, n *node) *node {
	name := in.Start.Value
	switch token.ReservedTagKeyword(name) {
	case token.StringTag:
		n = g.grow(in.Value)
		if n.scalar() {
			copied := *n
			copied.shape = text
			return &copied
		}
		return n
	case token.IntegerTag, token.FloatTag, token.BooleanTag, token.NullTag, token.MappingTag, token.SequenceTag:
		return g.grow(in.Value)
	}
	g.report(n.line, n.column, fmt.Sprintf("the tag %s means nothing here", name), "leave it out")
	return n
}

func (g *grower) mapping(n *node, values []*ast.MappingValueNode) {
	var merges []*node
	seen := map[string]entry{}
	for i, value := range values {
		line, column := position(value.Key)
		if i == 0 {
			n.line, n.column = line, column
		}
		if value.Key.IsMergeKey() {
			merges = append(merges, g.grow(value.Value))
			continue
		}
		key, ok := keyText(value.Key)
		if !ok {
			g.report(line, column, "a key must be plain text", "")
			continue
		}
		e := entry{key: key, line: line, column: column, value: g.grow(value.Value)}
		if e.value.shape == empty { // its place is beside the text
			copied := *e.value
			copied.line, copied.column = line, column
			e.value = &copied
		}
		if first, twice := seen[key]; twice {
			g.report(line, column, fmt.Sprintf("the key %q is given twice", key),
				fmt.Sprintf("it is already at line %d: keep one of them", first.line))
			continue
		}
		seen[key] = e
		n.entries = append(n.entries, e)
	}
	for _, m := range merges {
		g.merge(n, m, seen)
	}
}

// merge adds the entries of from that n does not have itself; of several, the first has its way.
func (g *grower) merge(n, from *node, seen map[string]entry) {
	switch from.shape {
	case list:
		for _, item := range from.items {
			if item.shape == list {
				g.report(item.line, item.column, "a merge key (<<) takes a mapping or a list of mappings", "")
				continue
			}
			g.merge(n, item, seen)
		}
	case mapping:
		for _, e := range from.entries {
			if _, has := seen[e.key]; has {
				continue
			}
			e.merged = true
			seen[e.key] = e
			n.entries = append(n.entries, e)
		}
	case lost:
	default:
		g.report(from.line, from.column, "a merge key (<<) takes a mapping, such as *defaults", "")
	}
}

func keyText(key ast.Node) (string, bool) {
	switch key := key.(type) {
	case *ast.StringNode:
		return key.Value, true
	case *ast.MappingKeyNode:
		return keyText(key.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return key.GetToken().Value, true
	}
	return "", false
}

func position(in ast.Node) (line, column int) {
	tk := in.GetToken()
	if tk == nil || tk.Position == nil {
		return 1, 1
	}
	return max(tk.Position.Line, 1), max(tk.Position.Column, 1)
}
