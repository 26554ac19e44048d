package config

import (
	"strconv"
	"strings"
)

// path leads to one value. at counts list items and so is unique; label has their names and is for people.
type path struct{ at, label string }

func (p path) key(name string) path {
	return path{at: join(p.at, name), label: join(p.label, name)}
}

func (p path) item(i int, label string) path {
	if label == "" {
		label = strconv.Itoa(i + 1)
	}
	return path{at: p.at + "[" + strconv.Itoa(i) + "]", label: join(p.label, label)}
}

func join(parent, child string) string {
	if parent == "" {
		return child
	}
	return parent + "." + child
}

// place is where in the file a value stands: its key, and itself.
type place struct {
	keyLine, keyColumn int
	line, column       int
	merged             bool // it came in by a merge key (<<)
	standard           bool // it is what the default is anyway
}

// places remembers where every value that the file gives stands, and which of them are already known to be wrong.
type places struct {
	byPath map[string]place
	wrong  map[string]bool
}

func newPlaces() *places {
	return &places{byPath: map[string]place{}, wrong: map[string]bool{}}
}

// given tells whether the file itself says p, rather than a merge key, and says something else than the default: what
// Show writes out is not taken for somebody's will.
func (ps *places) given(p path) bool {
	at, found := ps.byPath[p.at]
	return found && !at.merged && !at.standard
}

// nearest is the place of p, or of what it stands in where the file does not say p.
func (ps *places) nearest(p path) place {
	for at := p.at; ; {
		if found, ok := ps.byPath[at]; ok {
			return found
		}
		cut := strings.LastIndexAny(at, ".[")
		if cut < 0 {
			return place{}
		}
		at = at[:cut]
	}
}

// doubtful tells whether p, something above it or something below it is known to be wrong, so that a finding about it
// would only repeat that.
func (ps *places) doubtful(p path) bool {
	for bad, is := range ps.wrong {
		if is && (within(p.at, bad) || within(bad, p.at)) {
			return true
		}
	}
	return false
}

// within tells whether the path inner is outer or stands in it.
func within(inner, outer string) bool {
	rest, found := strings.CutPrefix(inner, outer)
	return found && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}
