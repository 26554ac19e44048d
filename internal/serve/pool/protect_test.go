package pool

import (
	"context"
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/telemetry"
	"github.com/backstay/backstay/resilience"
)

// protected is a service with these policies and the events it has told.
func protected(c config.Service) (*Service, func() []string) {
	var mu sync.Mutex
	var kinds []string
	s := NewService("web", Options{Append: func(r event.Record) {
		mu.Lock()
		defer mu.Unlock()
		kinds = append(kinds, r.Kind)
	}})
	s.Set(c, nil)
	return s, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), kinds...)
	}
}

func TestLineLetsTheImportantOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := protected(config.Service{Limit: &config.Limit{Concurrency: 1, Queue: 3, Wait: config.Duration(time.Minute)}})
		defer s.Close()
		first := Ticket{}
		if err := s.EnterAs(t.Context(), &first); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		enter := func(name string, p resilience.Priority) {
			go func() {
				ticket := Ticket{Priority: p, Ranked: true}
				if err := s.EnterAs(t.Context(), &ticket); err != nil {
					if !errors.Is(err, resilience.ErrQueueFull) {
						t.Errorf("%s: %v", name, err)
					}
					name += " refused"
				} else {
					defer s.LeaveAs(&ticket, Leaving{})
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			}()
			synctest.Wait()
		}
		enter("low", resilience.Sheddable)
		enter("normal 1", resilience.Normal)
		enter("normal 2", resilience.Normal)
		enter("critical", resilience.Critical) // the queue is full: low makes room
		enter("late low", resilience.Sheddable)
		s.LeaveAs(&first, Leaving{})
		synctest.Wait()
		want := []string{"low refused", "late low refused", "critical", "normal 1", "normal 2"}
		if len(order) != len(want) {
			t.Fatalf("got %q", order)
		}
		for i := range want {
			if order[i] != want[i] {
				t.Fatalf("got %q, want %q", order, want)
			}
		}
		if st := s.Status(); st.Queued != 0 || st.Limit.InUse != 0 {
			t.Errorf("left behind: %+v %+v", st, st.Limit)
		}
	})
}

// TestOnlyWhoWaitsIsQueued: a request that is refused at once has not waited.
func TestOnlyWhoWaitsIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := telemetry.NewMetrics(nil)
		s := NewService("web", Options{Metrics: metrics})
		defer s.Close()
		s.Set(config.Service{Name: "web", Limit: &config.Limit{Concurrency: 1, Queue: 2, Wait: config.Duration(time.Minute)}}, nil)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				ticket := Ticket{}
				if i%2 == 0 {
					if s.Enter(t.Context()) == nil {
						time.Sleep(time.Second)
						s.Leave()
					}
				} else if s.EnterAs(t.Context(), &ticket) == nil {
					time.Sleep(time.Second)
					s.LeaveAs(&ticket, Leaving{})
				}
			})
			synctest.Wait()
		}
		all.Wait()
		// One is in, two wait in the line of requests, two in the queue of sessions.
		if got := scraped(t, metrics, `backstay_service_queued_total{service="web"}`); got != "4" {
			t.Errorf("%s are counted as queued, want 4", got)
		}
		if got := scraped(t, metrics, `backstay_service_limited_total{service="web"}`); got != "5" {
			t.Errorf("%s are counted as refused, want 5", got)
		}
	})
}

func scraped(t *testing.T, m *telemetry.Metrics, series string) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	_, rest, _ := strings.Cut(w.Body.String(), "\n"+series+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// TestLineLosesNobody: whoever gives up, and whenever, no place is lost and none given twice.
func TestLineLosesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := protected(config.Service{Limit: &config.Limit{Concurrency: 3, Queue: 20, Wait: config.Duration(40 * time.Millisecond)}})
		defer s.Close()
		var all sync.WaitGroup
		var mu sync.Mutex
		in, most := 0, 0
		for i := range 2000 {
			time.Sleep(time.Duration(i%5) * time.Millisecond)
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*31%60)*time.Millisecond)
				defer cancel()
				ticket := Ticket{Priority: resilience.Priority(i * 37 % 512), Ranked: true}
				if s.EnterAs(ctx, &ticket) != nil {
					return
				}
				mu.Lock()
				in++
				most = max(most, in)
				mu.Unlock()
				time.Sleep(time.Duration(i*13%20) * time.Millisecond)
				mu.Lock()
				in--
				mu.Unlock()
				s.LeaveAs(&ticket, Leaving{})
			})
		}
		all.Wait()
		if st := s.Status(); most != 3 || st.Queued != 0 || st.Limit.InUse != 0 {
			t.Errorf("at most %d at once; left behind: %d waiting, %d places", most, st.Queued, st.Limit.InUse)
		}
	})
}

