package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

// fake is a System with one member, shop/a.
type fake struct {
	log *event.Log

	mu      sync.Mutex
	drained map[string]bool
	reload  error
	mode    string // NAME STATE, as it was turned last
}

func newFake() *fake {
	return &fake{log: event.NewLog(event.Options{Node: "par-1"}), drained: map[string]bool{}}
}

var picture = Status{
	Node: "par-1", Version: "1.2", PID: 42, State: NodeReady, Started: time.Unix(1000, 0).UTC(), Now: time.Unix(1060, 0).UTC(),
	Config:    ConfigStatus{Revision: "abc", Source: "/etc/backstay.yaml", Loaded: time.Unix(1001, 0).UTC()},
	Listeners: []ListenerStatus{{Name: "web", Address: "127.0.0.1:80", Kind: "http", Connections: 3}},
	Services: []ServiceStatus{{Name: "shop", State: ServiceUp, Policy: "p2c", Members: []MemberStatus{
		{Name: "a", Address: "127.0.0.1:8080", State: MemberUp, Since: time.Unix(1002, 0).UTC(), Evidence: "2 of 2 probes: 200", Share: 1, Latency: 0.002},
	}}},
}

func (f *fake) Status(context.Context) (Status, error) { return picture, nil }

func (f *fake) Reload(context.Context) (Reloaded, error) {
	if f.reload != nil {
		return Reloaded{}, f.reload
	}
	return Reloaded{Revision: "def", Changed: true, Changes: []string{"service shop: retry.attempts 3 → 4"}}, nil
}

func (f *fake) set(member string, drained bool) error {
	if member != "shop/a" {
		return Errorf(NotFound, "there is no member %q: see `backstay status`", member)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drained[member] = drained
	return nil
}

func (f *fake) Drain(_ context.Context, m string) error  { return f.set(m, true) }
func (f *fake) Resume(_ context.Context, m string) error { return f.set(m, false) }
func (f *fake) Degrade(_ context.Context, m, state string) error {
	f.mode = m + " " + state
	return nil
}

func (f *fake) Events(ctx context.Context, q EventQuery, emit func(event.Record) error) error {
	if q.Service == "broken" {
		return errors.New("cannot be read")
	}
	return FollowLog(ctx, f.log, q, emit)
}

// serve runs a server over f on a socket in a folder that it has to make, and returns a client and what stops it.
func serve(t *testing.T, f *fake) (c *Client, socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "data", "admin.sock")
	ctx, cancel := context.WithCancel(t.Context())
	s := NewServer(Options{Socket: socket, System: f, Version: "1.2", Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "backstay_node_ready 1\n")
	})})
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	c = Dial(socket)
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return c, socket, stop
		}
		if time.Since(begin) > time.Minute {
			t.Fatal("the server does not come up")
		}
	}
}

func TestStatusAndSteering(t *testing.T) {
	f := newFake()
	c, _, _ := serve(t, f)
	got, err := c.Status(t.Context())
	if err != nil || !reflect.DeepEqual(got, picture) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, picture)
	}
	if got.Uptime() != time.Minute || got.Services[0].Members[0].ID("shop") != "shop/a" {
		t.Errorf("uptime %v", got.Uptime())
	}
	if err := c.Drain(t.Context(), "shop/a"); err != nil || !f.drained["shop/a"] {
		t.Errorf("drain: %v", err)
	}
	if err := c.Degrade(t.Context(), "less", "on"); err != nil || f.mode != "less on" {
		t.Errorf("degrade: %v, %q", err, f.mode)
	}
	if err := c.Degrade(t.Context(), "less", "maybe"); err == nil {
		t.Error("a mode was turned to maybe")
	}
	if err := c.Resume(t.Context(), "shop/a"); err != nil || f.drained["shop/a"] {
		t.Errorf("resume: %v", err)
	}
	if r, err := c.Reload(t.Context()); err != nil || r.Revision != "def" || len(r.Changes) != 1 {
		t.Errorf("reload: %+v, %v", r, err)
	}
}

func TestErrorsKeepTheirKindAndDetails(t *testing.T) {
	f := newFake()
	c, _, _ := serve(t, f)
	err := c.Drain(t.Context(), "shop/b")
	if !errors.Is(err, &Error{Kind: NotFound}) || !strings.Contains(err.Error(), "backstay status") {
		t.Errorf("drain of nobody: %v", err)
	}
	if err := c.Drain(t.Context(), ""); !errors.Is(err, &Error{Kind: Invalid}) || !strings.Contains(err.Error(), "member") {
		t.Errorf("drain without a name: %v", err)
	}
	f.reload = &Error{Kind: Refused, Message: "2 problems, nothing was changed", Details: []string{"a.yaml:1:2: x", "a.yaml:3:4: y"}}
	if _, err := c.Reload(t.Context()); !reflect.DeepEqual(err, f.reload) {
		t.Errorf("reload: %#v", err)
	}
	f.reload = errors.New("disk on fire")
	if _, err := c.Reload(t.Context()); !errors.Is(err, &Error{Kind: Internal, Message: "disk on fire"}) {
		t.Errorf("reload: %#v", err)
	}
}

