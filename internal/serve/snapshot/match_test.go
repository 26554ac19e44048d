package snapshot

import (
	"testing"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/http1"
)

// request parses the head of a request for a path on a host, with further header lines.
func request(t testing.TB, method, target, host, lines string) *http1.Request {
	t.Helper()
	var r http1.Request
	head := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + lines + "\r\n"
	if n, err := r.Parse([]byte(head), http1.Limits{Head: 8192, Fields: 100}); err != nil || n != len(head) {
		t.Fatalf("parse %q: %d, %v", head, n, err)
	}
	return &r
}

func listener(t testing.TB, matches ...config.Match) *HTTPListener {
	t.Helper()
	l := &HTTPListener{}
	for i, c := range matches {
		m, err := newMatch(c)
		if err != nil {
			t.Fatal(err)
		}
		l.Routes = append(l.Routes, &Route{Name: string(rune('a' + i)), Match: m})
	}
	return l
}

func TestRoute(t *testing.T) {
	l := listener(t,
		config.Match{Host: "*.example.org", Path: "/api"},
		config.Match{Exact: "/only"},
		config.Match{Path: "/admin", Method: []string{"POST", "PUT"}},
		config.Match{Regex: `/v\d+/.*`},
		config.Match{Headers: map[string]string{"X-Canary": "yes|1"}},
		config.Match{Host: "Example.org"},
		config.Match{Path: "/below/"},
	)
	for _, tt := range []struct{ method, target, host, lines, want string }{
		{"GET", "/api", "www.example.org", "", "a"},
		{"GET", "/api/x?y=1", "WWW.EXAMPLE.ORG:8080", "", "a"},
		{"GET", "/apix", "www.example.org", "", ""},
		{"GET", "/api", "a.b.example.org", "", ""}, // * is one label
		{"GET", "/api", ".example.org.evil", "", ""},
		{"GET", "/only", "h", "", "b"},
		{"GET", "/only/", "h", "", ""},
		{"GET", "/only?q", "h", "", "b"},
		{"POST", "/admin", "h", "", "c"},
		{"GET", "/admin", "h", "", ""},
		{"POST", "/x/%2e%2e/admin/y", "h", "", "c"}, // as a server behind would read it
		{"POST", "/x/../admin", "h", "", "c"},
		{"POST", "//admin", "h", "", "c"},
		{"POST", "/%61dmin", "h", "", "c"},
		{"GET", "/v12/x", "h", "", "d"},
		{"GET", "/x/v12/x", "h", "", ""}, // the expression takes the whole path
		{"GET", "/", "h", "X-Canary: 1\r\n", "e"},
		{"GET", "/", "h", "x-canary: 11\r\n", ""},
		{"GET", "/", "h", "X-Canary: no\r\nX-Canary: yes\r\n", "e"},
		{"GET", "/", "example.org", "", "f"},
		{"GET", "/below/x", "h", "", "g"},
		{"GET", "/below", "h", "", ""},
	} {
		got := ""
		if r := l.Route(request(t, tt.method, tt.target, tt.host, tt.lines)); r != nil {
			got = r.Name
		}
		if got != tt.want {
			t.Errorf("%s %s of %s %q: route %q, want %q", tt.method, tt.target, tt.host, tt.lines, got, tt.want)
		}
	}
}

func TestRootTakesEverything(t *testing.T) {
	l := listener(t, config.Match{Path: "/"})
	for _, target := range []string{"/", "/x", "/x/y?z"} {
		if l.Route(request(t, "GET", target, "h", "")) == nil {
			t.Errorf("%s has no route", target)
		}
	}
	if l.Route(request(t, "OPTIONS", "*", "h", "")) == nil {
		t.Error("OPTIONS * has no route")
	}
}

func TestRouteAllocatesNothing(t *testing.T) {
	l := listener(t, config.Match{Host: "a.example.org"}, config.Match{Path: "/api", Method: []string{"PUT"}}, config.Match{Headers: map[string]string{"X-A": "b"}}, config.Match{Path: "/"})
	r := request(t, "GET", "/some/path?q=1", "www.example.org", "Accept: */*\r\n")
	if n := testing.AllocsPerRun(100, func() {
		if l.Route(r) == nil {
			t.Fatal("no route")
		}
	}); n != 0 {
		t.Errorf("%v allocations for each request", n)
	}
}

func TestServiceForServerName(t *testing.T) {
	a, b, c := &Service{Name: "a"}, &Service{Name: "b"}, &Service{Name: "c"}
	l := &TCPListener{SNI: []SNIRoute{{Names: []string{"www.example.org"}, Service: a}, {Names: []string{"*.example.org"}, Service: b}, {Names: []string{"*"}, Service: c}}}
	for name, want := range map[string]*Service{"www.example.org": a, "WWW.example.ORG": a, "x.example.org": b, "x.y.example.org": c, "": c} {
		if got := l.ServiceFor(name); got != want {
			t.Errorf("%q goes to %v, want %v", name, got, want)
		}
	}
	l.SNI = l.SNI[:2]
	if got := l.ServiceFor("other"); got != nil {
		t.Errorf("a name nobody takes goes to %v", got)
	}
}

func BenchmarkRoute(b *testing.B) {
	var matches []config.Match
	for _, p := range []string{"/api", "/static", "/images", "/admin", "/login", "/logout", "/search", "/cart", "/user"} {
		matches = append(matches, config.Match{Host: "www.example.org", Path: p})
	}
	l := listener(b, append(matches, config.Match{})...)
	r := request(b, "GET", "/some/path?q=1", "www.example.org", "Accept: */*\r\n")
	b.ReportAllocs()
	for b.Loop() {
		l.Route(r)
	}
}
