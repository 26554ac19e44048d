package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay/internal/base/config"
	"github.com/backstay/backstay/internal/serve/http1"
)

// Respond is a fixed answer, ready to be written.
type Respond struct {
	Status int
	Fields []http1.Field // Content-Type included, Content-Length not
	Body   []byte
}

func newRespond(c *config.Respond) *Respond {
	r := &Respond{Status: c.Status, Body: []byte(c.Body)}
	typed := false
	for _, name := range slices.Sorted(keys(c.Headers)) {
		typed = typed || strings.EqualFold(name, "Content-Type")
		r.Fields = append(r.Fields, http1.Field{Name: []byte(name), Value: []byte(c.Headers[name])})
	}
	if !typed && len(r.Body) > 0 {
		kind := "text/plain; charset=utf-8"
		if json.Valid(r.Body) {
			kind = "application/json"
		}
		r.Fields = append(r.Fields, http1.Field{Name: []byte("Content-Type"), Value: []byte(kind)})
	}
	return r
}

// Redirect sends clients elsewhere.
type Redirect struct{ config config.Redirect }

// Status is the code of the answer.
func (r *Redirect) Status() int { return r.config.Status }

// AppendLocation appends where the client is sent: what the route does not set stays as the request had it.
func (r *Redirect) AppendLocation(dst []byte, req *http1.Request, secure bool) []byte {
	scheme := r.config.Scheme
	if scheme == "" {
		scheme = "http"
		if secure {
			scheme = "https"
		}
	}
	dst = append(append(dst, scheme...), "://"...)
	switch {
	case r.config.Host != "":
		dst = append(dst, r.config.Host...)
	case r.config.Scheme != "": // the port belonged to the other scheme
		dst = append(dst, hostOnly(req.Host)...)
	default:
		dst = append(dst, req.Host...)
	}
	if r.config.Path != "" {
		dst = append(dst, r.config.Path...)
	} else {
		dst = append(dst, req.Path...)
	}
	if len(req.Query) > 0 {
		dst = append(append(dst, '?'), req.Query...)
	}
	return dst
}

// Rewrite changes what members see of a request's target.
type Rewrite struct {
	Host   string // replaces the Host header where not empty
	strip  string
	prefix string
	regex  *regexp.Regexp
	to     []byte
}

func newRewrite(c *config.Rewrite) (*Rewrite, error) {
	if c == nil {
		return nil, nil
	}
	r := &Rewrite{Host: c.Host, strip: strings.TrimSuffix(c.Strip, "/"), prefix: strings.TrimSuffix(c.Prefix, "/"), to: []byte(c.To)}
	if c.Regex != "" {
		var err error
		if r.regex, err = regexp.Compile(c.Regex); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// AppendPath appends the path that members see.
func (r *Rewrite) AppendPath(dst, path []byte) []byte {
	if r.regex != nil {
		path = r.regex.ReplaceAll(path, r.to)
	}
	if r.strip != "" && underPrefix(r.strip, path) {
		path = path[len(r.strip):]
	}
	dst = append(dst, r.prefix...)
	if len(path) == 0 || path[0] != '/' {
		dst = append(dst, '/')
	}
	return append(dst, path...)
}

// HeaderEdit changes headers: remove, then set, then add.
type HeaderEdit struct {
	Fields []http1.Field // to be appended: those set, then those added
	gone   [][]byte      // names to be left out: those removed or set
}

func newHeaderEdit(c *config.HeaderEdit) (*HeaderEdit, error) {
	if c == nil {
		return nil, nil
	}
	e := &HeaderEdit{}
	for _, name := range c.Remove {
		e.gone = append(e.gone, []byte(strings.ToLower(name)))
	}
	for i, group := range []map[string]config.Secret{c.Set, c.Add} {
		for _, name := range slices.Sorted(keys(group)) {
			value, err := group[name].Reveal()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if strings.ContainsAny(value, "\r\n\x00") {
				return nil, fmt.Errorf("%s: the value has a line break or NUL, which a header cannot carry", name)
			}
			if i == 0 {
				e.gone = append(e.gone, []byte(strings.ToLower(name)))
			}
			e.Fields = append(e.Fields, http1.Field{Name: []byte(name), Value: []byte(value)})
		}
	}
	return e, nil
}

// Drops reports whether a header of this name is left out.
func (e *HeaderEdit) Drops(name []byte) bool {
	for _, g := range e.gone {
		if len(g) == len(name) && bytes.EqualFold(g, name) {
			return true
		}
	}
	return false
}

// AppendCookie appends the value of a Set-Cookie header that keeps a client on a member.
func AppendCookie(dst []byte, c *config.Sticky, value string, secure bool) []byte {
	dst = append(append(append(dst, c.Cookie...), '='), value...)
	dst = append(dst, "; Path=/; HttpOnly; SameSite=Lax"...)
	if c.TTL > 0 {
		dst = append(dst, "; Max-Age="...)
		dst = strconv.AppendInt(dst, int64(c.TTL)/1e9, 10)
	}
	if secure {
		dst = append(dst, "; Secure"...)
	}
	return dst
}
