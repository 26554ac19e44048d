package fake

import (
	"fmt"
	"slices"
	"time"
)

// A stream is a standby's connection to its upstream.
type stream struct {
	from, to *Instance
	up       bool   // the upstream has agreed
	problem  string // why it has not
}

func (s *stream) over(from, to string) bool {
	a, b := s.from.node, s.to.node
	return from == a && to == b || from == b && to == a
}

// connect begins a stream to the instance's upstream; where that does not work it is tried again as long as the
// instance runs and has that upstream. Called with the lock held, as all here.
func (w *World) connect(in *Instance) {
	if in.stream != nil || !in.running || in.hung || !in.standby || in.upstream == "" || in.upstream == in.node {
		return
	}
	s := &stream{from: w.instance(in.upstream), to: in}
	in.stream = s
	trip := w.o.Latency(in.node, in.upstream) + w.o.Latency(in.upstream, in.node)
	time.AfterFunc(trip, w.locked(func() {
		if in.stream != s {
			return
		}
		if s.problem = w.hinders(s); s.problem != "" {
			w.connectLater(in)
			return
		}
		s.up = true
		delete(s.from.acked, in.node)
		in.timeline = max(in.timeline, s.from.timeline)
		w.acknowledge(s) // what it has already
		w.send(s)
		in.tell()
		s.from.tell()
	}))
}

// connectLater gives up the attempt under way and makes another after a while.
func (w *World) connectLater(in *Instance) {
	s := in.stream
	if s == nil {
		s = &stream{from: w.instance(in.upstream), to: in}
		in.stream = s
	}
	time.AfterFunc(w.o.Reconnect, w.locked(func() {
		if in.stream == s && !s.up {
			in.stream = nil
			w.connect(in)
		}
	}))
}

// hinders says why a stream cannot be; empty where nothing hinders it.
func (w *World) hinders(s *stream) string {
	from, to := s.from, s.to
	switch {
	case w.cut[link{from.node, to.node}] || w.cut[link{to.node, from.node}] || from.off:
		return "no answer from " + from.node
	case !from.running:
		return from.node + " refuses the connection"
	case from.hung:
		return "no answer from " + from.node
	case from.origin != to.origin:
		return fmt.Sprintf("%s is of another origin (%s, here %s)", from.node, from.origin, to.origin)
	case diverged(from.log, to.log):
		return fmt.Sprintf("history has diverged from that of %s", from.node)
	}
	return ""
}

func diverged(upstream, own []record) bool {
	n := len(own)
	return n > len(upstream) || n > 0 && upstream[n-1].serial != own[n-1].serial
}

// common is how many records two histories share from the beginning.
func common(a, b []record) int {
	n := 0
	for n < len(a) && n < len(b) && a[n].serial == b[n].serial {
		n++
	}
	return n
}

// fan sends what is new to all standbys of an instance.
func (w *World) fan(in *Instance) {
	for _, to := range w.instances {
		if s := to.stream; s != nil && s.up && s.from == in {
			w.send(s)
		}
	}
}

// send lets the standby have all that the upstream has now, a moment later. What is lost on the way comes with the next.
func (w *World) send(s *stream) {
	if s.from.hung {
		return
	}
	sent := s.from.log[:len(s.from.log):len(s.from.log)]
	time.AfterFunc(w.o.Latency(s.from.node, s.to.node), w.locked(func() {
		to := s.to
		if to.stream != s || to.hung || to.full || w.cut[link{s.from.node, to.node}] || len(sent) <= len(to.log) {
			return
		}
		to.log = append(to.log, sent[len(to.log):]...)
		w.acknowledge(s)
		w.fan(to) // cascades
	}))
}

// acknowledge tells the upstream how far the standby is, a moment later.
func (w *World) acknowledge(s *stream) {
	at := s.to.position()
	time.AfterFunc(w.o.Latency(s.to.node, s.from.node), w.locked(func() {
		from := s.from
		stale := s.to.stream != s && s.to.stream != nil // an answer that was on its way when the stream was dropped counts
		if !from.running || stale || w.cut[link{s.to.node, from.node}] || at <= from.acked[s.to.node] {
			return
		}
		from.acked[s.to.node] = at
		close(from.news) // clients may have waited for this; the node process need not look
		from.news = make(chan struct{})
	}))
}

// drop ends the instance's own stream.
func (w *World) drop(in *Instance) {
	s := in.stream
	if s == nil {
		return
	}
	in.stream = nil
	if s.up {
		delete(s.from.acked, in.node)
		s.from.tell()
		in.tell()
	}
}

// dropFrom ends the streams of an instance's standbys: at once where the other side hears of it, after the silence
// where the machine lost its power or the link is cut.
func (w *World) dropFrom(from *Instance) {
	for _, to := range w.instances {
		s := to.stream
		if s == nil || s.from != from || !s.up {
			continue
		}
		after := w.o.Latency(from.node, to.node)
		if from.off || w.cut[link{from.node, to.node}] {
			after = w.o.Silence
		}
		time.AfterFunc(after, w.locked(func() {
			if to.stream == s {
				w.drop(to)
				w.connectLater(to)
			}
		}))
	}
}

// resume goes on with the streams of an instance that hung.
func (w *World) resume(in *Instance) {
	w.connect(in)
	if s := in.stream; s != nil && s.up {
		w.send(s)
	}
	w.fan(in)
}

// give copies the upstream's history to an instance, and says what of its own it gave up.
func give(from, to *Instance) (lost []record) {
	n := common(from.log, to.log)
	lost = slices.Clone(to.log[n:])
	to.log = slices.Clone(from.log)
	to.origin, to.timeline = from.origin, from.timeline
	return lost
}
