package redis

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/decide/plan"
)

func TestRelate(t *testing.T) {
	first := origin{System: "s"}.next("a", 0)   // life 1 of a
	second := first.next("b", position(1, 500)) // b took over at 500
	again := second.next("b", position(2, 900)) // b was started again
	other := first.next("c", position(1, 400))  // c as well took over, from 400
	for _, c := range []struct {
		name  string
		own   origin
		at    uint64
		exact bool
		up    origin
		upAt  uint64
		want  relation
	}{
		{"nothing known", origin{}, 0, true, second, position(2, 600), unknown},
		{"another's data", origin{System: "x", Life: 1}, 0, true, second, position(2, 600), foreign},
		{"a standby of the same life", first, position(1, 480), true, first, position(1, 470), beginning},
		{"the old primary handed over", origin{System: "s", Life: 1, Author: "n"}, position(1, 500), true, origin{System: "s", Life: 1, Author: "n"}.next("b", position(1, 500)), position(2, 600), beginning},
		{"the old primary went on", origin{System: "s", Life: 1, Author: "n"}, position(1, 501), true, origin{System: "s", Life: 1, Author: "n"}.next("b", position(1, 500)), position(2, 600), diverged},
		{"the old primary crashed", origin{System: "s", Life: 1, Author: "n"}, position(1, 500), false, origin{System: "s", Life: 1, Author: "n"}.next("b", position(1, 500)), position(2, 600), unknown},
		{"a standby behind the fork", first, position(1, 499), true, second, position(2, 600), beginning},
		{"a standby beyond the fork", first, position(1, 501), true, second, position(2, 600), diverged},
		{"a standby whose primary was started again", second, position(2, 901), true, again, position(3, 0), beginning},
		{"two lives of one number", other, position(2, 450), true, second, position(2, 600), diverged},
		{"an older fork", other, position(2, 450), true, again, position(3, 10), diverged},
		{"newer than the upstream", again, position(3, 1), true, second, position(2, 950), diverged},
		{"a life nobody remembers", origin{System: "s", Life: 1, Author: "a"}, position(1, 5), true, origin{System: "s", Life: 40, Author: "b"}, position(40, 0), unknown},
	} {
		if got := relate(c.own, c.at, c.exact, "n", c.up, c.upAt); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	o := first
	for range 40 {
		o = o.next("b", position(o.Life, 1))
	}
	if len(o.Past) != 16 || o.Life != 41 || o.Past[40].Author != "b" {
		t.Errorf("after many lives: %+v", o)
	}
	if read, ok := parseOrigin(o.String()); !ok || read.String() != o.String() {
		t.Errorf("read back: %+v", read)
	}
}

func TestPositionsGrowWithAVeryLongLife(t *testing.T) {
	at := position(3, 5<<lifeBits)
	if o := (origin{System: "s", Life: 3, Author: "a"}).next("b", at); position(o.Life, 0) <= at {
		t.Errorf("life %d begins at %d, not after %d", o.Life, position(o.Life, 0), at)
	}
}

// server that answers with what it is given, whatever it is asked.
func speak(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = c.Write([]byte(answer))
			if answer != "" {
				c.Close()
			}
		}
	}()
	return l.Addr().String()
}

func TestAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"+OK\r\n":                        "OK",
		":12\r\n":                        "12",
		"$5\r\na\r\nbc\r\n":              "a\r\nbc",
		"$-1\r\n":                        "",
		"*2\r\n+OK\r\n$1\r\nx\r\n":       "",
		"-READONLY no\r\n":               "error READONLY no",
		"*2\r\n+OK\r\n-MISCONF full\r\n": "error MISCONF full",
		"$99999999999\r\n":               "error the answer is not RESP",
		"HTTP/1.1 400 Bad Request\r\n":   "error the answer is not RESP",
		"$5\r\nab":                       "error unexpected EOF",
		"\r\n":                           "error the answer is not RESP",
		"":                               "error it did not answer in time",
	} {
		patience := time.Minute
		if answer == "" {
			patience = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		got := ""
		k, err := dial(ctx, speak(t, answer), "")
		if err == nil {
			got, err = k.do(ctx, "PING")
			k.close()
		}
		if err != nil {
			got = "error " + err.Error()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%q is read as %q, want %q", answer, got, want)
		}
		cancel()
	}
}

