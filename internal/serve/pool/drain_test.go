package pool

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/observe/health"
	"github.com/backstay/backstay/internal/observe/resolve"
	"github.com/backstay/backstay/internal/observe/telemetry"
)

func sticky(c *config.Service) { c.Balance.Sticky = &config.Sticky{Cookie: "b"} }

func TestStickyAndDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b zero*0", sticky)
		key := k.core("a").key
		if len(key) < 8 || len(key) > 16 || strings.Contains(key, "a") && key == "a" || key == k.core("b").key {
			t.Errorf("key %q", key)
		}
		stays := func(want string) {
			t.Helper()
			for range 20 {
				m := k.pick(Query{Sticky: key})
				m.Done(Outcome{Took: time.Millisecond})
				if m.Name() != want {
					t.Fatalf("got %s, want %s", m.Name(), want)
				}
			}
		}
		stays("a")
		for range 5 {
			if m := k.pick(Query{Sticky: k.core("zero").key}); m.Name() != "zero" { // without weight, only its own clients
				t.Fatalf("got %s", m.Name())
			}
		}
		if m := k.pick(Query{Sticky: "nobody"}); m.Name() == "zero" {
			t.Error("an unknown key leads to a member without weight")
		}
		if err := k.Drain("a", true); err != nil {
			t.Fatal(err)
		}
		stays("a")
		k.near(k.spread(100), 0, map[string]float64{"b": 1})
		m := k.on("a")
		if st := k.state("a"); st.State != "draining" || st.Evidence != "drained by operator" {
			t.Errorf("a: %+v", st)
		}
		m.Done(Outcome{})
		if st := k.state("a"); st.State != "drained" {
			t.Errorf("a: %+v", st)
		}
		gone := m.Gone()
		time.Sleep(29 * time.Second)
		stays("a")
		if isClosed(gone) {
			t.Error("cut before the drain timeout")
		}
		time.Sleep(2 * time.Second)
		if !isClosed(gone) {
			t.Error("not cut after the drain timeout")
		}
		stays("b")
		k.Set(k.cfg, k.eps) // a drain outlives a reload
		stays("b")
		k.Drain("a", false)
		stays("a")
		if m := k.on("a"); m.Gone() == gone || isClosed(m.Gone()) {
			t.Error("its channel is not new")
		}
		k.told("member.drained a", "member.resumed a")
	})
}

func TestGoneWhenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", checked)
		m := k.on("a")
		gone := m.Gone()
		k.health("a", health.Down)
		if !isClosed(gone) {
			t.Error("not cut")
		}
		k.health("b", health.Down)
		if isClosed(k.on("b").Gone()) {
			t.Error("cut although checks are not believed")
		}
		k.health("a", health.Up) // now they are
		if !isClosed(k.on("b").Gone()) {
			t.Error("not cut once checks are believed")
		}
		if isClosed(k.on("a").Gone()) {
			t.Error("came back, and its channel is closed")
		}
		k.cfg.OnMemberDown = "drain"
		k.Set(k.cfg, k.eps)
		k.health("a", health.Down)
		if isClosed(k.on("a").Gone()) {
			t.Error("cut although sessions may end by themselves")
		}
	})
}

func TestDrainNeverFallsBack(t *testing.T) {
	k := newKit(t, "a b", checked)
	k.Drain("a", true)
	k.Drain("b", true)
	if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
		t.Errorf("got %v", err)
	}
	k.told("member.drained a", "member.drained b", "service.down")
}

func TestDrainByNameOfSeveral(t *testing.T) {
	k := newKit(t, "", nil)
	k.Set(k.cfg, []resolve.Endpoint{
		{Name: "web/10.0.0.1:80", Address: "10.0.0.1:80", Weight: 1}, {Name: "web/10.0.0.2:80", Address: "10.0.0.2:80", Weight: 1},
		{Name: "web2", Address: "10.0.0.3:80", Weight: 1},
	})
	if err := k.Drain("web", true); err != nil {
		t.Fatal(err)
	}
	k.near(k.spread(10), 0, map[string]float64{"web2": 1})
}

type closer struct{ closed int }

func (c *closer) Close() error { c.closed++; return nil }

func TestSetKeepsStateAndCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b c", func(c *config.Service) { c.Balance.SlowStart = 0 })
		a, b := k.on("a"), k.on("b")
		conns := &closer{}
		create := func() io.Closer { return conns }
		if a.Attach(create) != io.Closer(conns) || a.Attach(func() io.Closer { t.Error("made twice"); return nil }) != io.Closer(conns) {
			t.Error("not kept")
		}
		k.succeed("a", 3, 7*time.Millisecond)
		k.fail("b", 5, telemetry.ClassConnect)
		k.kinds()

		k.Set(k.cfg, members("c b a d"))
		k.told("member.added d")
		if st := k.state("a"); st.InFlight != 1 || st.Requests != 3 || st.Latency == 0 {
			t.Errorf("a forgot: %+v", st)
		}
		if k.state("b").State != "ejected" {
			t.Error("b is back")
		}
		k.Set(k.cfg, members("b c"))
		k.told("member.removed a", "member.removed d")
		if conns.closed != 1 {
			t.Errorf("closed %d times", conns.closed)
		}
		k.near(k.spread(50), 0, map[string]float64{"c": 1})
		late := &closer{}
		a.Attach(func() io.Closer { return late })
		if late.closed != 1 {
			t.Error("attached to a removed member and not closed")
		}
		gone := a.Gone()
		time.Sleep(29 * time.Second)
		if isClosed(gone) {
			t.Error("a session is cut at once by a reload")
		}
		time.Sleep(2 * time.Second)
		if !isClosed(gone) {
			t.Error("a session outlives the drain timeout")
		}
		a.Done(Outcome{Took: time.Millisecond})
		b.Done(Outcome{Took: time.Millisecond})

		k.Set(k.cfg, members("a b c"))
		if isClosed(k.on("a").Gone()) {
			t.Error("came back, and its channel is closed")
		}
		moved := members("a b c")
		moved[0].Address = "10.9.9.9:1"
		k.Set(k.cfg, moved)
		if st := k.state("a"); st.Requests != 0 || st.Address != "10.9.9.9:1" {
			t.Errorf("another address is another member: %+v", st)
		}
		k.Close()
		if !isClosed(b.Gone()) {
			t.Error("a session outlives the service")
		}
		if _, err := k.Pick(&Query{}); !errors.Is(err, ErrNoMember) {
			t.Errorf("got %v", err)
		}
	})
}

// A member that is removed and comes back before the drain timeout is the same.
func TestRemovedAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b", nil)
		a := k.on("a")
		k.Set(k.cfg, members("b"))
		k.Set(k.cfg, members("a b"))
		time.Sleep(time.Hour)
		if isClosed(a.Gone()) || k.state("a").InFlight != 1 {
			t.Errorf("a: %+v", k.state("a"))
		}
		c := &closer{}
		a.Attach(func() io.Closer { return c })
		if c.closed != 0 {
			t.Error("nothing can be attached any more")
		}
	})
}

// What takes records may ask the service, and records come in order.
func TestAppendMayCallBack(t *testing.T) {
	var k *kit
	s := NewService("web", Options{})
	s.options.Append = func(event.Record) { s.Status(); s.GoodProbe("a") }
	k = &kit{Service: s, t: t}
	cfg := defaults()
	checked(&cfg)
	s.Set(cfg, members("a b"))
	k.health("a", health.Down)
	k.health("b", health.Down)
	s.Close()
}

func TestStatusIsJSON(t *testing.T) {
	k := newKit(t, "a@par b*2", checked)
	k.health("a", health.Up)
	k.succeed("a", 1, 2*time.Millisecond)
	b, err := json.Marshal(k.Status())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"web"`, `"state":"up"`, `"policy":"p2c"`, `"zone":"par"`, `"latency_seconds":0.002`, `"evidence":"3 of 3 probes"`,
		`"state":"unknown"`, `"weight":2`, `"share":0.666`, `"breaker":"closed"`, `"requests":1`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
}

func TestMetrics(t *testing.T) {
	m := telemetry.NewMetrics(nil)
	s := NewService("web", Options{Metrics: m})
	t.Cleanup(s.Close)
	k := &kit{Service: s, t: t}
	s.Set(defaults(), members("a b"))
	k.fail("a", 5, telemetry.ClassConnect)
	k.succeed("b", 5, time.Millisecond)
	s.Set(defaults(), members("b"))
	if got := s.sample(); got.Members != 1 || got.Ready != 1 {
		t.Errorf("%+v", got)
	}
	if got := k.core("b").sample(); !got.Up || got.Ejected || got.Share != 1 || got.Breaker != "closed" {
		t.Errorf("%+v", got)
	}
}

func TestCutEndsSessionsOfAMemberThatWasRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, "a b c", nil)
		a, b, c := k.on("a"), k.on("b"), k.on("c")
		k.Set(k.cfg, k.eps[2:])
		k.Cut("a")
		k.Cut("c") // not removed: nothing to be cut
		time.Sleep(time.Second)
		for m, want := range map[*Member]bool{a: true, b: false, c: false} {
			gone := false
			select {
			case <-m.Gone():
				gone = true
			default:
			}
			if gone != want {
				t.Errorf("%s is cut: %v", m.Name(), gone)
			}
			m.Done(Outcome{})
		}
		k.Set(k.cfg, k.eps) // a comes back as one that was never cut
		m := k.on("a")
		select {
		case <-m.Gone():
			t.Error("a is cut again")
		default:
		}
		m.Done(Outcome{})
	})
}
