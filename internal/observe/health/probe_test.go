package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

// dead is an address on which nobody listens.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serve answers each connection on a port of its own.
func serve(t *testing.T, network, address string, answer func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
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
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
	return l.Addr().String()
}

// hang takes connections and never answers.
func hang(c net.Conn) {
	b := make([]byte, 1024)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

func probe(t *testing.T, address string, c config.Check) Result {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = config.Duration(time.Minute)
	}
	return NewProber().Probe(t.Context(), Target{Service: "web", Member: "a", Address: address, Check: c})
}

// expect compares a result with the reason wanted: none for a good one, else how the reason begins.
func expect(t *testing.T, what string, got Result, want string) {
	t.Helper()
	if got.OK != (want == "") || !strings.HasPrefix(got.Reason, want) || (want == "") != (got.Reason == "") {
		t.Errorf("%s: got %+v, want %q", what, got, want)
	}
}

func TestHTTPProbe(t *testing.T) {
	var mu sync.Mutex
	var seen *http.Request
	connections := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = r
		if connections[r.RemoteAddr] {
			t.Errorf("%s was used again", r.RemoteAddr)
		}
		connections[r.RemoteAddr] = true
		mu.Unlock()
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/large":
			fmt.Fprint(w, strings.Repeat("x", maxBody), "the end")
		case "/slow":
			<-r.Context().Done()
		case "/cut":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
		default:
			w.Header().Set("X-Version", "v2.1")
			w.Header().Add("Vary", "a")
			w.Header().Add("Vary", "b")
			fmt.Fprint(w, "status: ok\n")
		}
	}))
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	for _, c := range []struct {
		name string
		http config.HTTPCheck
		want string
	}{
		{"defaults", config.HTTPCheck{}, ""},
		{"status by default", config.HTTPCheck{Path: "/broken"}, "status 503"},
		{"a redirect is not followed", config.HTTPCheck{Path: "/moved", Status: []string{"302"}}, ""},
		{"a redirect is an answer", config.HTTPCheck{Path: "/moved", Status: []string{"2xx"}}, "status 302"},
		{"status set", config.HTTPCheck{Path: "/broken", Status: []string{"2xx", "500-503"}}, ""},
		{"bad status set", config.HTTPCheck{Status: []string{"ok"}}, "the check's status is wrong: ok is no status: write 200, 2xx or 200-399"},
		{"body", config.HTTPCheck{Body: `status: (ok|fine)`}, ""},
		{"wrong body", config.HTTPCheck{Body: `fine`}, `body does not match fine: "status: ok\n"`},
		{"bad body expression", config.HTTPCheck{Body: `(`}, "the check's body is wrong"},
		{"only the first 64 KiB count", config.HTTPCheck{Path: "/large", Body: "the end"}, "body does not match the end"},
		{"the first 64 KiB do count", config.HTTPCheck{Path: "/large", Body: "xx$"}, ""},
		{"header", config.HTTPCheck{ExpectHeaders: map[string]string{"x-version": `^v2\.`, "Vary": "^b$"}}, ""},
		{"wrong header", config.HTTPCheck{ExpectHeaders: map[string]string{"X-Version": `^v3`}}, `header X-Version does not match ^v3: "v2.1"`},
		{"missing header", config.HTTPCheck{ExpectHeaders: map[string]string{"X-Other": ``}}, "header X-Other is missing"},
		{"cut answer", config.HTTPCheck{Path: "/cut", Body: "whole"}, "connection closed before the answer was whole"},
		{"bad path", config.HTTPCheck{Path: "no slash"}, "the check's request is wrong"},
	} {
		expect(t, c.name, probe(t, address, config.Check{HTTP: &c.http}), c.want)
	}

	probe(t, address, config.Check{HTTP: &config.HTTPCheck{Path: "/x?y=1", Method: "HEAD", Host: "shop.example", Headers: map[string]string{"X-Probe": "1"}}})
	mu.Lock()
	if seen.Method != http.MethodHead || seen.Host != "shop.example" || seen.Header.Get("X-Probe") != "1" || seen.RequestURI != "/x?y=1" || seen.UserAgent() != "backstay-check" {
		t.Errorf("request was %s %s of %s with %v", seen.Method, seen.RequestURI, seen.Host, seen.Header)
	}
	mu.Unlock()
	probe(t, address, config.Check{HTTP: &config.HTTPCheck{}})
	mu.Lock()
	if seen.Host != address {
		t.Errorf("host is %s, want %s", seen.Host, address)
	}
	mu.Unlock()
	slow := probe(t, address, config.Check{HTTP: &config.HTTPCheck{Path: "/slow"}, Timeout: config.Duration(50 * time.Millisecond)})
	expect(t, "slow", slow, "timed out after 50ms")
	if slow.Took < 50*time.Millisecond {
		t.Errorf("took %v", slow.Took)
	}
	_, port, _ := net.SplitHostPort(address)
	var n int
	fmt.Sscan(port, &n)
	expect(t, "port override", probe(t, dead(t), config.Check{HTTP: &config.HTTPCheck{}, Port: n}), "")
}