// TestShedding: three times the load; the level, the events and the status follow, and all is as before some seconds after.
func TestShedding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, events := protected(config.Service{
			Limit: &config.Limit{Concurrency: 4, Queue: 100, Wait: config.Duration(time.Second)}, Shed: &config.Shed{},
		})
		defer s.Close()
		var all sync.WaitGroup
		var mu sync.Mutex
		var good, asked [classes]int
		drive := func(d, each time.Duration) { // 4 places of 10 ms are 400 a second
			for i := range int(d / each) {
				time.Sleep(each)
				p := resilience.Sheddable
				if i%5 == 0 {
					p = resilience.Critical
				}
				all.Go(func() {
					began, ticket := time.Now(), Ticket{Priority: p, Ranked: true}
					err := s.EnterAs(t.Context(), &ticket)
					if err == nil {
						time.Sleep(10 * time.Millisecond)
						s.LeaveAs(&ticket, Leaving{})
					}
					mu.Lock()
					defer mu.Unlock()
					asked[classOf(p)]++
					if err == nil && (p != resilience.Critical || time.Since(began) < 20*time.Millisecond) {
						good[classOf(p)]++
					}
				})
			}
			all.Wait()
		}
		drive(5*time.Second, 5*time.Millisecond)
		if len(events()) != 0 || good != asked {
			t.Fatalf("without overload: %v, %d of %d", events(), good, asked)
		}
		good, asked = [classes]int{}, [classes]int{}
		drive(10*time.Second, time.Second/1200)
		if good[2]*100 < asked[2]*99 {
			t.Errorf("%d of %d critical requests were answered in time", good[2], asked[2])
		}
		if served := good[0] + good[2]; served < 3800 {
			t.Errorf("%d were served of the 4000 that could have been", served)
		}
		if st := s.Status(); st.Shed.AdmissionLevel > 0.7 || st.Shed.Below == "" || len(events()) != 1 {
			t.Errorf("status %+v, events %v", st.Shed, events())
		}
		good, asked = [classes]int{}, [classes]int{}
		drive(2*time.Second, 5*time.Millisecond)
		good, asked = [classes]int{}, [classes]int{}
		drive(5*time.Second, 5*time.Millisecond)
		if good != asked {
			t.Errorf("two seconds after: %d of %d", good, asked)
		}
		if got := events(); len(got) != 2 || got[0] != event.ServiceShedding || got[1] != event.ServiceShed {
			t.Errorf("events %v", got)
		}
	})
}

func TestClientsOwnLimit(t *testing.T) {
	s, _ := protected(config.Service{Limit: &config.Limit{Client: 2}})
	defer s.Close()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var tickets [4]Ticket
	for i, tt := range []struct {
		client netip.Addr
		want   error
	}{{a, nil}, {a, nil}, {a, ErrClientBusy}, {b, nil}} {
		tickets[i].Client = tt.client
		if err := s.EnterAs(t.Context(), &tickets[i]); !errors.Is(err, tt.want) {
			t.Errorf("%d: %v, want %v", i, err, tt.want)
		}
	}
	s.LeaveAs(&tickets[0], Leaving{})
	if err := s.EnterAs(t.Context(), &tickets[2]); err != nil {
		t.Error(err)
	}
}

// TestProtectionSurvivesReload: what was learnt stays where settings stay, and who is inside leaves what they entered.
func TestProtectionSurvivesReload(t *testing.T) {
	adaptive := config.Service{Limit: &config.Limit{Adaptive: true, Min: 2, Queue: 10}}
	s, _ := protected(adaptive)
	defer s.Close()
	before, shed := s.protect.adaptive.Load(), s.protect.shed.Load()
	if before == nil || shed == nil {
		t.Fatal("an adaptive limit sheds")
	}
	var ticket Ticket
	if err := s.EnterAs(t.Context(), &ticket); err != nil {
		t.Fatal(err)
	}
	s.Set(adaptive, nil)
	if s.protect.adaptive.Load() != before || s.protect.shed.Load() != shed {
		t.Error("a reload without a change forgot what was learnt")
	}
	s.Set(config.Service{Limit: &config.Limit{Concurrency: 1}}, nil)
	s.LeaveAs(&ticket, Leaving{})
	if before.Snapshot().InUse != 0 || s.Status().Limit.InUse != 0 || s.protect.shed.Load() != nil {
		t.Error("a ticket was given back to another limit")
	}
}

// TestEnteringAllocatesNothing: the path of every request stays free of allocation, with shedding and without.
func TestEnteringAllocatesNothing(t *testing.T) {
	for name, c := range map[string]config.Service{
		"nothing": {}, "fixed": {Limit: &config.Limit{Concurrency: 5}}, "shed": {Limit: &config.Limit{Concurrency: 5, Queue: 5}, Shed: &config.Shed{}},
		"adaptive": {Limit: &config.Limit{Adaptive: true, Queue: 5}}, "hedge": {Hedge: &config.Hedge{Quantile: 99}},
	} {
		s, _ := protected(c)
		ctx := t.Context()
		if n := testing.AllocsPerRun(1000, func() {
			ticket := Ticket{Priority: resilience.Normal, Ranked: true}
			if s.EnterAs(ctx, &ticket) == nil {
				s.LeaveAs(&ticket, Leaving{Load: LoadFine, Took: time.Millisecond})
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
		s.Close()
	}
}
