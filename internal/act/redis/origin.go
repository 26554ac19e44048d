package redis

import (
	"encoding/json"
	"maps"
	"slices"
)

// Keys of the engine, in database 0. Clients may read them: the epoch is a fencing token.
const (
	keyEpoch  = "backstay:epoch"
	keyOrigin = "backstay:origin"
)

// Redis counts the bytes of its replication stream, but forgets the count and its name of the history when it is started
// with an append-only file. So the history is kept in the data itself: each reign of a primary, and each of its starts,
// begins a new life, and a position is the life with the count in it. Positions only grow, and compare across lives.
const (
	lifeBits   = 40
	offsetMask = 1<<lifeBits - 1
	wholeLife  = offsetMask // of an end: whoever has that life has nothing that the next does not
)

func position(life, offset uint64) uint64 { return life<<lifeBits + offset }

// An origin is where data comes from. It is replicated and kept with it.
type origin struct {
	System string `json:"system"`
	Life   uint64 `json:"life"`
	Author string `json:"author"` // the node that was primary in this life
	At     uint64 `json:"at"`     // offset when this was written, at least once a second
	// Past are the lives before, the newest 16.
	Past map[uint64]past `json:"past,omitempty"`
}

// A past is a life that is over: whose it was, and how far the next life's author had come in it.
type past struct {
	Author string `json:"author"`
	End    uint64 `json:"end"`
}

func parseOrigin(text string) (origin, bool) {
	var o origin
	err := json.Unmarshal([]byte(text), &o)
	return o, err == nil && o.Life > 0
}

func (o origin) String() string {
	text, _ := json.Marshal(o) // numbers and strings
	return string(text)
}

// next is the origin of the life that a node begins at a position.
func (o origin) next(author string, at uint64) origin {
	n := origin{System: o.System, Life: at>>lifeBits + 1, Author: author, Past: maps.Clone(o.Past)}
	if n.Past == nil {
		n.Past = map[uint64]past{}
	}
	if o.Life > 0 {
		n.Past[o.Life] = past{o.Author, at - o.Life<<lifeBits}
		if o.Author == author { // it goes on with its own data: nobody has more of it
			n.Past[o.Life] = past{author, wholeLife}
		}
	}
	lives := slices.Sorted(maps.Keys(n.Past))
	for _, l := range lives[:max(0, len(lives)-16)] {
		delete(n.Past, l)
	}
	return n
}

// A relation says what data is to that of an upstream.
type relation int

const (
	beginning relation = iota // the upstream has all of it
	unknown                   // it may have what the upstream does not
	diverged
	foreign
)

// relate compares a node's data, at a position that is exact or a lower bound, with an upstream's.
func relate(own origin, at uint64, exact bool, node string, up origin, upAt uint64) relation {
	switch {
	case own.Life == 0: // no primary of Backstay's had a part in it
		return unknown
	case own.System != up.System:
		return foreign
	case own.Life > up.Life, own.Life == up.Life && own.Author != up.Author:
		return diverged
	}
	end := past{up.Author, upAt - up.Life<<lifeBits}
	if own.Life < up.Life {
		var known bool
		if end, known = up.Past[own.Life]; !known {
			return unknown
		}
	}
	within := at <= position(own.Life, end.End)
	switch {
	case end.Author != own.Author:
		return diverged
	case own.Author != node && (own.Life == up.Life || end.End == wholeLife):
		return beginning // it came from the upstream, or from where that has it
	case !within:
		return diverged
	case !exact || end.End == wholeLife:
		return unknown
	}
	return beginning
}
