package script

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

func TestParse(t *testing.T) {
	no := false
	want := sight{
		Running: &no, Role: plan.Primary, SystemID: "x", Timeline: 3, Position: 120, Standbys: []standby{{"b", 118}, {"c", 0}},
		Problem: "the disk is slow",
	}
	for name, text := range map[string]string{
		"lines": "# as it is\n running = false\nrole=primary\nsystem_id=x\ntimeline=3\nposition=120\nstandbys=b:118,c\n\nproblem=the disk is slow\n",
		"JSON":  `{"running":false,"role":"primary","system_id":"x","timeline":3,"position":120,"standbys":[{"node":"b","position":118},{"node":"c"}],"problem":"the disk is slow"}`,
	} {
		if got, err := parse([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for text, why := range map[string]string{
		"":                 "nothing",
		"role":             "not key=value",
		"role=leader":      "not primary, standby or none",
		"rolle=primary":    "the keys are",
		"empty=perhaps":    "invalid syntax",
		"position=-1":      "invalid syntax",
		`{"rolle":1}`:      "unknown field",
		"standbys=b:x,c:1": "invalid syntax",
	} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}

// step is one for node a.
func step(k plan.Kind, epoch uint64) plan.Step {
	return plan.Step{Kind: k, Service: "db", Node: "a", Epoch: epoch}
}

func TestAFailedCommandSaysWhy(t *testing.T) {
	l := newLab(t, func(o *Options) {
		o.Commands.Promote = []string{"/bin/sh", "-c", "for i in 1 2 3 4; do echo line $i; done; exit 3"}
		o.Commands.Create = nil
	})
	err := l.engines["a"].Do(t.Context(), step(plan.Create, 1))
	if err == nil || !strings.Contains(err.Error(), "sh: exit status 3: line 2; line 3; line 4") {
		t.Errorf("it says: %v", err)
	}
	if o, err := l.engines["a"].Observe(t.Context()); err != nil || o.Writable {
		t.Errorf("after a failed promotion: %+v %v", o, err)
	}
}

func TestACommandThatHangsIsKilledWithAllItStarted(t *testing.T) {
	l := newLab(t, func(o *Options) {
		o.FenceTimeout = 3 * time.Second
		o.Commands.Fence = []string{"/bin/sh", "-c", `sleep 60 & echo $! > hanging; wait`}
		o.Commands.Stop = nil
	})
	e := l.engines["a"]
	if err := e.Do(t.Context(), step(plan.Create, 1)); err != nil {
		t.Fatal(err)
	}
	err := e.Do(t.Context(), step(plan.Fence, 2))
	if err == nil || !strings.Contains(err.Error(), "did not end within 3s and was killed") {
		t.Errorf("it says: %v", err)
	}
	if done, err := e.Done(t.Context(), step(plan.Fence, 2)); err != nil || done {
		t.Errorf("a fence that did not work is done: %v %v", done, err)
	}
	pid, err := os.ReadFile(filepath.Join(e.o.DataDir, "hanging"))
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(30 * time.Second)
	for alive(strings.TrimSpace(string(pid))) {
		if time.Now().After(deadline) {
			t.Fatalf("%s lives on", pid)
		}
		<-tick.C
	}
}

// alive says whether a process is there and no zombie.
func alive(pid string) bool {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func TestAFenceThatFailsStops(t *testing.T) {
	l := newLab(t, func(o *Options) { o.Commands.Fence = []string{"/bin/false"} })
	e := l.engines["a"]
	if err := errors.Join(e.Do(t.Context(), step(plan.Create, 1)), e.Do(t.Context(), step(plan.Fence, 2))); err != nil {
		t.Fatal(err)
	}
	if o, err := e.Observe(t.Context()); err != nil || o.Running || o.Epoch != 2 {
		t.Errorf("after it: %+v %v", o, err)
	}
}

func TestTheEpochOutlivesTheEngine(t *testing.T) {
	l := newLab(t, nil)
	if err := l.engines["a"].Do(t.Context(), step(plan.Create, 7)); err != nil {
		t.Fatal(err)
	}
	l.engines["a"].ledger.Close(func() {})
	again := New(l.engines["a"].o)
	if err := again.Do(t.Context(), step(plan.Promote, 6)); !errors.Is(err, act.ErrStale) {
		t.Errorf("an older step: %v", err)
	}
}

func TestCommandsAreToldWhatItIsAbout(t *testing.T) {
	l := newLab(t, func(o *Options) {
		o.Commands.Clone = []string{"/bin/sh", "-c", "env | grep ^BACKSTAY_ | sort > told; exit 1"}
	})
	e := l.engines["b"]
	s := plan.Step{Kind: plan.Clone, Service: "db", Node: "b", Epoch: 4, Upstream: "c"}
	if err := e.Do(t.Context(), s); err == nil {
		t.Fatal("a command that failed did not")
	}
	told, err := os.ReadFile(filepath.Join(e.o.DataDir, "told"))
	want := "BACKSTAY_EPOCH=4\nBACKSTAY_MODE=\nBACKSTAY_NODE=b\nBACKSTAY_SERVICE=db\nBACKSTAY_STEP=clone\nBACKSTAY_UPSTREAM=c\nBACKSTAY_UPSTREAM_ADDRESS=c.example:1\n"
	if err != nil || string(told) != want {
		t.Errorf("told was\n%s%v", told, err)
	}
}

func TestACommandMayLeaveADaemonBehind(t *testing.T) {
	l := newLab(t, func(o *Options) {
		o.Commands.Checkpoint = []string{"/bin/sh", "-c", "sleep 60 & echo $! > daemon"}
	})
	e := l.engines["a"]
	if err := e.Do(t.Context(), step(plan.Create, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := e.Do(ctx, step(plan.Checkpoint, 1)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(e.o.DataDir, "daemon"))
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(text))
	if !alive(pid) {
		t.Error("the daemon was killed")
	}
	n := 0
	for _, c := range pid {
		n = n*10 + int(c-'0')
	}
	_ = syscall.Kill(n, syscall.SIGKILL)
}
