package resolve

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/backstay/backstay/internal/base/config"
)

// zone is a DNS server on 127.0.0.1 with records in zone-file form.
type zone struct {
	address string
	mu      sync.Mutex
	records []string
	rcode   map[string]int // answers of a name
	silent  bool
	noEDNS  bool
	cut     bool // UDP answers are truncated
	asked   []string
}

func newZone(t *testing.T, records ...string) *zone {
	t.Helper()
	z := &zone{records: records, rcode: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z.address = l.Addr().String()
	p, err := net.ListenPacket("udp", z.address)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{Listener: l, Handler: z}, {PacketConn: p, Handler: z}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return z
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	network := w.RemoteAddr().Network()
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	z.asked = append(z.asked, network+" "+dns.TypeToString[kind]+" "+name)
	if z.silent {
		return
	}
	m := new(dns.Msg).SetReply(q)
	defer w.WriteMsg(m)
	if code, ok := z.rcode[name]; ok {
		m.Rcode = code
		return
	}
	if z.noEDNS && q.IsEdns0() != nil {
		m.Rcode = dns.RcodeFormatError
		return
	}
	if z.cut && network == "udp" {
		m.Truncated = true
		return
	}
	exists := false
	for range 5 { // follow aliases like a recursive server
		alias := ""
		for _, record := range z.records {
			rr, err := dns.NewRR(record)
			if err != nil {
				panic(err)
			}
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			exists = true
			if c, ok := rr.(*dns.CNAME); ok {
				alias = c.Target
				m.Answer = append(m.Answer, rr)
			} else if rr.Header().Rrtype == kind {
				m.Answer = append(m.Answer, rr)
			}
		}
		if name = alias; alias == "" {
			break
		}
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
}

func (z *zone) change(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
}

func (z *zone) queries() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	asked := z.asked
	z.asked = nil
	return asked
}

// machine is a system with files of its own. It can reach everything.
func machine(t *testing.T, resolvConf, hosts string, servers ...string) *system {
	t.Helper()
	s := newSystem(servers)
	s.reach = func(netip.Addr) bool { return true }
	s.conf, s.hosts = filepath.Join(t.TempDir(), "resolv.conf"), filepath.Join(t.TempDir(), "hosts")
	for path, content := range map[string]string{s.conf: resolvConf, s.hosts: hosts} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func look(t *testing.T, s *system, q question) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	a, err := s.look(ctx, q)
	if err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprint(a.tidy(), " for ", a.ttl)
}

var shop = []string{
	"web.example. 30 A 10.0.0.2", "web.example. 20 A 10.0.0.1",
	"both.example. 30 A 10.0.0.1", "both.example. 40 AAAA 2001:db8::1",
	"six.example. 40 AAAA 2001:db8::1",
	"alias.example. 10 CNAME Web.Example.",
	"loop.example. 10 CNAME loop.example.",
	"text.example. 10 TXT hello",
	"web.shop.example. 30 A 10.0.0.9",
	"_http._tcp.example. 50 SRV 10 5 8080 web.example.", "_http._tcp.example. 50 SRV 20 5 8081 six.example.", "_http._tcp.example. 50 SRV 20 5 8081 gone.example.",
	"_none._tcp.example. 50 SRV 0 0 0 .",
	"_gone._tcp.example. 50 SRV 0 0 80 gone.example.",
	"_sick._tcp.example. 50 SRV 0 0 80 web.example.", "_sick._tcp.example. 50 SRV 0 0 80 sick.example.",
}

func TestLookUp(t *testing.T) {
	z := newZone(t, shop...)
	z.change(func() { z.rcode["sick.example."] = dns.RcodeServerFailure })
	s := machine(t, "", "", z.address)
	for name, want := range map[string]string{
		"web.example":   "10.0.0.1, 10.0.0.2 for 20s",
		"WEB.example.":  "10.0.0.1, 10.0.0.2 for 20s",
		"alias.example": "10.0.0.1, 10.0.0.2 for 10s",
		"both.example":  "10.0.0.1 for 30s",
		"six.example":   "2001:db8::1 for 40s",
		"gone.example":  "error: no such name (NXDOMAIN)",
		"text.example":  "error: the name has no address",
		"loop.example":  "error: the name has no address",
		"sick.example":  "error: name server " + z.address + " says SERVFAIL",
	} {
		if got := look(t, s, question{name: name}); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"_http._tcp.example": "10.0.0.1 port 8080, 10.0.0.2 port 8080, 2001:db8::1 port 8081 for 20s",
		"_none._tcp.example": "error: its SRV record says that the service is not available",
		"_gone._tcp.example": "error: gone.example: no such name (NXDOMAIN)",
		"_sick._tcp.example": "error: sick.example: name server " + z.address + " says SERVFAIL",
		"web.example":        "error: the name has no SRV records",
	} {
		if got := look(t, s, question{name, true}); got != want {
			t.Errorf("srv %s: got %s, want %s", name, got, want)
		}
	}
	s.reach = func(a netip.Addr) bool { return a.Is6() }
	want(t, "no route over IPv4", look(t, s, question{name: "both.example"}), "2001:db8::1 for 30s")
	want(t, "no route at all", look(t, s, question{name: "web.example"}), "10.0.0.1, 10.0.0.2 for 20s")
}

func TestSearchListAndNdots(t *testing.T) {
	z := newZone(t, shop...)
	host, port, _ := net.SplitHostPort(z.address)
	s := machine(t, "search shop.example example\noptions ndots:2\n", "", net.JoinHostPort(host, port))
	want(t, "first suffix that has it", look(t, s, question{name: "web"}), "10.0.0.9 for 30s")
	want(t, "second suffix", look(t, s, question{name: "both"}), "10.0.0.1 for 30s")
	z.queries()
	want(t, "as it is at last", look(t, s, question{name: "web.example"}), "10.0.0.1, 10.0.0.2 for 20s")
	want(t, "queries", z.queries(), []string{"udp A web.example.shop.example.", "udp A web.example.example.", "udp A web.example."})
	want(t, "no suffix after a final dot", look(t, s, question{name: "web."}), "error: no such name (NXDOMAIN)")
	if err := os.WriteFile(s.conf, []byte("search example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, "a changed file counts", look(t, s, question{name: "web"}), "10.0.0.1, 10.0.0.2 for 20s")
}

func TestServersAreAskedInOrder(t *testing.T) {
	silent, sick, good := newZone(t), newZone(t), newZone(t, shop...)
	silent.change(func() { silent.silent = true })
	sick.change(func() { sick.rcode["web.example."] = dns.RcodeRefused })
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	nobody := dead.LocalAddr().String()
	try := time.Minute
	asks := func(servers ...string) string {
		s := machine(t, "options timeout:1 attempts:1\n", "", servers...)
		s.try = try
		return look(t, s, question{name: "web.example"})
	}
	want(t, "the third knows", asks(nobody, sick.address, good.address), "10.0.0.1, 10.0.0.2 for 20s")
	want(t, "nobody there", asks(nobody), "error: no name server answers: connection refused from "+nobody)
	try = 200 * time.Millisecond
	want(t, "only silence", asks(silent.address), "error: no name server answers: no answer within 200ms from "+silent.address)
	got := ""
	for range 10 { // the good one may be too late as well where the machine stalls
		if got = asks(silent.address, good.address); got == "10.0.0.1, 10.0.0.2 for 20s" {
			break
		}
	}
	want(t, "a silent one is left after its time", got, "10.0.0.1, 10.0.0.2 for 20s")
}

func TestTruncatedAnswersAreAskedForOverTCP(t *testing.T) {
	z := newZone(t, shop...)
	z.change(func() { z.cut = true })
	want(t, "answer", look(t, machine(t, "", "", z.address), question{name: "web.example"}), "10.0.0.1, 10.0.0.2 for 20s")
	want(t, "queries", z.queries(), []string{"udp A web.example.", "tcp A web.example."})
	z.change(func() { z.cut, z.noEDNS = false, true })
	want(t, "without EDNS", look(t, machine(t, "", "", z.address), question{name: "web.example"}), "10.0.0.1, 10.0.0.2 for 20s")
}

func TestHostsFile(t *testing.T) {
	z := newZone(t, shop...)
	s := machine(t, "", "# machines\n10.1.1.1 Web.example w # the shop\n::1 six\n10.1.1.2 w\nnonsense web.example\n", z.address)
	for name, want := range map[string]string{
		"web.example": "10.1.1.1 for 5s", "w": "10.1.1.1, 10.1.1.2 for 5s", "six": "::1 for 5s",
		"localhost": "127.0.0.1 for 5s", "x.localhost": "127.0.0.1 for 5s",
	} {
		if got := look(t, s, question{name: name}); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	want(t, "queries", z.queries(), []string{})
	want(t, "SRV is never in it", look(t, s, question{"web.example", true}), "error: the name has no SRV records")
}

func TestLookUpEndsWithItsContext(t *testing.T) {
	z := newZone(t)
	z.change(func() { z.silent = true })
	s := machine(t, "", "", z.address)
	ctx, cancel := context.WithCancel(t.Context())
	s.try = time.Hour
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := s.look(ctx, question{name: "web.example"}); err == nil {
		t.Error("no error")
	}
}

func TestResolverAgainstARealServer(t *testing.T) {
	z := newZone(t, "web.example. 0 A 127.0.0.2")
	changes := make(chan []Endpoint, 10)
	r := NewResolver(Options{Servers: []string{z.address}, OnChange: func(_ string, e []Endpoint) { changes <- e }})
	r.Set(map[string][]config.Member{"web": {{Address: "localhost:80"}, {Name: "w", Address: "web.example:80"}}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	next := func(wanted string) {
		t.Helper()
		deadline := time.After(time.Minute)
		for {
			select {
			case e := <-changes:
				if strings.Join(names(e), " ") == wanted {
					return
				}
			case <-deadline:
				t.Fatalf("%s never came; there is %v", wanted, names(r.Endpoints("web")))
			}
		}
	}
	next("localhost:80@127.0.0.1:80 w@127.0.0.2:80")
	z.change(func() { z.records = []string{"web.example. 0 A 127.0.0.3", "web.example. 0 A 127.0.0.2"} })
	next("localhost:80@127.0.0.1:80 w@127.0.0.2:80 w/127.0.0.3:80@127.0.0.3:80")
	z.change(func() { z.silent = true })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
