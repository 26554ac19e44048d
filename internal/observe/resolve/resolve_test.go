package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
)

func members(addresses ...string) (m []config.Member) {
	for _, a := range addresses {
		m = append(m, config.Member{Address: a, Weight: 1})
	}
	return m
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func names(endpoints []Endpoint) (s []string) {
	for _, e := range endpoints {
		s = append(s, e.Name+"@"+e.Address)
	}
	return s
}

func ips(addrs ...string) (a answer) {
	for _, s := range addrs {
		a.records = append(a.records, record{addr: netip.MustParseAddr(s)})
	}
	a.ttl = 5 * time.Second
	return a
}

func TestStaticMembersNeedNoLookUp(t *testing.T) {
	list := []config.Member{
		{Name: "a", Address: "10.0.0.1:80", Zone: "z", Weight: 3, Priority: 2},
		{Address: "[2001:db8::1]:80", Weight: 1},
		{Address: "unix:/run/web.sock", Weight: 1},
		{Address: "web.example:80", Weight: 1},
		{Address: "srv:_http._tcp.example", Weight: 1},
		{Address: "[fe80::1%eth0]:80", Weight: 1},
	}
	r := NewResolver(Options{})
	r.Set(map[string][]config.Member{"web": list})
	want(t, "at once", r.Endpoints("web"), []Endpoint{
		{Name: "a", Address: "10.0.0.1:80", Zone: "z", Weight: 3, Priority: 2},
		{Name: "[2001:db8::1]:80", Address: "[2001:db8::1]:80", Weight: 1},
		{Name: "unix:/run/web.sock", Address: "unix:/run/web.sock", Weight: 1},
		{Name: "[fe80::1%eth0]:80", Address: "[fe80::1%eth0]:80", Weight: 1},
	})
	want(t, "no such service", len(r.Endpoints("other")), 0)
}

func TestExpandNamesAddresses(t *testing.T) {
	m := config.Member{Name: "web", Address: "web.example.:80", Zone: "z", Weight: 2, Priority: 1}
	q, port, _ := parse(m.Address)
	var l labels
	for _, step := range []struct{ answer, want string }{
		{"10.0.0.1", "web@10.0.0.1:80"},
		{"10.0.0.2", "web@10.0.0.2:80"},
		{"10.0.0.3 10.0.0.2", "web@10.0.0.2:80 web/10.0.0.3:80@10.0.0.3:80"},
		{"10.0.0.3 10.0.0.4", "web/10.0.0.3:80@10.0.0.3:80 web/10.0.0.4:80@10.0.0.4:80"},
		{"10.0.0.4", "web/10.0.0.4:80@10.0.0.4:80"},
		{"2001:db8::1", "web@[2001:db8::1]:80"},
		{"10.0.0.2 10.0.0.1", "web/10.0.0.1:80@10.0.0.1:80 web/10.0.0.2:80@10.0.0.2:80"},
	} {
		var e []Endpoint
		e, l = expand(m, q, port, ips(strings.Fields(step.answer)...).tidy(), l)
		want(t, step.answer, strings.Join(names(e), " "), step.want)
		if e[0].Zone != "z" || e[0].Weight != 2 || e[0].Priority != 1 || e[0].Host != "web.example" {
			t.Errorf("got %+v", e[0])
		}
	}
}

func TestExpandSRV(t *testing.T) {
	a := answer{records: []record{
		{netip.MustParseAddr("10.0.0.1"), "a.example", 8080, 100, 10},
		{netip.MustParseAddr("10.0.0.2"), "b.example", 8081, 50, 10},
		{netip.MustParseAddr("10.0.0.3"), "c.example", 8082, 0, 20},
		{netip.MustParseAddr("10.0.0.3"), "c.example", 8082, 0, 20},
	}}.tidy()
	m := config.Member{Address: "srv:_http._tcp.example", Weight: 3, Priority: 8}
	q, port, _ := parse(m.Address)
	got, _ := expand(m, q, port, a, nil)
	prefix := "srv:_http._tcp.example/"
	want(t, "srv", got, []Endpoint{
		{prefix + "10.0.0.1:8080", "10.0.0.1:8080", "a.example", "", 6, 8},
		{prefix + "10.0.0.2:8081", "10.0.0.2:8081", "b.example", "", 3, 8},
		{prefix + "10.0.0.3:8082", "10.0.0.3:8082", "c.example", "", 3, 9},
	})
	m.Priority = 9
	got, _ = expand(m, q, port, a, nil)
	want(t, "tiers end at 9", got[2].Priority, 9)
	for i := range a.records {
		a.records[i].weight = 0
	}
	got, _ = expand(m, q, port, a, nil)
	want(t, "no weights at all", fmt.Sprint(got[0].Weight, got[1].Weight), "3 3")
	many := answer{}
	for i := range 1000 {
		many.records = append(many.records, record{addr: netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)})})
	}
	want(t, "bounded", len(many.tidy().records), maxRecords)
}

