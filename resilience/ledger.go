package resilience

import (
	"slices"
	"time"
)

// LedgerOptions says what is shared and between whom.
type LedgerOptions struct {
	Total float64       // what all have together, a second
	Nodes int           // how many there are; each may use Total/Nodes on its own while it cannot lease
	TTL   time.Duration // how long a lease is good for; 10s where not given
	// Reserve is for how long after its lease has ended a node's equal part is kept for it, as it may be at work cut off from here; ten
	// times TTL where not given. After that it is taken to be gone.
	Reserve time.Duration
}

// Holding is what one node has leased.
type Holding struct {
	Want    float64   `json:"want"`
	Granted float64   `json:"granted"`
	Until   time.Time `json:"until"`
}

// Ledger is who has leased how much of a rate: the algorithm behind Shares, without store, lock or clock. It can be kept as JSON
// in any store with compare-and-swap: read it, call Lease, write it back.
//
// Each node is due what max-min fairness gives it: what it wants, if that is no more than an equal part of what others leave;
// what nobody wants is dealt out evenly on top, for bursts. What a node is due it gets as far as it is free: others give up
// theirs only as they renew; a tenth of an equal part stays free for each node that has none yet, so that it can begin at once.
// What is in force together is never more than Total, as long as all clocks run at one speed, but for the equal parts of nodes
// that have been cut off for longer than Reserve, or that have started and not leased yet.
type Ledger struct {
	Holdings map[string]Holding `json:"holdings"`
}

func (o LedgerOptions) withDefaults() LedgerOptions {
	o.TTL = orDefault(o.TTL, 10*time.Second)
	o.Reserve = orDefault(o.Reserve, 10*o.TTL)
	o.Nodes = max(o.Nodes, 1)
	return o
}

// Lease gives a node what it is due of what is free, until when, and writes that down. want is what it could use, a second.
func (l *Ledger) Lease(o LedgerOptions, node string, want float64, now time.Time) (granted float64, until time.Time) {
	o = o.withDefaults()
	if l.Holdings == nil {
		l.Holdings = map[string]Holding{}
	}
	equal := o.Total / float64(o.Nodes)
	wants, free := []float64{max(want, 0)}, o.Total
	for name, h := range l.Holdings {
		switch {
		case name == node:
		case now.Before(h.Until):
			free -= h.Granted
			wants = append(wants, h.Want)
		case now.Before(h.Until.Add(o.Reserve)): // it may have stepped back to an equal part
			free -= equal
			wants = append(wants, equal)
		default:
			delete(l.Holdings, name)
		}
	}
	for range o.Nodes - len(wants) {
		free -= equal / 10
		wants = append(wants, equal/10)
	}
	due := fair(o.Total, wants)
	h := Holding{Want: max(want, 0), Granted: max(0, min(due, free)), Until: now.Add(o.TTL)}
	l.Holdings[node] = h
	return h.Granted, h.Until
}

// fair is what the first of those who want something is due by max-min fairness (Bertsekas, Gallager, Data Networks, 6.5.2), with
// an even part of what nobody wants.
func fair(total float64, wants []float64) float64 {
	sorted := slices.Clone(wants)
	slices.Sort(sorted)
	left := total
	for i, want := range sorted {
		level := left / float64(len(sorted)-i)
		if want > level {
			return min(wants[0], level) // what all who want more get
		}
		left -= want
	}
	return wants[0] + left/float64(len(wants))
}
