package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/operate/api"
)

const clients = 64

// web is three real servers behind a node.
type web struct {
	*node
	servers []*nginx
	address string
}

const webConfiguration = `
services:
  - name: web
    members:
      - {name: web-1, address: "%s"}
      - {name: web-2, address: "%s"}
      - {name: web-3, address: "%s"}
    check: {http: /healthz, every: 200ms, timeout: 500ms, rise: 2, fall: 2}
    timeout: {first_byte: 1s}
    hold: 1m
    balance: {slow_start: 1s}
    # %s
listeners:
  - {name: public, listen: "%s", routes: [{service: web}]}
`

func startWeb(t *testing.T) *web {
	t.Helper()
	w := &web{address: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	for i := range 3 {
		w.servers = append(w.servers, startNginx(t, fmt.Sprintf("web-%d", i+1)))
	}
	w.node = startNode(t, w.configuration("as it was"))
	for _, s := range w.servers {
		w.awaitState("web/"+s.name, api.MemberUp)
	}
	return w
}

func (w *web) configuration(comment string) string {
	return fmt.Sprintf(webConfiguration, w.servers[0].address, w.servers[1].address, w.servers[2].address, comment, w.address)
}

// settle lets the load run until it has had so many more answers.
func settle(t *testing.T, l *load, answers int64) {
	t.Helper()
	from := l.answers.Load()
	await(t, patience, fmt.Sprintf("%d more requests are answered", answers), func() bool { return l.answers.Load() >= from+answers })
}

func TestServerKilledAndBack(t *testing.T) {
	w := startWeb(t)
	l := startLoad(t, w.address, clients)
	settle(t, l, 2000)
	w.servers[0].stop()
	settle(t, l, 5000)
	w.awaitState("web/web-1", api.MemberDown)
	w.servers[0].restart()
	w.awaitState("web/web-1", api.MemberUp)
	before := l.share("web-1")
	await(t, patience, "web-1 answers again", func() bool { return l.share("web-1") > before+100 })
	l.check(t)
}

func TestServerHangs(t *testing.T) {
	w := startWeb(t)
	l := startLoad(t, w.address, clients)
	settle(t, l, 2000)
	before := w.member("web/web-2")
	w.servers[1].signal(syscall.SIGSTOP)
	settle(t, l, 5000)
	time.Sleep(1500 * time.Millisecond) // longer than one try may wait
	hung := w.member("web/web-2")
	w.servers[1].signal(syscall.SIGCONT)
	w.awaitState("web/web-2", api.MemberUp)
	settle(t, l, 2000)
	l.check(t)
	if n := hung.Failures - before.Failures; n > clients {
		t.Errorf("%d requests waited for the server that hung; at most the %d in flight at that time may", n, clients)
	}
	for _, d := range l.slow { // had one waited until the server went on and was up again, or for ever, it would be more
		if d > 15*time.Second {
			t.Errorf("a request waited %s; one try may take 1s", d)
		}
	}
}

func TestDeployByDraining(t *testing.T) {
	w := startWeb(t)
	l := startLoad(t, w.address, clients)
	settle(t, l, 2000)
	for _, s := range w.servers {
		w.command("drain", "web/"+s.name)
		w.awaitState("web/"+s.name, api.MemberDrained)
		s.stop()
		settle(t, l, 1000)
		s.restart()
		w.command("resume", "web/"+s.name)
		w.awaitState("web/"+s.name, api.MemberUp)
		settle(t, l, 1000)
	}
	l.check(t)
}

func TestReloadsUnderLoad(t *testing.T) {
	w := startWeb(t)
	l := startLoad(t, w.address, clients)
	settle(t, l, 2000)
	goroutines, descriptors := w.goroutines(), w.descriptors()
	for i := range 20 {
		w.write(t, w.configuration(fmt.Sprintf("reload %d", i)))
		if i%2 == 0 {
			w.command("reload")
		} else {
			w.signal(syscall.SIGHUP)
		}
		settle(t, l, 300)
	}
	w.write(t, "services: [{nam: web}]")
	out, err := exec.Command(binary, "reload", "--socket", w.socket).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "nam") {
		t.Errorf("a bad configuration was taken, or the refusal does not say why: %v\n%s", err, out)
	}
	settle(t, l, 1000)
	if l.closed > 0 {
		t.Errorf("%d connections were closed by reloads", l.closed)
	}
	// Some slack for connections to members, which come and go with the load: each of the three may have one for every client.
	if now := w.goroutines(); now > goroutines+3*clients {
		t.Errorf("%d goroutines before the reloads, %d after", goroutines, now)
	}
	if now := w.descriptors(); now > descriptors+3*clients {
		t.Errorf("%d descriptors before the reloads, %d after", descriptors, now)
	}
	l.check(t)
}

func TestTermUnderLoad(t *testing.T) {
	w := startWeb(t)
	l := startLoad(t, w.address, clients)
	settle(t, l, 2000)
	w.signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- w.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the node ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the node did not end")
	}
	l.end()
	problems := 0
	// After the end nobody listens: refused connections are what clients should see, and nothing else.
	for _, p := range l.problems {
		if !strings.Contains(p, "connection refused") {
			problems++
			t.Logf("a client saw: %s", p)
		}
	}
	// A client that stood still for longer than the node waits for the next request of an idle connection finds it closed.
	if stood := time.Duration(l.stood.Load()); problems > 0 && stood < 300*time.Millisecond {
		t.Errorf("%d clients saw more than the end, and none stood still for longer than %v", problems, stood)
	}
	t.Logf("%d answers, %d connections closed after an announcement", l.answers.Load(), l.closed)
}

func TestPostsAreNeverRepeated(t *testing.T) {
	w := startWeb(t)
	l := &load{address: w.address, method: "POST", body: "x=1", stop: make(chan struct{}), by: map[string]int{}}
	for i := range 16 {
		l.wg.Go(func() { l.client(i) })
	}
	settle(t, l, 500)
	for range 5 {
		w.servers[2].stop()
		settle(t, l, 300)
		w.servers[2].restart()
		settle(t, l, 300)
	}
	l.end()
	seen := map[string]int{}
	for _, s := range w.servers {
		out, err := exec.Command("cat", s.log).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			seen[strings.TrimSpace(line)]++
		}
	}
	for line, n := range seen {
		if n > 1 {
			t.Errorf("%s was sent %d times", line, n)
		}
	}
	if int64(len(seen))+5*16 < l.answers.Load() { // a server that is killed may not have logged what it has just answered
		t.Errorf("%d requests answered, %d seen at the servers: is the test counting?", l.answers.Load(), len(seen))
	}
	t.Logf("%d distinct requests at the servers, %d answered, %d failed rather than be repeated", len(seen), l.answers.Load(), len(l.problems))
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	if out, err := exec.Command(binary, append([]string{"check"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
}

func TestSlowClients(t *testing.T) {
	tool, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Fatal("slowhttptest is missing: run scripts/setup test")
	}
	w := startWeb(t)
	for _, mode := range []string{"-H", "-B"} { // slow heads, slow bodies
		attack := start(t, "slowhttptest", tool, mode, "-c", "1000", "-r", "500", "-i", "5", "-l", "6", "-x", "24", "-p", "3", "-u", "http://"+w.address+"/")
		l := startLoad(t, w.address, 8)
		settle(t, l, 2000)
		l.check(t)
		for _, took := range l.slow { // had they waited for the slow ones, it would be ten seconds and more
			if took > 8*time.Second {
				t.Errorf("%s: a request of another took %v", mode, took)
			}
		}
		attack.stop()
	}
}
