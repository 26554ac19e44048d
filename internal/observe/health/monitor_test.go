package health

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// fake answers for members by name and remembers when it was asked.
type fake struct {
	mu     sync.Mutex
	bad    map[string]string // reasons by member
	takes  time.Duration
	asked  map[string][]time.Time
	at     int // looks under way
	peak   int
	answer func(ctx context.Context, t Target) Result
}

func (f *fake) Probe(ctx context.Context, t Target) Result {
	f.mu.Lock()
	if f.asked == nil {
		f.asked = map[string][]time.Time{}
	}
	f.asked[t.Member] = append(f.asked[t.Member], time.Now())
	f.at++
	f.peak = max(f.peak, f.at)
	takes, reason, answer := f.takes, f.bad[t.Member], f.answer
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.at--
		f.mu.Unlock()
	}()
	if answer != nil {
		return answer(ctx, t)
	}
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return Result{Reason: "timed out"}
		}
	}
	return Result{OK: reason == "", Reason: reason}
}

func (f *fake) set(member, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bad == nil {
		f.bad = map[string]string{}
	}
	f.bad[member] = reason
}

func (f *fake) looks(member string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked[member])
}

func (f *fake) most() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peak
}

func (f *fake) gaps(member string) (gaps []time.Duration) {
	looks := f.looks(member)
	for i := 1; i < len(looks); i++ {
		gaps = append(gaps, looks[i].Sub(looks[i-1]))
	}
	return gaps
}

var everySecond = config.Check{Every: config.Duration(time.Second), Timeout: config.Duration(500 * time.Millisecond), Rise: 2, Fall: 3}

func target(member string, c config.Check) Target {
	return Target{Service: "web", Member: member, Address: "127.0.0.1:80", Check: c}
}