// script answers look-ups in a bubble and remembers what is told.
type script struct {
	mu      sync.Mutex
	answers map[string]answer
	errs    map[string]error
	asked   map[string][]time.Time
	events  []string
	changes []string
}

func (s *script) look(ctx context.Context, q question) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[q.name] = append(s.asked[q.name], time.Now())
	a := s.answers[q.name]
	a.records = slices.Clone(a.records)
	return a, s.errs[q.name]
}

func (s *script) set(name string, a answer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[name], s.errs[name] = a, err
}

func (s *script) gaps(name string) (gaps []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 1; i < len(s.asked[name]); i++ {
		gaps = append(gaps, s.asked[name][i].Sub(s.asked[name][i-1]))
	}
	return gaps
}

func (s *script) told() (events, changes []string) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	events, changes = s.events, s.changes
	s.events, s.changes = nil, nil
	return events, changes
}

// play runs a resolver in a bubble against a script.
func play(t *testing.T, body func(r *Resolver, s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: map[string]answer{}, errs: map[string]error{}, asked: map[string][]time.Time{}}
		var r *Resolver
		r = NewResolver(Options{
			OnChange: func(service string, e []Endpoint) {
				if fmt.Sprint(r.Endpoints(service)) != fmt.Sprint(e) {
					t.Error("told of other endpoints than there are")
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.changes = append(s.changes, service+": "+strings.Join(names(e), " "))
			},
			Append: func(e event.Record) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.events = append(s.events, e.Kind+" "+e.Service+": "+e.Message)
			},
		})
		r.lookUp, r.rand = s.look, func() float64 { return 0 }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		body(r, s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestChangesAreFollowed(t *testing.T) {
	play(t, func(r *Resolver, s *script) {
		s.set("web.example", ips("10.0.0.1"), nil)
		r.Set(map[string][]config.Member{
			"web":  {{Address: "127.0.0.1:80", Weight: 1}, {Name: "w", Address: "Web.example:80", Weight: 1}},
			"web2": {{Name: "x", Address: "web.example:81", Weight: 1}}, "other": members("127.0.0.1:1"),
		})
		events, changes := s.told()
		want(t, "events", events, []string{})
		want(t, "first answer", changes, []string{"web: 127.0.0.1:80@127.0.0.1:80 w@10.0.0.1:80", "web2: x@10.0.0.1:81"})
		time.Sleep(6 * time.Second)
		events, changes = s.told()
		want(t, "nothing new", fmt.Sprint(events, changes), "[] []")
		s.set("web.example", ips("10.0.0.2"), nil)
		time.Sleep(5 * time.Second)
		events, changes = s.told()
		want(t, "changes", changes, []string{"web: 127.0.0.1:80@127.0.0.1:80 w@10.0.0.2:80", "web2: x@10.0.0.2:81"})
		want(t, "events", events, []string{
			"resolve.changed web: web.example stands for 10.0.0.2 now; before for 10.0.0.1.",
			"resolve.changed web2: web.example stands for 10.0.0.2 now; before for 10.0.0.1."})
		want(t, "one look-up for both services", s.gaps("web.example"), []time.Duration{5 * time.Second, 5 * time.Second})
	})
}

func TestFailureKeepsTheLastAnswer(t *testing.T) {
	play(t, func(r *Resolver, s *script) {
		s.set("web.example", ips("10.0.0.1", "10.0.0.2"), nil)
		s.set("new.example", answer{}, errNoName)
		r.Set(map[string][]config.Member{"web": members("web.example:80", "new.example:80")})
		events, _ := s.told()
		want(t, "failed at first", events, []string{"resolve.failed web: new.example cannot be looked up: no such name (NXDOMAIN); it has no address yet."})
		before := r.Endpoints("web")
		want(t, "endpoints", len(before), 2)
		for _, err := range []error{errNoName, errors.New("no name server answers")} {
			s.set("web.example", answer{}, err)
			time.Sleep(time.Minute)
			want(t, "endpoints while it fails", r.Endpoints("web"), before)
		}
		events, changes := s.told()
		want(t, "one event for a run of failures", events, []string{"resolve.failed web: web.example cannot be looked up: no such name (NXDOMAIN); its last 2 addresses stay in use."})
		want(t, "changes", changes, []string{})
		s.set("web.example", ips("10.0.0.1"), nil)
		time.Sleep(maxWait)
		events, changes = s.told()
		want(t, "recovered", events, []string{"resolve.recovered web: web.example can be looked up again: 10.0.0.1."})
		want(t, "changes", changes, []string{"web: web.example:80/10.0.0.1:80@10.0.0.1:80"})
	})
}

func TestSchedule(t *testing.T) {
	long, short := ips("10.0.0.1"), ips("10.0.0.1")
	long.ttl, short.ttl = time.Hour, 0
	play(t, func(r *Resolver, s *script) {
		s.set("long.example", long, nil)
		s.set("short.example", short, nil)
		s.set("none.example", answer{}, errNoName)
		r.Set(map[string][]config.Member{"web": members("long.example:80", "short.example:80", "none.example:80")})
		time.Sleep(100 * time.Second)
		want(t, "an hour", s.gaps("long.example"), []time.Duration{maxWait, maxWait, maxWait})
		for _, g := range s.gaps("short.example") {
			want(t, "zero", g, minWait)
		}
		want(t, "failures", s.gaps("none.example"), []string{"1s", "2s", "4s", "8s", "16s", "30s", "30s"})
		synctest.Wait()
		r.mu.Lock()
		r.rand = func() float64 { return 0.999999 }
		r.mu.Unlock()
		time.Sleep(60 * time.Second)
		want(t, "jitter takes up to a fifth away", s.gaps("long.example")[4].Round(time.Millisecond), maxWait*4/5)
	})
}

func TestSetKeepsAndForgets(t *testing.T) {
	play(t, func(r *Resolver, s *script) {
		s.set("web.example", ips("10.0.0.1"), nil)
		r.Set(map[string][]config.Member{"web": members("web.example:80")})
		s.told()
		before := r.Endpoints("web")
		for range 19 {
			r.Set(map[string][]config.Member{"web": members("web.example:80"), "copy": members("web.example:80")})
			want(t, "endpoints at once", r.Endpoints("web"), before)
			want(t, "of a new service", r.Endpoints("copy"), before)
			time.Sleep(time.Second)
		}
		want(t, "schedule", s.gaps("web.example"), []string{"5s", "5s", "5s"})
		r.Set(map[string][]config.Member{"web": members("127.0.0.1:80")})
		want(t, "endpoints", names(r.Endpoints("web")), []string{"127.0.0.1:80@127.0.0.1:80"})
		asked := len(s.gaps("web.example"))
		time.Sleep(time.Minute)
		want(t, "look-ups of a forgotten name", len(s.gaps("web.example")), asked)
	})
}

func TestManyNamesAreLookedUpAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		at, peak, done := 0, 0, 0
		r := NewResolver(Options{})
		r.lookUp = func(ctx context.Context, q question) (answer, error) {
			mu.Lock()
			at++
			peak = max(peak, at)
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			at--
			done++
			a := ips("10.0.0.1")
			a.ttl = time.Minute
			return a, nil
		}
		var list []string
		for i := range 100 {
			list = append(list, fmt.Sprintf("h%d.example:80", i))
		}
		r.Set(map[string][]config.Member{"web": members(list...)})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
		want(t, "peak, done, endpoints", fmt.Sprint(peak, done, len(r.Endpoints("web"))), fmt.Sprint(maxConcurrent, 100, 100))
	})
}
