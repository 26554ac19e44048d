package demo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// postgresVerdict is what the PostgreSQL demonstration showed.
type postgresVerdict struct {
	cut        bool // it was ended early
	length     time.Duration
	faults     []postgresFault
	acked      int
	audit      audit
	reigns     []reign
	rivals     []string // of the reigns, where two primaries took writes at once
	errors     int
	first      string // of the errors
	unread     error  // why the rows could not be read back
	unscripted int    // changes of the primary that no fault asked for
	resumed    bool   // writes were acknowledged after the last fault
}

// postgresFault is what one fault cost.
type postgresFault struct {
	title  string
	gap    time.Duration
	errors int
	lost   int
	again  time.Duration // from the fault, or from when it was mended, until redundancy was whole
	mended bool          // the time counts from there
	whole  bool
	by     string // what the event log says
}

// audit compares what clients were told with the rows that there are.
type audit struct {
	lost      []acknowledged // told, and not there
	twice     []rowID        // there more than once
	moved     []acknowledged // there, but taken by another server or on another timeline than the client was told
	uncertain int            // there, although no client was told
	rows      int
}

// compare finds what was lost, what is there twice, and what is there although nobody was told.
func compare(acks []acknowledged, rows []row) audit {
	a := audit{rows: len(rows)}
	there := make(map[rowID]row, len(rows))
	for _, r := range rows {
		if _, again := there[r.rowID]; again {
			a.twice = append(a.twice, r.rowID)
		}
		there[r.rowID] = r
	}
	for _, ack := range acks {
		r, ok := there[ack.rowID]
		switch {
		case !ok:
			a.lost = append(a.lost, ack)
		case r.node != ack.node || r.timeline != ack.timeline:
			a.moved = append(a.moved, ack)
		}
		delete(there, ack.rowID)
	}
	a.uncertain = len(there)
	return a
}

// reign is a server's time as primary, as clients saw it: one timeline, one server.
type reign struct {
	timeline int64
	node     string
	first    time.Time // acknowledgement
	last     time.Time // when the last statement that it acknowledged was sent
	rows     int
}

// reignsOf sorts acknowledgements by timeline and server.
func reignsOf(acks []acknowledged) []reign {
	var all []reign
	for _, a := range acks {
		i := slices.IndexFunc(all, func(r reign) bool { return r.timeline == a.timeline && r.node == a.node })
		if i < 0 {
			i = len(all)
			all = append(all, reign{timeline: a.timeline, node: a.node, first: a.at, last: a.begun})
		}
		r := &all[i]
		r.rows++
		if a.at.Before(r.first) {
			r.first = a.at
		}
		if a.begun.After(r.last) {
			r.last = a.begun
		}
	}
	slices.SortFunc(all, func(a, b reign) int {
		if a.timeline != b.timeline {
			return int(a.timeline - b.timeline)
		}
		return a.first.Compare(b.first)
	})
	return all
}

// rivals finds the reigns that were not over when the next began: a statement was sent after another server, of a later
// timeline, had acknowledged one, and was acknowledged all the same. Two servers on one timeline are rivals in any case.
func rivals(reigns []reign) []string {
	var out []string
	for i, a := range reigns {
		for _, b := range reigns[i+1:] {
			switch {
			case a.timeline == b.timeline:
				out = append(out, fmt.Sprintf("%s and %s both took writes on timeline %d", a.node, b.node, a.timeline))
			case a.last.After(b.first):
				out = append(out, fmt.Sprintf("%s (timeline %d) took writes for %s after %s (timeline %d) had begun to", a.node, a.timeline, brief(a.last.Sub(b.first)), b.node, b.timeline))
			}
		}
	}
	return out
}

// err says what did not hold.
func (v postgresVerdict) err() error {
	var all []error
	add := func(broken bool, format string, args ...any) {
		if broken {
			all = append(all, fmt.Errorf(format, args...))
		}
	}
	add(v.unread != nil, "%w", v.unread)
	add(v.unread == nil && v.acked == 0, "no write was ever acknowledged")
	if n := len(v.audit.lost); n > 0 {
		add(true, "%d acknowledged writes are lost, the first: %s", n, v.audit.lost[0])
	}
	if n := len(v.audit.twice); n > 0 {
		add(true, "%d writes are there twice, the first: %s", n, v.audit.twice[0])
	}
	if n := len(v.audit.moved); n > 0 {
		add(true, "%d writes are there, but not from the server that acknowledged them, the first: %s", n, v.audit.moved[0])
	}
	add(len(v.rivals) > 0, "two primaries: %s", strings.Join(v.rivals, "; "))
	add(!v.resumed && !v.cut && v.acked > 0, "writes were not acknowledged any more at the end")
	for _, f := range v.faults {
		add(!f.whole && !v.cut, "redundancy was not whole again after: %s", f.title)
	}
	return errors.Join(all...)
}

func (id rowID) String() string { return fmt.Sprintf("row %d of writer %d", id.seq, id.writer) }

func (a acknowledged) String() string {
	return fmt.Sprintf("%s, acknowledged by %s on timeline %d at %s", a.rowID, a.node, a.timeline, a.at.Format("15:04:05.000"))
}

// String is the verdict as people read it.
func (v postgresVerdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nVerdict after %s", v.length.Round(time.Second))
	if v.cut {
		b.WriteString(" (ended early)")
	}
	b.WriteString("\n")
	if len(v.faults) > 0 {
		fmt.Fprintf(&b, "\n  %-34s %10s %15s %7s %6s   %s\n", "fault", "write gap", "redundant again", "errors", "lost", "what the event log says")
		for _, f := range v.faults {
			again := "not yet"
			if f.whole {
				again = brief(f.again)
				if f.mended {
					again += "*"
				}
			}
			fmt.Fprintf(&b, "  %-34s %10s %15s %7d %6d   %s\n", f.title, brief(f.gap), again, f.errors, f.lost, f.by)
		}
		b.WriteString("  write gap: the longest time without an acknowledged write. *: after it was mended.\n")
	}
	fmt.Fprintf(&b, "\n  acknowledged writes   %d, lost %d, twice %d\n", v.acked, len(v.audit.lost), len(v.audit.twice))
	fmt.Fprintf(&b, "  other rows            %d: written, but the connection broke before the client was told\n", v.audit.uncertain)
	fmt.Fprintf(&b, "  errors clients saw    %d", v.errors)
	if v.first != "" {
		fmt.Fprintf(&b, ", such as: %s", v.first)
	}
	b.WriteString("\n  primaries by turns   ")
	for _, r := range v.reigns {
		fmt.Fprintf(&b, " %s (timeline %d, %d writes)", r.node, r.timeline, r.rows)
	}
	if v.unscripted > 0 {
		fmt.Fprintf(&b, "\n  not in the script      %d more changes of the primary: so it goes where the machine stalls for longer than the timings of lan-fast allow", v.unscripted)
	}
	if err := v.err(); err != nil {
		fmt.Fprintf(&b, "\n\n  NOT good: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n            "))
	} else {
		b.WriteString("\n\n  Good: no acknowledged write is lost, and there were never two primaries at once.\n")
	}
	return b.String()
}
