package resilience

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs each step of a story in one synctest bubble.
func inBubble(t *testing.T, name string, story func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, story) })
}

// feed gives a breaker results: s success, f failure, i ignored, S slow success, F slow failure; a dot lets a second pass, and ! expects a refusal.
func feed(t *testing.T, b *Breaker, script string) {
	t.Helper()
	for i, c := range script {
		if c == '.' {
			time.Sleep(time.Second)
			continue
		}
		ready := b.Ready()
		p, err := b.Allow()
		if ready != (err == nil) {
			t.Fatalf("%q[%d]: Ready %v, but Allow said %v", script, i, ready, err)
		}
		if refused := err != nil; refused != (c == '!') {
			t.Fatalf("%q[%d]: refused %v (%v), state %v", script, i, refused, err, b.State())
		}
		switch c {
		case 's':
			p.Done(Success, time.Millisecond)
		case 'f':
			p.Done(Failure, time.Millisecond)
		case 'i':
			p.Done(Ignored, time.Millisecond)
		case 'S':
			p.Done(Success, time.Minute)
		case 'F':
			p.Done(Failure, time.Minute)
		}
	}
}

func TestBreakerScripts(t *testing.T) {
	rate := BreakerOptions{FailureRate: 0.5, Volume: 4, Window: 16 * time.Second, Reset: time.Second}
	slow := BreakerOptions{SlowRate: 0.5, Slow: time.Second, Volume: 4, Window: 16 * time.Second}
	row := BreakerOptions{Consecutive: 3}
	tests := []struct {
		name    string
		options BreakerOptions
		script  string
		want    BreakerState
		cause   string
	}{
		{"two failures do not make three", row, "ff", Closed, "new"},
		{"three in a row open", row, "fff!", Open, "3 failures in a row"},
		{"a success between starts the row anew", row, "ffsff", Closed, ""},
		{"an ignored one does not", row, "ffif", Open, "3 failures in a row"},
		{"rates are off in a row-only breaker", row, strings.Repeat("ffs", 50), Closed, ""},
		{"a rate needs its volume", rate, "fff", Closed, ""},
		{"a rate at its volume opens", rate, "ssff", Open, "2 of 4 calls failed within 16s"},
		{"below the rate stays", rate, "sssff", Closed, ""},
		{"a success that makes up the volume does not open", rate, "fffs", Closed, ""},
		{"ignored results are no volume", rate, "iiiifff", Closed, ""},
		{"old failures leave the window", rate, "fff................sf", Closed, ""},
		{"younger ones are still in it", rate, "fff..............sf", Open, "4 of 5 calls failed within 16s"},
		{"slow successes open", slow, "ssSS", Open, "2 of 4 calls took 1s or longer within 16s"},
		{"slow failures are slow too", slow, "ssFF", Open, "2 of 4 calls took 1s or longer within 16s"},
		{"fast failures are not slow", slow, "ssffffff", Closed, ""},
		{"after the reset timeout one call closes it", row, "fff!.s", Closed, "1 probes succeeded"},
		{"or opens it for longer", row, "fff!.f!.!.f!.!.!.!.s", Closed, ""},
		{"an ignored probe decides nothing", row, "fff.i", HalfOpen, "reset timeout is over"},
		{"what it forgot does not count", row, "fff.sff", Closed, ""},
		{"growth starts anew once closed", row, "fff.f..sfff!.s", Closed, ""},
		{"a slow probe fails", BreakerOptions{Consecutive: 3, SlowRate: 1, Slow: time.Second}, "fff.S!", Open, "a probe took 1s or longer"},
		{"defaults open at ten in a row", BreakerOptions{}, "ffffffffff!", Open, "10 failures in a row"},
		{"defaults open at a rate of 0.6", BreakerOptions{}, "sssssss" + "ffffff" + "s" + "ffffff", Open, "12 of 20 calls failed within 10s"},
	}
	for _, tt := range tests {
		inBubble(t, tt.name, func(t *testing.T) {
			b := NewBreaker(tt.options)
			feed(t, b, tt.script)
			if s := b.Snapshot(); s.State != tt.want || (tt.cause != "" && s.Cause != tt.cause) {
				t.Errorf("after %q: %v because %q, want %v because %q", tt.script, s.State, s.Cause, tt.want, tt.cause)
			}
		})
	}
}

