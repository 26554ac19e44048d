package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/operate/api"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/commands.md")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"backstay": program})
}

// program is backstay with stand-ins for the node and the demo.
func program() {
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute) // a test that hangs ends
	defer stop()
	os.Exit(Main(ctx, os.Args[1:], Options{
		Version: "1.2.3",
		Run: func(_ context.Context, o RunOptions) error {
			fmt.Printf("%+v\n", o)
			if o.Node == "unknown" {
				return fmt.Errorf("this node is not in the configuration")
			}
			return nil
		},
		Demo: func(_ context.Context, o DemoOptions) error {
			fmt.Printf("%+v\n", o)
			return nil
		},
		Join: func(_ context.Context, _ RunOptions, j JoinOptions) (string, error) {
			return fmt.Sprintf("%+v", j), nil
		},
		Recover: func(_ context.Context, o RunOptions, r RecoverOptions) (string, error) {
			return fmt.Sprintf("%s: %+v", o.Node, r), nil
		},
		Zone: time.UTC,
	}))
}

// TestScripts runs testdata/script/*.txtar; those that say `node` have a node behind admin.sock.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node":  startNode,
			"exits": exitsWith,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("BACKSTAY_SOCKET", filepath.Join(e.WorkDir, "admin.sock"))
			e.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each command otherwise
			return nil
		},
	})
}

// exitsWith CODE ARG... runs backstay and holds its exit code against CODE.
func exitsWith(ts *testscript.TestScript, _ bool, args []string) {
	var out, errs bytes.Buffer
	for i, arg := range args {
		if strings.HasSuffix(arg, ".yaml") {
			args[i] = ts.MkAbs(arg)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	code := Main(ctx, args[1:], Options{
		Version: "1.2.3", Out: &out, Err: &errs, Getenv: ts.Getenv, Zone: time.UTC,
		Run:  func(context.Context, RunOptions) error { return context.Canceled },
		Demo: func(context.Context, DemoOptions) error { return fmt.Errorf("no") },
	})
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("backstay %v exits with %d, not %s\n%s%s", args[1:], code, args[0], &out, &errs)
	}
}

// startNode puts a fake node behind the socket for the rest of the script.
func startNode(ts *testscript.TestScript, _ bool, _ []string) {
	f := newFake()
	socket := ts.Getenv("BACKSTAY_SOCKET")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- api.NewServer(api.Options{Socket: socket, System: f}).Run(ctx) }()
	ts.Defer(func() { cancel(); <-ended })
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return
		}
	}
	ts.Fatalf("the fake node does not come up")
}

// fake is a node in the middle of trouble: all that the status can show is there.
type fake struct {
	versioned
	membership
	log    *event.Log
	status chan api.Status // of capacity 1: the picture there is
}

func newFake() *fake {
	f := &fake{log: event.NewLog(event.Options{Node: "par-1"}), status: make(chan api.Status, 1)}
	f.status <- picture()
	at := time.Date(2026, 3, 1, 12, 1, 3, 0, time.UTC)
	f.log.Append(event.Record{Time: at, Kind: event.NodeStarted, Message: "the node started"})
	f.log.Append(event.Record{Time: at, Kind: event.MemberDown, Service: "shop", Member: "b",
		Message: "b gets no more traffic", Evidence: "3 of 3 probes: connection refused since 12:01:00"})
	f.log.Append(event.Record{Time: at.Add(time.Minute), Kind: event.ServiceDown, Service: "pg", Message: "no member of pg can serve"})
	return f
}

