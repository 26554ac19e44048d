package snapshot

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/http1"
)

// Match is the compiled condition of a route; all that is set must hold.
type Match struct {
	host    string // lower case, "*.example.org" takes any one label
	prefix  string
	exact   string
	regex   *regexp.Regexp
	methods []string
	headers []headerMatch
}

type headerMatch struct {
	name  string
	value *regexp.Regexp
}

func newMatch(c config.Match) (Match, error) {
	m := Match{host: strings.ToLower(c.Host), prefix: c.Path, exact: c.Exact, methods: c.Method}
	if m.prefix == "/" {
		m.prefix = "" // everything is below the root
	}
	var err error
	if c.Regex != "" {
		if m.regex, err = whole(c.Regex); err != nil {
			return m, fmt.Errorf("regex: %w", err)
		}
	}
	for _, name := range slices.Sorted(keys(c.Headers)) {
		value, err := whole(c.Headers[name])
		if err != nil {
			return m, fmt.Errorf("header %s: %w", name, err)
		}
		m.headers = append(m.headers, headerMatch{strings.ToLower(name), value})
	}
	return m, nil
}

// whole compiles an expression that must match from the beginning to the end.
func whole(expr string) (*regexp.Regexp, error) { return regexp.Compile(`\A(?:` + expr + `)\z`) }

// Route returns the first route that takes the request, or nil.
//
// Paths are compared as a server behind would read them: percent-decoded, with dot segments and doubled slashes
// resolved (RFC 3986, section 6.2.2), so that /x/%2e%2e/admin cannot slip past a route for /admin. What is forwarded
// stays as the client sent it.
func (l *HTTPListener) Route(req *http1.Request) *Route {
	p := Normalise(req.Path)
	for _, r := range l.Routes {
		if r.Match.holds(req, p) {
			return r
		}
	}
	return nil
}

func (m *Match) holds(req *http1.Request, p []byte) bool {
	if m.host != "" && !matchHost(m.host, hostOnly(req.Host)) {
		return false
	}
	if m.prefix != "" && !underPrefix(m.prefix, p) || m.exact != "" && m.exact != string(p) {
		return false
	}
	if m.regex != nil && !m.regex.Match(p) {
		return false
	}
	if len(m.methods) > 0 && !slices.ContainsFunc(m.methods, func(s string) bool { return s == string(req.Method) }) {
		return false
	}
	for i := range m.headers {
		if !m.headers[i].holds(req) {
			return false
		}
	}
	return true
}

func (h *headerMatch) holds(req *http1.Request) bool {
	for i := range req.Fields {
		f := &req.Fields[i]
		if http1.EqualFold(f.Name, h.name) && h.value.Match(f.Value) {
			return true
		}
	}
	return false
}

// underPrefix holds for whole segments: /api takes /api and /api/x, not /apix; /api/ takes what is below it.
func underPrefix(prefix string, p []byte) bool {
	if len(p) < len(prefix) || string(p[:len(prefix)]) != prefix {
		return false
	}
	return len(p) == len(prefix) || prefix[len(prefix)-1] == '/' || p[len(prefix)] == '/'
}

// Normalise returns the path as a server would read it. It is the same slice, unallocated, for paths without escapes,
// dot segments or doubled slashes.
func Normalise(p []byte) []byte {
	if bytes.IndexByte(p, '%') < 0 && !bytes.Contains(p, []byte("/.")) && !bytes.Contains(p, []byte("//")) {
		return p
	}
	s, err := url.PathUnescape(string(p))
	if err != nil {
		s = string(p)
	}
	clean := path.Clean("/" + s)
	if strings.HasSuffix(s, "/") && clean != "/" {
		clean += "/"
	}
	return []byte(clean)
}

// matchHost compares a lower-case pattern with a host name of any case.
func matchHost[T string | []byte](pattern string, host T) bool {
	if pattern == "*" {
		return true
	}
	if strings.HasPrefix(pattern, "*.") {
		dot := strings.IndexByte(string(host), '.')
		return dot > 0 && strings.EqualFold(string(host[dot:]), pattern[1:])
	}
	return len(pattern) == len(host) && strings.EqualFold(string(host), pattern)
}

// hostOnly takes the port off a Host value.
func hostOnly(host []byte) []byte {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	return host[:i]
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