func TestConnectionReasons(t *testing.T) {
	page := config.Check{HTTP: &config.HTTPCheck{}}
	expect(t, "nobody listens", probe(t, dead(t), page), "connection refused")
	closes := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) {})
	r := probe(t, closes, page)
	if r.OK || r.Reason != "connection reset" && r.Reason != "connection closed without an answer" {
		t.Errorf("closing member: %+v", r)
	}
	other := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-OpenSSH\r\n"); hang(c) })
	expect(t, "not HTTP", probe(t, other, page), "the answer is not HTTP")
	expect(t, "no socket", probe(t, "unix:/nowhere/at.all", page), "no such socket")
	expect(t, "empty check", probe(t, other, config.Check{}), "the check says nothing to look at")
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, "unix", path, func(c net.Conn) {
		c.Read(make([]byte, 1024))
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	expect(t, "http", probe(t, "unix:"+path, config.Check{HTTP: &config.HTTPCheck{Body: "ok"}}), "")
	expect(t, "tcp", probe(t, "unix:"+path, config.Check{TCP: &config.TCPCheck{Send: "x", Expect: "200 OK"}, Port: 81}), "")
}

func TestTCPProbe(t *testing.T) {
	echo := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		b := make([]byte, 64)
		n, _ := c.Read(b)
		for _, one := range b[:n] { // in pieces
			c.Write([]byte{one})
		}
	})
	flood := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		for range 100 {
			if _, err := c.Write(make([]byte, 1024)); err != nil {
				return
			}
		}
	})
	silent := serve(t, "tcp", "127.0.0.1:0", hang)
	for _, c := range []struct {
		name, address string
		tcp           config.TCPCheck
		want          string
	}{
		{"connect", silent, config.TCPCheck{}, ""},
		{"send only", silent, config.TCPCheck{Send: "x"}, ""},
		{"send and expect", echo, config.TCPCheck{Send: `PING\r\n\t\x00\xfF\\`, Expect: `^PING\r\n\t\x00`}, ""},
		{"other answer", echo, config.TCPCheck{Send: "PING", Expect: "PONG"}, `the answer does not match PONG: "PING"`},
		{"no end", flood, config.TCPCheck{Expect: "PONG"}, "the answer does not match PONG"},
		{"no answer", silent, config.TCPCheck{Expect: "PONG"}, "timed out after 60ms"},
		{"bad escape", echo, config.TCPCheck{Send: `\q`}, `the check's send is wrong: \q means nothing`},
		{"half an escape", echo, config.TCPCheck{Send: `\x1`}, `the check's send is wrong: \x wants two hexadecimal digits`},
		{"open escape", echo, config.TCPCheck{Send: `x\`}, `the check's send is wrong: the text ends in a lone \`},
		{"bad expression", echo, config.TCPCheck{Send: "x", Expect: `(`}, "the check's expect is wrong"},
		{"nobody", dead(t), config.TCPCheck{}, "connection refused"},
	} {
		limit := time.Minute
		if strings.HasPrefix(c.want, "timed out") {
			limit = 60 * time.Millisecond
		}
		expect(t, c.name, probe(t, c.address, config.Check{TCP: &c.tcp, Timeout: config.Duration(limit)}), c.want)
	}
}

func TestExecProbe(t *testing.T) {
	sh := func(script string) config.Check {
		return config.Check{Exec: &config.ExecCheck{Command: []string{"/bin/sh", "-c", script}}}
	}
	expect(t, "good", probe(t, "10.0.0.1:80", sh("echo fine")), "")
	expect(t, "environment", probe(t, "10.0.0.1:80", sh(`[ "$MEMBER_ADDRESS $MEMBER_NAME $SERVICE_NAME" = "10.0.0.1:80 a web" ]`)), "")
	expect(t, "first line", probe(t, "", sh("echo; echo replica lags 30s; echo more; exit 2")), "replica lags 30s (exit code 2)")
	expect(t, "standard error", probe(t, "", sh("echo broken >&2; exit 1")), "broken (exit code 1)")
	expect(t, "no output", probe(t, "", sh("exit 3")), "exit code 3")
	expect(t, "signal", probe(t, "", sh("kill -9 $$")), "ended by signal: killed")
	expect(t, "much output", probe(t, "", sh("yes | head -c 1000000; exit 1")), "y (exit code 1)")
	expect(t, "no shell", probe(t, "", config.Check{Exec: &config.ExecCheck{Command: []string{"echo hello; exit 0"}}}), "no such command: echo hello; exit 0")
	expect(t, "no file", probe(t, "", config.Check{Exec: &config.ExecCheck{Command: []string{"/no/such/file"}}}), "no such command: /no/such/file")
	expect(t, "not executable", probe(t, "", config.Check{Exec: &config.ExecCheck{Command: []string{"/etc/passwd"}}}), "cannot run /etc/passwd: permission denied")
	expect(t, "empty", probe(t, "", config.Check{Exec: &config.ExecCheck{}}), "the check's command is wrong")
}

func TestExecIsKilledWithItsWholeGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	c := config.Check{Exec: &config.ExecCheck{Command: []string{"/bin/sh", "-c", `sleep 300 & echo $! > "$0"; wait`, file}}}
	var b []byte
	for limit := time.Second; len(b) == 0 && limit < time.Minute; limit *= 4 { // until it is long enough for the command to begin
		c.Timeout = config.Duration(limit)
		expect(t, "hanging", probe(t, "", c), "timed out after "+limit.String())
		b, _ = os.ReadFile(file)
	}
	waitGone(t, strings.TrimSpace(string(b)))

	c.Exec.Command = []string{"/bin/sh", "-c", `sleep 300 & echo $! > "$0"`, file} // ends well but leaves somebody behind
	c.Timeout = config.Duration(time.Minute)                                       // far from the child's five
	expect(t, "leaving a child", probe(t, "", c), "")
	b, _ = os.ReadFile(file)
	waitGone(t, strings.TrimSpace(string(b)))
}

