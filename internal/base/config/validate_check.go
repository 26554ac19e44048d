package config

import (
	"fmt"
	"strconv"
	"strings"
)

// check validates a check; inner is set for one within all or any.
func (v *validator) check(c *Check, p path, inner bool) {
	if inner {
		for _, key := range []string{"every", "every_down", "jitter", "rise", "fall", "grace"} {
			v.useless(p, key, key+" has no effect on a check within all or any", "set it on the outer check")
		}
	}
	if c.HTTP != nil {
		v.httpCheck(c.HTTP, p.key("http"))
	}
	if c.TCP != nil {
		v.pattern(c.TCP.Expect, p.key("tcp").key("expect"))
		if _, err := c.TCP.Bytes(); err != nil {
			v.problem(p.key("tcp").key("send"), err.Error(), `\r, \n, \t, \\ and \xNN are understood`)
		}
	}
	if c.GRPC != nil {
		v.memberTLS(c.GRPC.TLS, p.key("grpc").key("tls"))
	}
	if c.Exec != nil && len(c.Exec.Command) > 0 {
		v.command(c.Exec.Command, p.key("exec").key("command"))
	}
	for i := range c.All {
		v.check(&c.All[i], p.key("all").item(i, ""), true)
	}
	for i := range c.Any {
		v.check(&c.Any[i], p.key("any").item(i, ""), true)
	}
}

func (v *validator) httpCheck(h *HTTPCheck, p path) {
	if !strings.HasPrefix(h.Path, "/") {
		v.problem(p.key("path"), fmt.Sprintf("the path %q does not begin with /", h.Path), "write "+slashed(h.Path))
	}
	v.line(h.Path, p.key("path"))
	v.method(h.Method, p.key("method"))
	v.line(h.Host, p.key("host"))
	v.headers(h.Headers, p.key("headers"))
	for i, status := range h.Status {
		if _, _, err := StatusRange(status); err != nil {
			v.problem(p.key("status").item(i, ""), err.Error(), "write a code such as 200, a class such as 2xx, or a range such as 200-399")
		}
	}
	if len(h.Status) == 0 {
		v.problem(p.key("status"), "no answer would be a good one", "list at least one status, such as 2xx")
	}
	v.pattern(h.Body, p.key("body"))
	for _, name := range keys(h.ExpectHeaders) {
		v.token(name, "header", p.key("expect_headers").key(name))
		v.pattern(h.ExpectHeaders[name], p.key("expect_headers").key(name))
	}
	v.memberTLS(h.TLS, p.key("tls"))
}

func (v *validator) command(command []string, p path) {
	program := command[0]
	switch {
	case program == "":
		v.problem(p, "the command has no program", "write a list: [program, argument, …]")
	case len(command) == 1 && strings.ContainsAny(program, " |&;<>$"):
		v.problem(p, fmt.Sprintf("%q is taken for the name of one program: no shell is involved", program),
			"write a list: ["+strings.Join(strings.Fields(program), ", ")+"]; for a shell's syntax [sh, -c, \"…\"]")
	}
	for i, word := range command {
		if strings.ContainsRune(word, 0) {
			v.problem(p.item(i, ""), "a command cannot contain NUL", "take it out")
		}
	}
}

// line reports line breaks and other control characters in what is sent as part of a request's head.
func (v *validator) line(s string, p path) {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		v.problem(p, "this contains white space or control characters", "take them out; in a path a space is %20")
	}
}

func (v *validator) method(method string, p path) {
	switch upper := strings.ToUpper(method); {
	case !tokenPattern.MatchString(method):
		v.problem(p, fmt.Sprintf("%q is not a method", method), "write a method such as GET")
	case method != upper:
		v.problem(p, fmt.Sprintf("%q is not a method: methods are upper case", method), "write "+upper)
	}
}

func slashed(p string) string { return "/" + strings.TrimLeft(p, "/") }

// Bytes is what the check sends: Send with \r, \n, \t, \\ and \xNN understood. Parse has made sure that it cannot fail.
func (c TCPCheck) Bytes() ([]byte, error) {
	out := make([]byte, 0, len(c.Send))
	for rest := c.Send; rest != ""; {
		if rest[0] != '\\' {
			out, rest = append(out, rest[0]), rest[1:]
			continue
		}
		if len(rest) < 2 {
			return nil, fmt.Errorf(`the text ends in a lone \`)
		}
		letter, after := rest[1], rest[2:]
		switch letter {
		case 'r':
			out = append(out, '\r')
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case '\\':
			out = append(out, '\\')
		case 'x':
			code, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8)
			if err != nil || len(after) < 2 {
				return nil, fmt.Errorf(`\x wants two hexadecimal digits, such as \x0a`)
			}
			out, after = append(out, byte(code)), after[2:]
		default:
			return nil, fmt.Errorf(`\%c means nothing`, letter)
		}
		rest = after
	}
	return out, nil
}

// StatusRange reads an entry of HTTPCheck.Status: a code (200), a class (2xx) or a range (200-399), both ends included.
func StatusRange(s string) (first, last int, err error) {
	from, to, ranged := strings.Cut(s, "-")
	if class, ok := strings.CutSuffix(strings.ToLower(s), "xx"); ok && len(class) == 1 {
		from, to, ranged = class+"00", class+"99", true
	}
	if !ranged {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || first < 100 || last > 599 || first > last {
		return 0, 0, fmt.Errorf("%q is not a status", s)
	}
	return first, last, nil
}
