package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/backstay/backstay/internal/base/event"
	"github.com/backstay/backstay/internal/operate/api"
)

// picture is all that one drawing shows.
type picture struct {
	elapsed, length time.Duration
	url, now        string
	status          api.Status
	err             error
	web, recs       measure
	buyers, scouts  measure
	events          []event.Record
}

// view shows the demonstration while it runs.
type view interface {
	draw(picture)
	say(string)
	close()
}

func newView(out io.Writer, plain bool) view {
	if f, ok := out.(*os.File); ok && !plain && term.IsTerminal(int(f.Fd())) {
		return &screen{out: f}
	}
	return &lines{out: out}
}

// lines prints a line every two seconds, and one for whatever happens.
type lines struct {
	mu    sync.Mutex
	out   io.Writer
	drawn int
	seen  uint64
}

func (l *lines) say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "%s\n", text)
}

func (l *lines) draw(p picture) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range p.events {
		if r.Seq > l.seen {
			l.seen = r.Seq
			fmt.Fprintf(l.out, "      event: %s\n", describe(r))
		}
	}
	if l.drawn++; l.drawn%2 == 1 {
		fmt.Fprintf(l.out, "%s %4d req/s, %d errors, p50 %s, p99 %s; %s%s\n", clock(p.elapsed), p.web.requests+p.recs.requests,
			p.web.errors+p.recs.errors, brief(p.web.quantile(0.5)), brief(p.web.quantile(0.99)), summary(p.status), protections(p))
	}
}

func (l *lines) close() {}

// summary says in a line who is up.
func summary(s api.Status) string {
	var words []string
	for _, service := range s.Services {
		for _, m := range service.Members {
			words = append(words, m.Name+" "+string(m.State))
		}
	}
	return strings.Join(words, ", ")
}

func describe(r event.Record) string {
	text := r.Kind
	if r.Member != "" {
		text += " " + r.Service + "/" + r.Member
	}
	return text + ": " + r.Message
}

// screen redraws in place.
type screen struct {
	mu     sync.Mutex
	out    *os.File
	height int
	p99    []time.Duration
}

func (s *screen) say(string) {} // the drawing shows it

const (
	bold, dim, red, green, yellow, plain = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
)

func (s *screen) draw(p picture) {
	s.mu.Lock()
	defer s.mu.Unlock()
	width, _, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width < 40 {
		width = 80
	}
	s.p99 = append(s.p99, p.web.quantile(0.99))
	var b strings.Builder
	row := func(format string, args ...any) {
		b.WriteString("\x1b[2K" + fit(fmt.Sprintf(format, args...), width) + "\r\n")
	}
	if s.height > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", s.height)
	}
	row("%sBackstay%s  %s / %s   %s   now: %s%s%s", bold, plain, clock(p.elapsed), clock(p.length), p.url, yellow, p.now, plain)
	row("")
	colour := green
	if p.web.errors+p.recs.errors > 0 {
		colour = red
	}
	row("  %5d req/s   %s%d errors%s   p50 %-8s p99 %-8s %s", p.web.requests+p.recs.requests, colour, p.web.errors+p.recs.errors, plain,
		brief(p.web.quantile(0.5)), brief(p.web.quantile(0.99)), spark(s.p99, 30))
	row("")
	for _, service := range p.status.Services {
		for _, m := range service.Members {
			row("  %s %-18s %-9s %4.0f%%  in flight %-4d %s%s%s", dot(m.State), m.Name, m.State, 100*m.Share, m.InFlight, dim, m.Evidence, plain)
		}
	}
	row("  %s%s%s", yellow, strings.TrimPrefix(protections(p), "; "), plain)
	if p.err != nil {
		row("  %s%v%s", red, p.err, plain)
	}
	row("")
	for _, r := range p.events {
		row("  %s%s%s %s", dim, r.Time.Local().Format("15:04:05.000"), plain, describe(r))
	}
	for range 6 - len(p.events) {
		row("")
	}
	text := b.String()
	fmt.Fprint(s.out, text+"\x1b[J")
	s.height = strings.Count(text, "\r\n")
}

func (s *screen) close() {}

func dot(state api.MemberState) string {
	switch state {
	case api.MemberUp:
		return green + "●" + plain
	case api.MemberDown, api.MemberEjected, api.MemberOpen:
		return red + "●" + plain
	}
	return yellow + "●" + plain
}

// fit cuts a line to the width of the terminal, colours not counted.
func fit(line string, width int) string {
	var b strings.Builder
	column, escape := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if column++; column > width {
				return b.String() + plain
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// spark draws the newest values as bars, on a logarithmic scale.
func spark(values []time.Duration, n int) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values[max(0, len(values)-n):] {
		i := 0
		for t := time.Millisecond; v > t && i < len(bars)-1; t *= 2 {
			i++
		}
		b.WriteRune(bars[i])
	}
	return b.String()
}