// waitGone waits until a process has ended; a zombie has.
func waitGone(t *testing.T, pid string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("process %s still runs", pid)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestAllAndAny(t *testing.T) {
	up := serve(t, "tcp", "127.0.0.1:0", hang)
	connect, broken := config.Check{TCP: &config.TCPCheck{}}, config.Check{Exec: &config.ExecCheck{Command: []string{"false"}}}
	never := config.Check{TCP: &config.TCPCheck{Expect: "x"}}
	page := config.Check{HTTP: &config.HTTPCheck{Path: "/healthz"}, Timeout: config.Duration(40 * time.Millisecond)}
	all := func(c ...config.Check) config.Check { return config.Check{All: c} }
	anyOf := func(c ...config.Check) config.Check { return config.Check{Any: c} }
	for _, c := range []struct {
		name  string
		check config.Check
		want  string
	}{
		{"all good", all(connect, connect), ""},
		{"one of all bad", all(connect, broken), "exec false: exit code 1"},
		{"all bad", all(page, broken), "http /healthz: timed out after 40ms; exec false: exit code 1"},
		{"any, the first good", anyOf(connect, never), ""},
		{"any, the last good", anyOf(broken, connect), ""},
		{"any, none good", anyOf(page, broken), "none of 2 is good: http /healthz: timed out after 40ms; exec false: exit code 1"},
		{"nested", all(connect, anyOf(broken, all(connect, connect))), ""},
		{"nested, bad", all(connect, anyOf(broken, all(connect, page))), "any: none of 2 is good: exec false: exit code 1; all: http /healthz: timed out after 40ms"},
	} {
		expect(t, c.name, probe(t, up, c.check), c.want)
	}
}

func TestPartsInheritTimeoutAndPort(t *testing.T) {
	part := config.Check{TCP: &config.TCPCheck{}, Timeout: config.Duration(time.Second)} // the configuration's default
	whole := config.Check{Timeout: config.Duration(5 * time.Second), Port: 81, All: []config.Check{part}}
	if got := inherit(part, whole); got.Timeout != whole.Timeout || got.Port != 81 {
		t.Errorf("got %v, port %d", got.Timeout, got.Port)
	}
	part.Timeout, part.Port = config.Duration(9*time.Second), 82
	if got := inherit(part, whole); got.Timeout != part.Timeout || got.Port != 82 {
		t.Errorf("got %v, port %d", got.Timeout, got.Port)
	}
	for want, c := range map[time.Duration]config.Check{
		time.Second:     {},
		5 * time.Second: whole,
		9 * time.Second: {Any: []config.Check{{All: []config.Check{part}}}},
	} {
		if got := timeout(c); got != want {
			t.Errorf("timeout is %v, want %v", got, want)
		}
	}
}

func TestReasonsAreShortAndOnOneLine(t *testing.T) {
	long := config.Check{Exec: &config.ExecCheck{Command: []string{"/bin/sh", "-c", `printf 'a\033[31m%0500d\nx' 1; exit 1`}}}
	r := probe(t, "", config.Check{All: []config.Check{long, long, long}})
	if len(r.Reason) > maxReason || strings.ContainsAny(r.Reason, "\n\033") {
		t.Errorf("%d bytes: %q", len(r.Reason), r.Reason)
	}
	for d, want := range map[time.Duration]string{time.Second: "1s", 90 * time.Second: "1m30s", 2 * time.Minute: "2m", 3 * time.Hour: "3h", 1234 * time.Millisecond: "1.2s", 250 * time.Millisecond: "250ms"} {
		if got := short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	silent := serve(t, "tcp", "127.0.0.1:0", hang)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	c := config.Check{TCP: &config.TCPCheck{Expect: "x"}, Timeout: config.Duration(time.Minute)}
	if r := NewProber().Probe(ctx, Target{Address: silent, Check: c}); r.OK || r.Took > 30*time.Second {
		t.Errorf("%+v", r)
	}
}