func FuzzInfo(f *testing.F) {
	f.Add("role:slave\r\nmaster_host:h\r\nslave0:ip=1.2.3.4,port=1,state=online,offset=9\r\nmaster_sync_perc:1e9\r\nslave:x\n")
	f.Fuzz(func(_ *testing.T, text string) { _ = parseInfo(text) })
}

func TestParametersOfBackstaysAreRefused(t *testing.T) {
	for _, p := range []map[string]string{{"ReplicaOf": "x 1"}, {"maxmemory": "1gb\nport 7"}, {"a b": "c"}} {
		if CheckParameters(p) == nil {
			t.Errorf("%v is taken", p)
		}
	}
	if err := CheckParameters(map[string]string{"maxmemory": "1gb"}); err != nil {
		t.Error(err)
	}
}

func TestAHungPrimaryIsFencedByForce(t *testing.T) {
	l := newLab(t, nil, "a")
	l.found()
	l.write("a", "one")
	l.until("a write was probed", func() bool { return l.observe("a").Writable })
	_ = l.engines["a"].sup.Process().Signal(syscall.SIGSTOP)
	l.until("it is seen not to answer", func() bool {
		o := l.observe("a")
		return !o.Writable && strings.Contains(o.Problem, "does not answer")
	})
	l.do("a", plan.Step{Kind: plan.Fence, Epoch: 2})
	if o := l.observe("a"); o.Running || o.Position == 0 {
		t.Errorf("after it: %+v", o)
	}
}

func TestFollowRefusesWhatHasDiverged(t *testing.T) {
	l := newLab(t, nil, "a", "b", "c")
	l.found()
	l.write("a", "for all")
	l.until("b has it", func() bool { vs, err := l.Values(t.Context(), "b"); return err == nil && len(vs) == 1 && vs[0] != "" })
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 2})
	l.do("b", plan.Step{Kind: plan.Promote, Epoch: 2})
	l.write("a", "only on the old primary and its standby") // which has not heard
	l.write("b", "on the new one")
	l.do("a", plan.Step{Kind: plan.Fence, Epoch: 2})
	follow := plan.Step{Kind: plan.Follow, Service: "db", Node: "a", Epoch: 2, Upstream: "b"}
	if err := l.engines["a"].Do(t.Context(), follow); !errors.Is(err, act.ErrDiverged) {
		t.Fatalf("it follows: %v", err)
	}
	if vs, err := l.Values(t.Context(), "a"); err != nil || len(vs) != 2 || vs[1] != "only on the old primary and its standby" {
		t.Errorf("and has %v %v", vs, err)
	}
	l.do("a", plan.Step{Kind: plan.Rewind, Epoch: 2, Upstream: "b"})
	if got := l.rescued("a"); len(got) != 2 || got[1] != "only on the old primary and its standby" {
		t.Errorf("put aside was %v", got)
	}
	if vs, err := l.Values(t.Context(), "a"); err != nil || len(vs) != 2 || vs[1] != "on the new one" {
		t.Errorf("it has %v %v", vs, err)
	}
}

func TestForeignDataIsNotFollowed(t *testing.T) {
	l := newLab(t, nil, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Create, Epoch: 1})
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 2})
	for _, k := range []plan.Kind{plan.Follow, plan.Rewind} {
		if err := l.engines["b"].Do(t.Context(), plan.Step{Kind: k, Node: "b", Epoch: 2, Upstream: "a"}); !errors.Is(err, act.ErrForeign) {
			t.Errorf("%s: %v", k, err)
		}
	}
}

