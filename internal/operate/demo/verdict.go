package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// verdict is what the demonstration showed.
type verdict struct {
	cut       bool // it was ended early
	web, recs measure
	buyers    measure // critical requests to checkout
	scouts    measure // sheddable ones
	overload  bool    // there was too much load
	problems  []string
	faults    []faultVerdict
	length    time.Duration
}

type faultVerdict struct {
	title             string
	detected, back    time.Duration
	noticed, returned bool
	by                string // the sentence of the event that noticed it
}

// noticing and returning are the kinds of events that take a member out and back in.
var (
	noticing  = []string{event.MemberDown, event.MemberEjected, event.BreakerOpen, event.ServiceShedding}
	returning = []string{event.MemberUp, event.MemberRestored, event.BreakerClosed, event.ServiceShed}
)

func (s *show) verdict(cut bool) verdict {
	v := verdict{cut: cut, web: s.web.total, recs: s.recs.total, length: time.Since(s.began)}
	v.buyers, v.scouts = s.buyers.total, plus(s.scouts.total, s.stage.surge.traffic.total)
	for _, t := range []*traffic{s.web, s.recs, s.buyers, s.scouts, s.stage.surge.traffic} {
		v.problems = append(v.problems, t.errors...)
	}
	for i := range s.script {
		sc := &s.script[i]
		if sc.begun.IsZero() || sc.ended.IsZero() {
			continue
		}
		v.overload = v.overload || sc.service != ""
		f := faultVerdict{title: sc.title}
		if r, ok := s.watch.first(sc, sc.begun, noticing...); ok {
			f.noticed, f.detected, f.by = true, r.Time.Sub(sc.begun), r.Message
		}
		if r, ok := s.watch.first(sc, sc.ended, returning...); ok {
			f.returned, f.back = true, r.Time.Sub(sc.ended)
		}
		s.avoided[i].tell(&f, sc)
		v.faults = append(v.faults, f)
	}
	return v
}

// err says what did not hold: clients saw errors, or a fault went unnoticed.
func (v verdict) err() error {
	if n := v.web.errors + v.recs.errors + v.buyers.errors + v.scouts.errors; n > 0 {
		return fmt.Errorf("clients saw %d errors, the first: %s", n, strings.TrimSpace(v.problems[0]))
	}
	for _, f := range v.faults {
		if !f.noticed {
			return fmt.Errorf("nobody noticed: %s", f.title)
		}
	}
	return nil
}

// String is the verdict as people read it.
func (v verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nVerdict after %s", v.length.Round(time.Second))
	if v.cut {
		b.WriteString(" (ended early)")
	}
	fmt.Fprintf(&b, "\n\n  %-18s %9s %12s %9s %9s %9s\n", "", "requests", "errors seen", "p50", "p99", "slowest")
	for _, row := range []struct {
		name string
		m    measure
	}{{"web", v.web}, {"recommendations", v.recs}, {"checkout, critical", v.buyers}, {"checkout, low", v.scouts}} {
		fmt.Fprintf(&b, "  %-18s %9d %12d %9s %9s %9s\n", row.name, row.m.requests, row.m.errors,
			brief(row.m.quantile(0.5)), brief(row.m.quantile(0.99)), brief(row.m.quantile(1-1e-9)))
	}
	fmt.Fprintf(&b, "\n  recommendations: %d of %d answered by the fallback, as the service failed or was too slow\n", v.recs.fallbacks, v.recs.requests)
	if v.overload {
		fmt.Fprintf(&b, "  checkout: of the critical requests %s answered, of the sheddable ones %s shed\n",
			share(v.buyers.requests-v.buyers.errors, v.buyers.requests), share(v.scouts.shed, v.scouts.requests))
	}
	if len(v.faults) > 0 {
		fmt.Fprintf(&b, "\n  %-30s %14s %14s   %s\n", "fault", "detected after", "back after", "what the event log says")
		for _, f := range v.faults {
			fmt.Fprintf(&b, "  %-30s %14s %14s   %s\n", f.title, when(f.noticed, f.detected), when(f.returned, f.back), f.by)
		}
	}
	if err := v.err(); err != nil {
		fmt.Fprintf(&b, "\n  NOT good: %v\n", err)
	} else {
		b.WriteString("\n  Good: servers were killed, hung, slowed and overloaded, and no client saw an error.\n")
	}
	return b.String()
}

func when(happened bool, d time.Duration) string {
	if !happened {
		return "not yet"
	}
	return brief(d)
}

func brief(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