func TestEvents(t *testing.T) {
	f := newFake()
	c, _, stop := serve(t, f)
	for _, s := range []string{"shop", "blog", "shop", "shop"} {
		f.log.Append(event.Record{Kind: event.MemberUp, Service: s, Message: "up"})
	}
	read := func(q EventQuery) (seqs []uint64) {
		t.Helper()
		if err := c.Events(t.Context(), q, func(r event.Record) error { seqs = append(seqs, r.Seq); return nil }); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
		return seqs
	}
	for _, want := range []struct {
		q    EventQuery
		seqs []uint64
	}{
		{EventQuery{}, []uint64{1, 2, 3, 4}},
		{EventQuery{Since: 2}, []uint64{3, 4}},
		{EventQuery{Last: 2, Service: "shop"}, []uint64{3, 4}},
		{EventQuery{Service: "blog"}, []uint64{2}},
	} {
		if got := read(want.q); !reflect.DeepEqual(got, want.seqs) {
			t.Errorf("%+v: %v, want %v", want.q, got, want.seqs)
		}
	}
	if err := c.Events(t.Context(), EventQuery{Service: "broken"}, nil); err == nil {
		t.Error("events that broke off look complete")
	}
	var got []uint64
	err := c.Events(t.Context(), EventQuery{Follow: true, Service: "shop", Last: 1}, func(r event.Record) error {
		switch got = append(got, r.Seq); len(got) {
		case 1:
			f.log.Append(event.Record{Service: "blog", Message: "not for us"})
			f.log.Append(event.Record{Service: "shop", Message: "new"})
		case 2:
			go stop() // ends the stream
		}
		return nil
	})
	if !reflect.DeepEqual(got, []uint64{4, 6}) || !errors.Is(err, &Error{Kind: Unreachable}) {
		t.Errorf("followed %v, %v", got, err)
	}
	enough := errors.New("enough")
	if err := FollowLog(t.Context(), f.log, EventQuery{Follow: true}, func(event.Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("emit's error became %v", err)
	}
}

func TestSocketIsPrivateAndReplacesADeadOne(t *testing.T) {
	c, socket, stop := serve(t, newFake())
	if s, err := os.Stat(socket); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", s.Mode(), err)
	}
	dir := filepath.Dir(socket)
	if s, err := os.Stat(dir); err != nil || s.Mode().Perm() != 0o700 {
		t.Errorf("folder %v, %v", s.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	if _, err := listen(socket); err == nil || !strings.Contains(err.Error(), "another node answers") {
		t.Errorf("a second node: %v", err)
	}
	stop()
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, &Error{Kind: Unreachable}) || !strings.Contains(err.Error(), "is `backstay run` running?") {
		t.Errorf("nobody there: %v", err)
	}

	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	l, err := listen(socket)
	if err != nil {
		t.Fatalf("a dead process's socket is in the way: %v", err)
	}
	_ = os.Remove(socket) // somebody else takes the place
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := os.Stat(socket); err != nil {
		t.Error("closing removed what was somebody else's")
	}
	if _, err := listen(socket); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if _, err := listen(filepath.Join(dir, strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
}

func TestBesideTheAPI(t *testing.T) {
	c, _, _ := serve(t, newFake())
	get := func(path string) string {
		t.Helper()
		resp, err := c.http.Get("http://node" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, resp.StatusCode, b)
		}
		return string(b)
	}
	if got := get("/metrics"); got != "backstay_node_ready 1\n" {
		t.Errorf("metrics: %q", got)
	}
	if got := get("/debug/pprof/goroutine?debug=1"); !strings.Contains(got, "goroutine profile") {
		t.Errorf("pprof: %.100q", got)
	}
	var spec struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(get("/openapi.json")), &spec); err != nil || !strings.HasPrefix(spec.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %q, %v", spec.OpenAPI, err)
	}
	for path, method := range map[string]string{
		"/v1/status": "get", "/v1/reload": "post", "/v1/drain": "post", "/v1/resume": "post", "/v1/events": "get",
	} {
		if spec.Paths[path][method] == nil {
			t.Errorf("%s %s is not described", method, path)
		}
	}
	if strings.Contains(get("/v1/status"), "$schema") {
		t.Error("the status has a $schema")
	}
}

func TestANodeThatHangsIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(socket).Status(ctx); !errors.Is(err, &Error{Kind: Unreachable}) || !strings.Contains(err.Error(), "may hang") {
		t.Errorf("got %v", err)
	}
}