// TestBreakerMachine tries every event in every state against the table as people would write it.
func TestBreakerMachine(t *testing.T) {
	byHand := map[string]func(*Breaker){"isolate": (*Breaker).Isolate, "force": (*Breaker).ForceClose, "reset": (*Breaker).Reset}
	reach := map[BreakerState]string{Closed: "", Open: "fff", HalfOpen: "fff.i"}
	tests := []struct {
		from BreakerState
		act  string
		want BreakerState
	}{
		{Closed, "fff", Open}, {Closed, "sss", Closed}, {Closed, "ff", Closed},
		{Closed, "isolate", Open}, {Closed, "force", Closed}, {Closed, "reset", Closed},
		{Open, "!", Open}, {Open, ".i", HalfOpen}, {Open, ".s", Closed}, {Open, ".f", Open},
		{Open, "isolate", Open}, {Open, "force", Closed}, {Open, "reset", Closed},
		{HalfOpen, "i", HalfOpen}, {HalfOpen, "s", Closed}, {HalfOpen, "f", Open},
		{HalfOpen, "isolate", Open}, {HalfOpen, "force", Closed}, {HalfOpen, "reset", Closed},
	}
	for _, tt := range tests {
		inBubble(t, fmt.Sprintf("%v %s", tt.from, tt.act), func(t *testing.T) {
			b := NewBreaker(BreakerOptions{Consecutive: 3})
			feed(t, b, reach[tt.from])
			if b.State() != tt.from {
				t.Fatalf("set up as %v", b.State())
			}
			if act := byHand[tt.act]; act != nil {
				act(b)
			} else {
				feed(t, b, tt.act)
			}
			if b.State() != tt.want {
				t.Errorf("came to %v, want %v", b.State(), tt.want)
			}
		})
	}
}

func TestBreakerByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(BreakerOptions{Consecutive: 3})
		b.Isolate()
		time.Sleep(time.Hour)
		feed(t, b, "!!")
		if b.RetryAfter() != 0 || !b.Snapshot().Forced {
			t.Errorf("isolated: %+v", b.Snapshot())
		}
		b.ForceClose()
		feed(t, b, "ffffffffffff")
		if s := b.Snapshot(); s.State != Closed || s.Consecutive != 12 {
			t.Errorf("forced closed: %+v", s)
		}
		b.Reset()
		feed(t, b, "ffsfff!!")
		if s := b.Snapshot(); s.Refused != 4 || s.Forced {
			t.Errorf("reset: %+v", s)
		}
	})
}

func TestBreakerResetTimeoutGrowsWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(BreakerOptions{Consecutive: 1, Reset: time.Second, MaxReset: 5 * time.Second})
		seen := map[time.Duration]bool{}
		for _, bound := range []time.Duration{1, 2, 4, 5, 5, 5} {
			feed(t, b, "f!")
			rest := b.RetryAfter()
			if bound *= time.Second; rest > bound || rest < bound*3/4 {
				t.Errorf("rests for %v, want between %v and %v", rest, bound*3/4, bound)
			}
			seen[rest] = true
			time.Sleep(rest - 1)
			feed(t, b, "!")
			time.Sleep(time.Nanosecond)
		}
		if len(seen) < 5 {
			t.Errorf("no jitter: %v", seen)
		}
	})
}

