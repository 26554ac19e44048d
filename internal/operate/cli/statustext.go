package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

// status writes the picture for people.
func (s style) status(st api.Status) string {
	var b strings.Builder
	name := st.Node
	if st.Zone != "" {
		name += " in zone " + st.Zone
	}
	fmt.Fprintf(&b, "node %s: %s, up %s, backstay %s, pid %d\n", s.paint(bold, name),
		s.paint(nodeColour(st.State), string(st.State)), age(st.Uptime()), st.Version, st.PID)
	b.WriteString(s.configuration(st))
	if st.Config.Refused != "" {
		fmt.Fprintf(&b, "%s\n%s\n", s.paint(red, "the last reload changed nothing:"), indent(st.Config.Refused))
	}
	if len(st.Listeners) > 0 {
		b.WriteString("\n" + s.listeners(st.Listeners))
	}
	for _, svc := range st.Services {
		b.WriteString("\n" + s.service(svc, st.Now))
	}
	if len(st.Rates) > 0 {
		b.WriteString("\n" + s.rates(st.Rates))
	}
	if len(st.Modes) > 0 {
		b.WriteString("\n" + s.modes(st.Modes, st.Now))
	}
	return b.String()
}

// configuration writes which one is in force.
func (s style) configuration(st api.Status) string {
	var b strings.Builder
	c := st.Config
	fmt.Fprintf(&b, "configuration %.12s from %s, applied %s ago\n", c.Revision, c.Source, age(st.Now.Sub(c.Loaded)))
	if c.Applied != "" {
		fmt.Fprintf(&b, "  %s\n", c.Applied)
	}
	if c.Differs != "" {
		fmt.Fprintf(&b, "  %s\n", s.paint(yellow, c.Differs+" differs and is not used"))
	}
	if c.Waiting != "" {
		fmt.Fprintf(&b, "%s\n", s.paint(red, indent(c.Waiting)))
	}
	if !c.Certificate.IsZero() {
		line := "certificate within the cluster expires in " + age(c.Certificate.Sub(st.Now))
		if c.Certificate.Sub(st.Now) < expiring {
			line = s.paint(red, line)
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	return b.String()
}

// expiring is how near the end of a certificate is alarming: it is renewed days before.
const expiring = 36 * time.Hour

func (s style) listeners(all []api.ListenerStatus) string {
	rows := make([][]field, 0, len(all))
	for _, l := range all {
		kind := l.Kind
		if l.TLS {
			kind += " over TLS"
		}
		if k := l.Sessions; k != nil {
			kind += fmt.Sprintf(", %d kept", k.Open-k.Tied)
			if k.Tied > 0 {
				kind += fmt.Sprintf(", %d tied to their server", k.Tied)
			}
		}
		rows = append(rows, []field{{l.Name, plain}, {l.Address, plain}, {kind, plain}, {strconv.FormatInt(l.Connections, 10), plain}})
	}
	return s.table([]column{{"LISTENER", false}, {"ADDRESS", false}, {"KIND", false}, {"CONNECTIONS", true}}, rows)
}

// service writes one service: a line about it, and a table of its members.
func (s style) service(svc api.ServiceStatus, now time.Time) string {
	facts := []string{svc.Policy, fmt.Sprint(svc.InFlight, " in flight")}
	if svc.Queued > 0 {
		facts = append(facts, fmt.Sprint(svc.Queued, " queued"))
	}
	if svc.Held > 0 {
		facts = append(facts, fmt.Sprint(svc.Held, " held"))
	}
	if svc.Breaker != "" && svc.Breaker != "closed" {
		facts = append(facts, "breaker "+svc.Breaker)
	}
	facts = append(facts, protection(svc)...)
	if svc.Cache != nil {
		facts = append(facts, cached(svc.Cache))
	}
	if svc.Asked != "" {
		facts = append(facts, svc.Asked+" under way")
	}
	if svc.Evidence != "" {
		facts = append(facts, svc.Evidence)
	}
	head := fmt.Sprintf("service %s: %s, %s\n", s.paint(bold, svc.Name),
		s.paint(serviceColour(svc.State), string(svc.State)), strings.Join(facts, ", "))
	head += s.agreement(svc.Agreement) + s.instances(svc.Instances)
	if len(svc.Members) == 0 {
		return head + "  no members\n"
	}
	rows := make([][]field, 0, len(svc.Members))
	for _, m := range svc.Members {
		rows = append(rows, s.member(m, now))
	}
	return head + indent(s.table([]column{
		{"MEMBER", false}, {"STATE", false}, {"SINCE", true}, {"IN FLIGHT", true}, {"LATENCY", true}, {"SHARE", true}, {"EVIDENCE", false},
	}, rows)) + "\n"
}

// agreement writes what the nodes have agreed on about a service with an engine.
func (s style) agreement(a *api.AgreementStatus) string {
	if a == nil {
		return ""
	}
	primary := s.paint(red, "no primary")
	if a.Primary != "" {
		primary = "primary " + s.paint(bold, a.Primary)
	}
	facts := []string{primary, fmt.Sprint("epoch ", a.Epoch)}
	if a.LeaseLeft > 0 {
		facts = append(facts, "authority for another "+brief(time.Duration(a.LeaseLeft*float64(time.Second))))
	}
	if a.Downgraded {
		facts = append(facts, s.paint(red, a.Protection+", downgraded: writes wait for no standby"))
	} else {
		facts = append(facts, a.Protection+": "+a.Writes)
	}
	if a.HoldDown > 0 {
		facts = append(facts, "hold-down for another "+brief(time.Duration(a.HoldDown*float64(time.Second))))
	}
	if a.Paused {
		facts = append(facts, s.paint(yellow, strings.TrimSuffix("paused, "+a.PausedFor, ", ")))
	}
	if a.Plan != "" {
		facts = append(facts, s.paint(yellow, a.Plan+" under way"))
	}
	return "  " + strings.Join(facts, ", ") + "\n  " + s.paint(dim, a.Decision) + "\n"
}

// instances writes what a service with an engine runs where.
func (s style) instances(all []api.InstanceStatus) string {
	if len(all) == 0 {
		return ""
	}
	rows := make([][]field, 0, len(all))
	for _, i := range all {
		lag, follows, line, notes := "-", "-", "-", i.Problem
		switch {
		case i.Counts:
			line = "in line, counts"
		case i.InLine:
			line = "in line"
		}
		if i.Lag != nil {
			lag = fmt.Sprintf("%s, %d B", brief(time.Duration(*i.Lag*float64(time.Second)).Truncate(time.Millisecond)), i.LagBytes)
		}
		if i.Upstream != "" {
			if follows = i.Upstream; !i.Streaming {
				follows += ", does not stream"
			}
		}
		if len(i.PendingRestart) > 0 {
			notes = strings.TrimPrefix(notes+"; pending restart: "+strings.Join(i.PendingRestart, ", "), "; ")
		}
		rows = append(rows, []field{
			{i.Node + " (" + i.Address + ")", plain}, {i.Role, roleColour(i.Role)}, {strconv.FormatUint(i.Epoch, 10), plain},
			{line, plain}, {follows, plain}, {lag, plain}, {strings.ReplaceAll(notes, "\n", " "), dim},
		})
	}
	return indent(s.table([]column{
		{"INSTANCE", false}, {"ROLE", false}, {"EPOCH", true}, {"LINE", false}, {"FOLLOWS", false}, {"LAG", true}, {"NOTES", false},
	}, rows)) + "\n"
}

func roleColour(role string) string {
	if role == "primary" || role == "standby" {
		return green
	}
	return red
}

func (s style) member(m api.MemberStatus, now time.Time) []field {
	name := m.Name
	if m.Address != m.Name {
		name += " (" + m.Address + ")"
	}
	since := "-"
	if !m.Since.IsZero() {
		since = age(now.Sub(m.Since))
	}
	latency := "-"
	if m.Latency > 0 {
		latency = brief(time.Duration(m.Latency * float64(time.Second)))
	}
	evidence := m.Evidence
	if m.Breaker != "" && m.Breaker != "closed" && m.State != api.MemberOpen {
		evidence = strings.TrimPrefix(evidence+"; breaker "+m.Breaker, "; ")
	}
	if m.Priority > 0 {
		evidence = strings.TrimPrefix(evidence+fmt.Sprintf("; spare of tier %d", m.Priority), "; ")
	}
	return []field{
		{name, plain}, {string(m.State), memberColour(m.State)}, {since, plain}, {strconv.FormatInt(m.InFlight, 10), plain},
		{latency, plain}, {strconv.FormatFloat(m.Share*100, 'f', 0, 64) + "%", plain}, {strings.ReplaceAll(evidence, "\n", " "), dim},
	}
}

func nodeColour(s api.NodeState) string {
	if s == api.NodeReady {
		return green
	}
	return yellow
}

func serviceColour(s api.ServiceState) string {
	switch s {
	case api.ServiceUp:
		return green
	case api.ServiceDegraded:
		return yellow
	}
	return red
}

func memberColour(s api.MemberState) string {
	switch s {
	case api.MemberUp:
		return green
	case api.MemberDown, api.MemberEjected, api.MemberOpen:
		return red
	}
	return yellow
}

// age writes how long ago, in its two largest units: 45s, 3m12s, 2h5m, 3d4h.
func age(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	days, hours, minutes, seconds := int(d/(24*time.Hour)), int(d/time.Hour)%24, int(d/time.Minute)%60, int(d/time.Second)%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh%dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm%ds", minutes, seconds)
	}
	return fmt.Sprintf("%ds", seconds)
}

// brief writes a latency in three digits: 812µs, 2.41ms, 1.50s.
func brief(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= unit.size {
			v := float64(d) / float64(unit.size)
			digits := 2
			if v >= 100 {
				digits = 0
			} else if v >= 10 {
				digits = 1
			}
			return strconv.FormatFloat(v, 'f', digits, 64) + unit.name
		}
	}
	return d.String()
}