func picture() api.Status {
	now := time.Date(2026, 3, 1, 15, 0, 0, 0, time.UTC)
	lag := 0.312
	return api.Status{
		Node: "par-1", Cluster: "shop", Zone: "a", Version: "1.2.3", PID: 4711, State: api.NodeReady,
		Started: now.Add(-27 * time.Hour), Now: now,
		Config: api.ConfigStatus{
			Revision: "4c1d9a77e0b2f6", Source: "/etc/backstay/backstay.yaml", Loaded: now.Add(-90 * time.Minute),
			Refused: "/etc/backstay/backstay.yaml:3:5: services.shop: unknown key \"membres\"; did you mean members?",
		},
		Listeners: []api.ListenerStatus{
			{Name: "web", Address: "127.0.0.1:8443", Kind: "http", TLS: true, Connections: 128},
			{Name: ":5432", Address: "[::]:5432", Kind: "tcp"},
		},
		Modes: []api.ModeStatus{
			{Name: "less", Service: "shop", When: "shedding of shop", Signal: 0.35, On: true, Since: now.Add(-2 * time.Minute)},
			{Name: "read-only"},
		},
		Services: []api.ServiceStatus{
			{Name: "shop", State: api.ServiceDegraded, Policy: "p2c", InFlight: 12, Queued: 3, Evidence: "2 of 5 members serve", Members: []api.MemberStatus{
				{Name: "a", Address: "10.0.0.11:8080", Zone: "a", State: api.MemberUp, Since: now.Add(-3 * time.Minute), InFlight: 11,
					Evidence: "2 of 2 probes: status 200", Latency: 0.002412, Share: 0.75, Breaker: "closed"},
				{Name: "b", Address: "10.0.0.12:8080", State: api.MemberDown, Since: now.Add(-58 * time.Second), Evidence: "3 of 3 probes: connection refused since 14:59:02"},
				{Name: "10.0.0.13:8080", Address: "10.0.0.13:8080", State: api.MemberUp, Since: now.Add(-50 * time.Hour), InFlight: 1,
					Latency: 0.0000815, Share: 0.25, Breaker: "half-open", Priority: 1},
				{Name: "d", Address: "10.0.0.14:8080", State: api.MemberEjected, Since: now.Add(-5 * time.Second), Evidence: "5 failures in a row", Latency: 1.5},
				{Name: "e", Address: "unix:/run/e.sock", State: api.MemberDraining, Since: now, InFlight: 1},
			}},
			{Name: "pg", State: api.ServiceDown, Policy: "round_robin", Held: 7, Breaker: "open", Members: []api.MemberStatus{}, Agreement: &api.AgreementStatus{
				Primary: "par-1", Epoch: 7, Protection: "max-availability", Downgraded: true, Paused: true, Plan: "sync K2", LeaseLeft: 3.12, HoldDown: 21, Decision: "paused by an operator",
			}, Instances: []api.InstanceStatus{
				{Node: "par-1", Address: "10.0.0.1:5433", Role: "none", Epoch: 7, Problem: "PostgreSQL ended: exit status 1"},
				{Node: "par-2", Address: "10.0.0.2:5433", Role: "standby", Epoch: 7, InLine: true, Counts: true, Upstream: "par-1", Streaming: true, Lag: &lag, LagBytes: 4096,
					PendingRestart: []string{"max_connections", "shared_buffers"}},
				{Node: "par-3", Address: "10.0.0.3:5433", Role: "standby", Epoch: 7, InLine: true, Upstream: "par-1"},
				{Node: "par-4", Address: "10.0.0.4:5433", Role: "unknown"},
			}},
		},
	}
}

func (f *fake) Status(context.Context) (api.Status, error) {
	s := <-f.status
	defer func() { f.status <- s }()
	shown := s
	shown.Services, shown.Modes = slices.Clone(s.Services), slices.Clone(s.Modes)
	for i := range shown.Services {
		shown.Services[i].Members = slices.Clone(s.Services[i].Members)
	}
	if e := &s.Services[0].Members[4]; e.State == api.MemberDraining { // its work ends while one looks
		e.State, e.InFlight = api.MemberDrained, 0
	}
	return shown, nil
}

func (f *fake) Reload(context.Context) (api.Reloaded, error) {
	return api.Reloaded{}, &api.Error{Kind: api.Refused, Message: "2 problems; nothing was changed", Details: []string{"a.yaml:1:2: one", "a.yaml:3:4: two"}}
}

func (f *fake) Drain(_ context.Context, m string) error  { return f.set(m, api.MemberDraining) }
func (f *fake) Resume(_ context.Context, m string) error { return f.set(m, api.MemberUp) }
func (f *fake) Degrade(_ context.Context, mode, state string) error {
	s := <-f.status
	defer func() { f.status <- s }()
	for i := range s.Modes {
		if m := &s.Modes[i]; m.Name == mode {
			m.On, m.ByHand, m.Since = state == "on", state != "auto", s.Now
			return nil
		}
	}
	return api.Errorf(api.NotFound, "there is no degradation mode %q: the modes are less, read-only", mode)
}

func (f *fake) set(member string, state api.MemberState) error {
	s := <-f.status
	defer func() { f.status <- s }()
	for i := range s.Services {
		for j := range s.Services[i].Members {
			if m := &s.Services[i].Members[j]; m.ID(s.Services[i].Name) == member {
				m.State = state
				return nil
			}
		}
	}
	return api.Errorf(api.NotFound, "there is no member %q: `backstay status` lists them", member)
}

func (f *fake) Events(ctx context.Context, q api.EventQuery, emit func(event.Record) error) error {
	return api.FollowLog(ctx, f.log, q, emit)
}
