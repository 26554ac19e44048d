package resilience

import (
	"testing"
	"testing/synctest"
	"time"
)

// plainBreaker is the breaker as one would write it without a thought for speed: a list of results, looked through each time.
type plainBreaker struct {
	o         BreakerOptions
	state     BreakerState
	forced    bool
	era       int
	row       int
	results   []plainResult
	until     time.Time
	probes    map[*plainPermit]time.Time
	succeeded int
}

type plainResult struct {
	tick         tick
	failed, slow bool
}

type plainPermit struct {
	era   int
	probe bool
}

func (m *plainBreaker) enter(s BreakerState, forced bool) {
	m.era++
	m.state, m.forced, m.row, m.results, m.succeeded, m.probes = s, forced, 0, nil, 0, map[*plainPermit]time.Time{}
}

func (m *plainBreaker) allow(now time.Time) *plainPermit {
	if m.state == Open && !m.forced && !now.Before(m.until) {
		m.enter(HalfOpen, false)
	}
	p := &plainPermit{era: m.era}
	switch m.state {
	case Open:
		return nil
	case HalfOpen:
		for _, begun := range m.probes {
			if now.Sub(begun) >= m.o.ProbeTimeout {
				m.enter(Open, false)
				return nil
			}
		}
		if len(m.probes) >= m.o.Probes {
			return nil
		}
		p.probe = true
		m.probes[p] = now
	case Closed:
	}
	return p
}

func (m *plainBreaker) done(p *plainPermit, o Outcome, slow bool, now tick) {
	if p.era != m.era {
		return
	}
	if p.probe {
		delete(m.probes, p)
		switch {
		case o == Ignored:
		case o == Failure || slow:
			m.enter(Open, false)
		default:
			if m.succeeded++; m.succeeded >= m.o.Probes {
				m.enter(Closed, false)
			}
		}
		return
	}
	if o == Ignored {
		return
	}
	m.row++
	if o == Success {
		m.row = 0
	}
	m.results = append(m.results, plainResult{now, o == Failure, slow})
	var calls, failed, slows int
	for _, r := range m.results {
		if now-r.tick < spans {
			calls++
			failed += b2i(r.failed)
			slows += b2i(r.slow)
		}
	}
	bad := (o == Failure && m.row >= m.o.Consecutive) || ((o == Failure || slow) && calls >= m.o.Volume &&
		(float64(failed) >= m.o.FailureRate*float64(calls) || float64(slows) >= m.o.SlowRate*float64(calls)))
	if bad && !m.forced {
		m.enter(Open, false)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// FuzzBreaker plays any script of calls, results (late ones too), time and interventions against the plain breaker.
func FuzzBreaker(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x01\x00\x01\x00\x01\x00\x01\x07\x00\x02"))
	f.Add([]byte("\x00\x00\x00\x00\x01\x01\x01\x01\x27\x00\x00\x00\x02\x02\x02\x17\x00\x01"))
	f.Add([]byte("\x00\x02\x00\x02\x00\x02\x00\x05\x00\x05\x00\x05\x04\x06\x00\x03\xf7\xf7\x00\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 400 {
			return
		}
		synctest.Test(t, func(t *testing.T) { playBreaker(t, script) })
	})
}

func playBreaker(t *testing.T, script []byte) {
	o := BreakerOptions{Consecutive: 4, FailureRate: 0.5, SlowRate: 0.75, Slow: time.Second, Volume: 6, Window: 16 * time.Second, Reset: 3 * time.Second, Probes: 2}.withDefaults()
	last := Closed
	o.OnChange = func(c BreakerChange) {
		if c.From != last {
			t.Fatalf("change from %v after one to %v", c.From, last)
		}
		last = c.To
	}
	b, m := NewBreaker(o), &plainBreaker{o: o, probes: map[*plainPermit]time.Time{}}
	var permits []Permit
	var plain []*plainPermit
	finish := func(o Outcome, took time.Duration, arg int) {
		if len(permits) == 0 {
			return
		}
		i := arg % len(permits)
		permits[i].Done(o, took)
		m.done(plain[i], o, took >= time.Second, newTicker(16*time.Second).at(b.clock.now()))
		permits, plain = append(permits[:i], permits[i+1:]...), append(plain[:i], plain[i+1:]...)
	}
	for n, op := range script {
		arg := int(op >> 3)
		switch op & 7 {
		case 0:
			ready := b.Ready()
			p, err := b.Allow()
			want := m.allow(time.Now())
			if (err == nil) != (want != nil) || ready != (err == nil) {
				t.Fatalf("step %d: ready %v, allowed %v, want %v (%+v)", n, ready, err == nil, want != nil, b.Snapshot())
			}
			if err == nil {
				permits, plain = append(permits, p), append(plain, want)
			}
		case 1:
			finish(Failure, 0, arg)
		case 2:
			finish(Success, 0, arg)
		case 3:
			finish(Ignored, 0, arg)
		case 4:
			finish(Success, time.Second, arg)
		case 5:
			byHand(b, m, arg)
		default:
			time.Sleep(time.Duration(arg) * 250 * time.Millisecond)
		}
		s := b.Snapshot()
		if s.State != m.state || s.Forced != m.forced || (s.State == HalfOpen && s.Probes != len(m.probes)) || s.Probes > o.Probes {
			t.Fatalf("step %d (%d): %+v, want %v forced %v with %d probes", n, op&7, s, m.state, m.forced, len(m.probes))
		}
		if s.State == Open && !s.Forced { // how long is random: taken over
			m.until = time.Now().Add(s.RetryAfter)
		}
	}
}

func byHand(b *Breaker, m *plainBreaker, arg int) {
	switch arg {
	case 1:
		b.Isolate()
		m.enter(Open, true)
	case 2:
		b.ForceClose()
		m.enter(Closed, true)
	case 3:
		b.Reset()
		m.enter(Closed, false)
	}
}
