package cache

import (
	"github.com/backstay/backstay/internal/serve/http1"
)

// facts are what decides whether an answer may be stored.
type facts struct {
	q       *Query
	res     *http1.Response
	says    *Directives // the answer's
	varies  bool        // in what no request can be compared by
	cookies bool        // answers that set cookies may be shared
	limit   int64       // of a body
}

// A refusal is a reason not to store an answer.
type refusal struct {
	why   string
	holds func(f *facts) bool
}

// refusals are asked in order; the first that holds decides (RFC 9111, section 3). The last two rules of that section, about what allows an answer
// to be stored, are one here.
var refusals = []refusal{
	{"method", func(f *facts) bool { return f.q.Request.Verb != http1.GET }},
	{"request-body", func(f *facts) bool { return f.q.Request.Length != 0 || f.q.Request.Upgrade != nil }},
	{"interim", func(f *facts) bool { return f.res.Status < 200 }},
	{"partial", func(f *facts) bool { return f.res.Status == 206 || f.res.Status == 304 || f.res.Status == 416 }},
	{"request-no-store", func(f *facts) bool { return f.q.says.has(noStore) }},
	{"not-understood", func(f *facts) bool { return f.says.has(mustUnderstand) && !understood(f.res.Status) }},
	{"no-store", func(f *facts) bool {
		return f.says.has(noStore) && !f.says.has(mustUnderstand) || f.says.Broken && f.says.has(noStore)
	}},
	{"private", func(f *facts) bool { return f.says.has(private) }},
	{"authorization", func(f *facts) bool {
		return f.q.Request.Present.Has(http1.Authorization) && !f.says.has(public|mustRevalidate|sMaxAge)
	}},
	{"set-cookie", func(f *facts) bool {
		return !f.cookies && f.res.Present.Has(http1.SetCookie) && !f.says.lists("set-cookie")
	}},
	{"vary", func(f *facts) bool { return f.varies }},
	{"not-cacheable", func(f *facts) bool {
		return !f.says.has(public|maxAge|sMaxAge) && !f.res.Present.Has(http1.Expires) && !heuristically(f.res.Status)
	}},
	{"too-large", func(f *facts) bool { return f.res.Length > f.limit }},
	{"open-ended", func(f *facts) bool { return f.res.Length == http1.UntilClose }}, // nobody can tell whether it is whole
}

// refused is why the answer may not be stored, empty where it may.
func (f *facts) refused() string {
	for i := range refusals {
		if refusals[i].holds(f) {
			return refusals[i].why
		}
	}
	return ""
}

// lists says whether a field is named by no-cache or private, so that it is left out of what is stored.
func (d *Directives) lists(name string) bool {
	for _, f := range d.fields {
		if http1.EqualFold(f, name) {
			return true
		}
	}
	return false
}

// understood are the codes whose meaning for caches is known here: the registered ones.
func understood(status int) bool { return http1.StatusText(status) != "" }