func TestBreakerHonoursRetryAfter(t *testing.T) {
	for _, tt := range []struct{ asked, least, most time.Duration }{
		{0, 750 * time.Millisecond, time.Second},
		{20 * time.Second, 20 * time.Second, 20 * time.Second},
		{time.Hour, time.Minute, time.Minute},
	} {
		inBubble(t, tt.asked.String(), func(t *testing.T) {
			b := NewBreaker(BreakerOptions{Consecutive: 1})
			p, _ := b.Allow()
			p.DoneAfter(Failure, 0, tt.asked)
			if rest := b.RetryAfter(); rest < tt.least || rest > tt.most {
				t.Errorf("rests for %v, want %v to %v", rest, tt.least, tt.most)
			}
		})
	}
}

func TestBreakerDropsResultsOfAnEarlierEra(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(BreakerOptions{Consecutive: 2, Probes: 2})
		var old []Permit
		for range 8 {
			p, _ := b.Allow()
			old = append(old, p)
		}
		feed(t, b, "ff!")
		time.Sleep(time.Second)
		probe, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		old[0].Done(Success, 0)
		old[1].Done(Success, 0)
		old[2].Done(Failure, 0)
		if s := b.Snapshot(); s.State != HalfOpen || s.Probes != 1 {
			t.Fatalf("results from before it opened moved it: %+v", s)
		}
		probe.Done(Success, 0)
		probe.Done(Success, 0) // a permit used twice counts once
		if b.State() != HalfOpen {
			t.Fatal("one of two probes closed it")
		}
		feed(t, b, "s")
		for _, p := range old[3:] {
			p.Done(Failure, 0)
		}
		if s := b.Snapshot(); s.State != Closed || s.Consecutive != 0 {
			t.Fatalf("failures from before it opened count now: %+v", s)
		}
	})
}

func TestBreakerLostProbeDoesNotWedgeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		b := NewBreaker(BreakerOptions{Consecutive: 1, ProbeTimeout: 5 * time.Second, OnChange: func(c BreakerChange) {
			changes = append(changes, fmt.Sprintf("%v→%v: %s", c.From, c.To, c.Cause))
		}})
		feed(t, b, "f.")
		lost, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		feed(t, b, "!....!.!..") // open again for two seconds after the fifth
		lost.Done(Success, 0)    // too late
		feed(t, b, "s")
		want := []string{
			"closed→open: 1 failures in a row", "open→half-open: reset timeout is over",
			"half-open→open: a probe did not end within 5s", "open→half-open: reset timeout is over", "half-open→closed: 1 probes succeeded",
		}
		if got := strings.Join(changes, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("changes:\n%s", got)
		}
	})
}

func TestBreakerUpdateKeepsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := BreakerOptions{Consecutive: 5, FailureRate: 0.9, Probes: 3}
		b := NewBreaker(o)
		feed(t, b, "sfff")
		o.Consecutive = 4
		b.Update(o)
		if s := b.Snapshot(); s.Calls != 4 || s.Failures != 3 || s.Consecutive != 3 {
			t.Errorf("an update lost results: %+v", s)
		}
		held, _ := b.Allow()
		feed(t, b, "f!")
		o.Reset = time.Hour
		b.Update(o)
		held.Done(Success, 0)
		if b.State() != Open || b.RetryAfter() > time.Second {
			t.Errorf("an update moved an open breaker: %v, tries in %v", b.State(), b.RetryAfter())
		}
		time.Sleep(time.Second)
		var probes [3]Permit
		for i := range probes {
			probes[i], _ = b.Allow()
		}
		o.Probes = 1
		b.Update(o)
		feed(t, b, "!")
		probes[2].Done(Ignored, 0)
		feed(t, b, "!")
		probes[1].Done(Ignored, 0)
		probes[0].Done(Ignored, 0)
		feed(t, b, "s")
		if b.State() != Closed {
			t.Errorf("came to %v", b.State())
		}
		b.Update(BreakerOptions{Consecutive: 2})
		feed(t, b, "ff!")
	})
}