// watch runs a monitor in a bubble and hands over what it tells.
func watch(t *testing.T, o Options, body func(m *Monitor, told func() []string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string
		o.OnTransition = func(tr Transition) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s %s→%s", tr.Member, tr.From.State, tr.To.State))
		}
		ctx, cancel := context.WithCancel(t.Context())
		m := NewMonitor(o)
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		body(m, func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(told)
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func middle() float64 { return 0.5 }

func TestUpDownAndUpAgain(t *testing.T) {
	f := &fake{}
	watch(t, Options{Prober: f, Rand: middle}, func(m *Monitor, told func() []string) {
		m.Set([]Target{target("a", everySecond)})
		time.Sleep(100 * time.Millisecond)
		want(t, "first look", told(), []string{"a unknown→up"})
		f.set("a", "connection refused")
		time.Sleep(3 * time.Second)
		f.set("a", "")
		want(t, "after fall", told(), []string{"a unknown→up", "a up→down"})
		s, ok := m.Status("web", "a")
		want(t, "status", fmt.Sprintln(s.State, ok, s.Bad, s.Evidence), "down true 3 3 of 3 probes: connection refused since 00:00:01\n")
		time.Sleep(2 * time.Second)
		want(t, "after rise", told(), []string{"a unknown→up", "a up→down", "a down→up"})
	})
}

func TestScheduleWhileUpAndDown(t *testing.T) {
	c := everySecond
	c.EveryDown = config.Duration(4 * time.Second)
	f := &fake{takes: 200 * time.Millisecond}
	f.set("a", "status 503")
	watch(t, Options{Prober: f, Rand: middle}, func(m *Monitor, told func() []string) {
		m.Set([]Target{target("a", c)})
		time.Sleep(11 * time.Second)
		want(t, "gaps down", f.gaps("a"), []time.Duration{time.Second, time.Second, 4 * time.Second, 4 * time.Second})
		f.set("a", "")
		time.Sleep(10 * time.Second)
		want(t, "gaps up again", f.gaps("a")[4:], []time.Duration{4 * time.Second, 4 * time.Second, time.Second, time.Second})
		want(t, "told", told(), []string{"a unknown→down", "a down→up"})
	})
}

func TestLooksLongerThanTheIntervalDoNotOverlap(t *testing.T) {
	c := everySecond
	c.Timeout = config.Duration(3 * time.Second)
	f := &fake{takes: time.Hour}
	watch(t, Options{Prober: f, Rand: middle}, func(m *Monitor, _ func() []string) {
		m.Set([]Target{target("a", c)})
		time.Sleep(10 * time.Second)
		want(t, "gaps", f.gaps("a"), []time.Duration{3 * time.Second, 3 * time.Second, 3 * time.Second})
		want(t, "at once", f.most(), 1)
		s, _ := m.Status("web", "a")
		want(t, "took", s.Took, 3*time.Second)
	})
}

func TestJitterStaysWithinItsShare(t *testing.T) {
	c := everySecond
	c.Jitter = 20
	f := &fake{}
	watch(t, Options{Prober: f}, func(m *Monitor, _ func() []string) {
		m.Set([]Target{target("a", c)})
		time.Sleep(10 * time.Minute)
		gaps := f.gaps("a")
		low, high := slices.Min(gaps), slices.Max(gaps)
		if low < 800*time.Millisecond || high > 1200*time.Millisecond {
			t.Errorf("gaps from %v to %v", low, high)
		}
		if low > 850*time.Millisecond || high < 1150*time.Millisecond {
			t.Errorf("gaps only from %v to %v", low, high)
		}
	})
}

func TestFirstLooksAreSpread(t *testing.T) {
	for _, n := range []int{3, 5000} {
		f := &fake{}
		watch(t, Options{Prober: f}, func(m *Monitor, _ func() []string) {
			begun := time.Now()
			var targets []Target
			for i := range n {
				targets = append(targets, target(fmt.Sprint(i), everySecond))
			}
			m.Set(targets)
			time.Sleep(time.Second)
			synctest.Wait()
			window := min(time.Second, time.Duration(n)*spread)
			perTenth := make([]int, 10)
			for i := range n {
				looks := f.looks(fmt.Sprint(i))
				if len(looks) == 0 {
					t.Fatalf("%d was not looked at", i)
				}
				perTenth[min(9, int(10*looks[0].Sub(begun)/window))]++
			}
			if limit := n/10 + 2; slices.Max(perTenth) > limit {
				t.Errorf("%d targets: first looks per tenth of %v: %v", n, window, perTenth)
			}
		})
	}
}

func TestConcurrencyIsBoundedAndAllAreServed(t *testing.T) {
	f := &fake{takes: 100 * time.Millisecond}
	watch(t, Options{Prober: f, Concurrency: 7}, func(m *Monitor, told func() []string) {
		var targets []Target
		for i := range 50 {
			targets = append(targets, target(fmt.Sprint(i), everySecond))
		}
		m.Set(targets)
		time.Sleep(10 * time.Second)
		want(t, "at once", f.most(), 7)
		want(t, "told", len(told()), 50)
		for i := range 50 {
			if n := len(f.looks(fmt.Sprint(i))); n < 8 {
				t.Errorf("%d had %d looks", i, n)
			}
		}
	})
}

func TestSetKeepsWhatIsUnchanged(t *testing.T) {
	f := &fake{}
	watch(t, Options{Prober: f, Rand: middle}, func(m *Monitor, told func() []string) {
		m.Set([]Target{target("a", everySecond), target("b", everySecond), target("c", everySecond)})
		time.Sleep(2500 * time.Millisecond)
		changed, moved := everySecond, target("c", everySecond)
		changed.Fall = 1
		moved.Address = "127.0.0.2:80"
		f.set("c", "no route to host")
		for range 10 { // a reload does not disturb the schedule
			m.Set([]Target{target("a", everySecond), target("b", changed), moved})
		}
		sb, _ := m.Status("web", "b")
		sc, _ := m.Status("web", "c")
		want(t, "another check keeps state, another address does not", fmt.Sprint(sb.State, sc.State), "upunknown")
		f.set("b", "status 500")
		time.Sleep(time.Second)
		want(t, "told", told()[3:], []string{"b up→down"})
		for _, g := range f.gaps("a") {
			want(t, "gap of a", g, time.Second)
		}
	})
}

func TestRemovedTargetIsForgotten(t *testing.T) {
	f := &fake{}
	watch(t, Options{Prober: f, Rand: middle}, func(m *Monitor, told func() []string) {
		m.Set([]Target{target("a", everySecond)})
		time.Sleep(time.Second)
		m.Set(nil)
		if _, ok := m.Status("web", "a"); ok {
			t.Error("still there")
		}
		n := len(f.looks("a"))
		time.Sleep(10 * time.Second)
		want(t, "looks after removal", len(f.looks("a")), n)
		m.Set([]Target{target("a", everySecond)})
		s, _ := m.Status("web", "a")
		want(t, "begins anew", s.State, Unknown)
	})
}

func TestLookAtAnOldTargetDoesNotCount(t *testing.T) {
	f := &fake{takes: 400 * time.Millisecond}
	watch(t, Options{Prober: f, Rand: middle}, func(m *Monitor, told func() []string) {
		m.Set([]Target{target("a", everySecond)})
		time.Sleep(100 * time.Millisecond) // its first look is under way
		m.Set(nil)
		if _, ok := m.Status("web", "a"); ok {
			t.Error("still there")
		}
		m.Set([]Target{target("a", everySecond)})
		synctest.Wait()
		s, ok := m.Status("web", "a")
		want(t, "status", fmt.Sprint(s.State, ok), "unknowntrue")
		want(t, "told", len(told()), 0)
		time.Sleep(time.Second)
		want(t, "told", told(), []string{"a unknown→up"})
	})
}

func TestTransitionsStayInOrderThoughTheirReceiverIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config.Check{Every: config.Duration(10 * time.Millisecond), Rise: 1, Fall: 1}
		n := 0
		f := &fake{answer: func(context.Context, Target) Result { n++; return Result{OK: n%2 == 1, Reason: "flap"} }}
		var m *Monitor
		var states []State
		results := 0
		m = NewMonitor(Options{Prober: f, OnResult: func(Target, Result) { results++ }, OnTransition: func(tr Transition) {
			time.Sleep(50 * time.Millisecond)
			m.Set([]Target{target("a", c)}) // no lock is held
			if s, _ := m.Status("web", "a"); s.State != tr.To.State {
				t.Errorf("told of %s while it is %s", tr.To.State, s.State)
			}
			if len(states) > 0 && states[len(states)-1] != tr.From.State {
				t.Errorf("from %s after %v", tr.From.State, states)
			}
			states = append(states, tr.To.State)
		}})
		m.Set([]Target{target("a", c)})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
		if len(states) < 30 || results < len(states) {
			t.Errorf("%d transitions, %d results", len(states), results)
		}
	})
}

func TestEndOfRunIsNoBadLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: time.Hour}
		c := everySecond
		c.Fall, c.Timeout = 1, config.Duration(time.Minute)
		m := NewMonitor(Options{Prober: f, OnResult: func(Target, Result) { t.Error("told of a look that was cut off") }})
		m.Set([]Target{target("a", c)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
		s, _ := m.Status("web", "a")
		want(t, "state", s.State, Unknown)
	})
}

func TestGraceIsToldBeforeTheFirstLook(t *testing.T) {
	c := everySecond
	c.Grace = config.Duration(10 * time.Second)
	f := &fake{takes: 400 * time.Millisecond}
	f.set("slow", "connection refused")
	watch(t, Options{Prober: f, Rand: middle}, func(m *Monitor, told func() []string) {
		m.Set([]Target{target("slow", c)})
		time.Sleep(100 * time.Millisecond)
		want(t, "while the first look is under way", told(), []string{"slow unknown→starting"})
		m.Set([]Target{target("slow", c), target("quick", c)})
		time.Sleep(9 * time.Second)
		want(t, "within the grace", told(), []string{"slow unknown→starting", "quick unknown→starting", "quick starting→up"})
		time.Sleep(2 * time.Second)
		want(t, "after it", told()[3:], []string{"slow starting→down"})
	})
}

// BenchmarkManyTargets is the cost of one look, the probe itself aside, among 10,000 targets.
func BenchmarkManyTargets(b *testing.B) {
	done := make(chan struct{}, 1)
	n := 0
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	m := NewMonitor(Options{Concurrency: 1, Prober: &instant{func() {
		if n++; n == b.N {
			done <- struct{}{}
		}
	}}})
	var targets []Target
	c := config.Check{Every: config.Duration(time.Millisecond), Timeout: config.Duration(time.Second)}
	for i := range 10_000 {
		targets = append(targets, target(fmt.Sprint(i), c))
	}
	m.Set(targets)
	b.ReportAllocs()
	b.ResetTimer()
	go m.Run(ctx)
	<-done
}

type instant struct{ asked func() }

func (i *instant) Probe(context.Context, Target) Result { i.asked(); return Result{OK: true} }