func TestAStandbyOfAnAbsentPrimaryAttachesWhenThatIsBack(t *testing.T) {
	l := newLab(t, nil, "a", "b")
	l.found()
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Fast})
	l.do("a", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Immediate})
	l.do("b", plan.Step{Kind: plan.Start, Epoch: 1})
	if o := l.observe("b"); o.Streaming || o.Position == 0 {
		t.Errorf("alone it is %+v", o)
	}
	l.do("a", plan.Step{Kind: plan.Start, Epoch: 1})
	l.write("a", "after the break")
	l.until("b follows again", func() bool {
		vs, err := l.Values(t.Context(), "b")
		return err == nil && len(vs) == 1 && l.observe("b").Streaming
	})
	if found, _ := filepath.Glob(filepath.Join(l.dir, "b", "rescue", "*")); len(found) > 0 {
		t.Errorf("a standby put aside %v", found)
	}
}

func TestTheEpochIsInTheDataAndComesBackAfterAFlush(t *testing.T) {
	l := newLab(t, func(o *Options) { o.MinStandbys = 1 }, "a", "b")
	l.found()
	l.write("a", "with a standby")
	for _, n := range []string{"a", "b"} {
		if text, err := l.client(t.Context(), n, "GET", keyEpoch); err != nil || text != "1" {
			t.Errorf("%s has epoch %q %v", n, text, err)
		}
	}
	if _, err := l.client(t.Context(), "a", "FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	if o := l.observe("a"); o.Position == 0 || o.SystemID == "" {
		t.Errorf("after a flush: %+v", o)
	}
	l.until("it is written again", func() bool {
		text, err := l.client(t.Context(), "b", "GET", keyOrigin)
		_, ok := parseOrigin(text)
		return err == nil && ok
	})
	l.do("b", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Fast})
	if err := l.Write(t.Context(), "a", "alone"); err == nil || !strings.Contains(err.Error(), "NOREPLICAS") {
		t.Errorf("without a standby: %v", err)
	}
	began := time.Now()
	l.until("and that is not a failure", func() bool {
		o := l.observe("a")
		return o.Writable && o.Problem == "" && o.LastWrite.After(began)
	})
}

func TestADumpIsAdopted(t *testing.T) {
	l := newLab(t, nil, "a", "b")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	l.write("a", "from before")
	if _, err := l.client(t.Context(), "a", "SAVE"); err != nil {
		t.Fatal(err)
	}
	dump, err := os.ReadFile(l.engines["a"].data("dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	b := l.engines["b"]
	if err := errors.Join(b.init(), os.WriteFile(b.data("dump.rdb"), dump, 0o644)); err != nil {
		t.Fatal(err)
	}
	if o := l.observe("b"); o.Empty {
		t.Errorf("it is seen as %+v", o)
	}
	l.do("b", plan.Step{Kind: plan.Fence, Epoch: 3})
	l.do("b", plan.Step{Kind: plan.Promote, Epoch: 3})
	l.do("b", plan.Step{Kind: plan.Restart, Epoch: 3})
	if vs, err := l.Values(t.Context(), "b"); err != nil || len(vs) != 1 || vs[0] != "from before" {
		t.Errorf("it has %v %v", vs, err)
	}
}

func TestTheNodeComesBackToARunningInstance(t *testing.T) {
	l := newLab(t, nil, "a", "b")
	l.found()
	l.write("a", "before")
	at := l.observe("a")
	l.engines["a"].ledger.Close(func() {}) // as if the process was gone: it still has the child; both look at one server
	again := New(l.engines["a"].o)
	if err := again.init(); err != nil {
		t.Fatal(err)
	}
	o, err := again.Observe(t.Context())
	if err != nil || o.Role != plan.Primary || o.Position < at.Position || o.SystemID != at.SystemID {
		t.Errorf("it is seen as %+v %v", o, err)
	}
	again.sup.Kill(t.Context())
}
