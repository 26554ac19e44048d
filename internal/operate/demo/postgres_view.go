package demo

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/backstay/backstay/internal/base/event"
)

// postgresPicture is all that one drawing of the PostgreSQL demonstration shows.
type postgresPicture struct {
	elapsed, length time.Duration
	now             string
	sights          []sight
	up              map[string]bool // whose node process runs
	rate, errors    int             // of the last second
	total           tally
	pause           time.Duration // since the newest acknowledgement
	events          []event.Record
}

// postgresView shows the PostgreSQL demonstration while it runs.
type postgresView interface {
	draw(postgresPicture)
	say(string)
	close()
}

func newPostgresView(out io.Writer, plain bool) postgresView {
	if f, ok := out.(*os.File); ok && !plain && term.IsTerminal(int(f.Fd())) {
		return &postgresScreen{out: f}
	}
	return &postgresLines{out: out, seen: map[string]uint64{}}
}

// draw shows the present.
func (s *postgresShow) draw() {
	t := s.writers.tally(s.began)
	p := postgresPicture{
		elapsed: time.Since(s.began), length: s.length, now: s.current(), sights: s.observer.now(), up: map[string]bool{},
		rate: t.acknowledged - s.last.acknowledged, errors: t.errors - s.last.errors, total: t,
	}
	for _, r := range s.watch.last(8) {
		if r.Time.After(s.began) {
			p.events = append(p.events, r)
		}
	}
	if s.last = t; !t.last.IsZero() {
		p.pause = time.Since(t.last)
	}
	for _, n := range s.stage.nodes {
		p.up[n.name] = n.up()
	}
	s.view.draw(p)
}

// describe says in a few words what an instance is.
func (p postgresPicture) describe(s sight) string {
	switch {
	case !p.up[s.node]:
		return "node is down"
	case !s.answers:
		return "does not answer"
	case s.primary:
		return fmt.Sprintf("primary of epoch %d", s.epoch)
	}
	return "standby " + p.behind(s)
}

// behind says how far a standby is behind the primary.
func (p postgresPicture) behind(s sight) string {
	for _, primary := range p.sights {
		if !primary.primary || !primary.answers {
			continue
		}
		for _, name := range primary.standbys {
			if name == s.node {
				return fmt.Sprintf("%d B behind", int64(max(primary.position, s.position)-s.position))
			}
		}
	}
	return "does not stream"
}

// postgresLines prints a line every two seconds, and one for whatever happens.
type postgresLines struct {
	mu    sync.Mutex
	out   io.Writer
	drawn int
	seen  map[string]uint64 // the newest record of each node
}

func (l *postgresLines) say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "%s\n", text)
}

func (l *postgresLines) draw(p postgresPicture) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range p.events {
		if r.Seq > l.seen[r.Node] {
			l.seen[r.Node] = r.Seq
			fmt.Fprintf(l.out, "      %s: %s\n", r.Node, describe(r))
		}
	}
	if l.drawn++; l.drawn%2 == 0 {
		return
	}
	var words []string
	for _, s := range p.sights {
		words = append(words, s.node+" "+p.describe(s))
	}
	fmt.Fprintf(l.out, "%s %4d writes/s, %d errors, longest gap %s; %s\n", clock(p.elapsed), p.rate, p.total.errors, brief(p.total.gap), strings.Join(words, ", "))
}

func (l *postgresLines) close() {}

// postgresScreen redraws in place.
type postgresScreen struct {
	mu     sync.Mutex
	out    *os.File
	height int
	rates  []int
}

func (s *postgresScreen) say(string) {} // the drawing shows it

func (s *postgresScreen) draw(p postgresPicture) {
	s.mu.Lock()
	defer s.mu.Unlock()
	width, _, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width < 40 {
		width = 80
	}
	var b strings.Builder
	row := func(format string, args ...any) {
		b.WriteString("\x1b[2K" + fit(fmt.Sprintf(format, args...), width) + "\r\n")
	}
	if s.height > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", s.height)
	}
	row("%sBackstay and PostgreSQL%s  %s / %s   now: %s%s%s", bold, plain, clock(p.elapsed), clock(p.length), yellow, p.now, plain)
	row("")
	s.rates = append(s.rates, p.rate)
	colour := green
	if p.errors > 0 {
		colour = red
	}
	row("  %5d writes/s  %s  acknowledged %d   %serrors %d%s   longest gap %s", p.rate, spark(heights(s.rates), 30), p.total.acknowledged, colour, p.total.errors, plain, brief(p.total.gap))
	if p.pause > 200*time.Millisecond {
		row("  %sno write for %s%s", yellow, brief(p.pause), plain)
	} else {
		row("")
	}
	row("")
	for _, x := range p.sights {
		row("  %s %-4s %-24s %s%s%s", postgresDot(p, x), x.node, p.describe(x), dim, position(x), plain)
	}
	row("")
	for _, r := range p.events {
		row("  %s%s %s%s %s", dim, r.Time.Local().Format("15:04:05.000"), r.Node, plain, describe(r))
	}
	for range 8 - len(p.events) {
		row("")
	}
	text := b.String()
	fmt.Fprint(s.out, text+"\x1b[J")
	s.height = strings.Count(text, "\r\n")
}

func (s *postgresScreen) close() {}

// heights are rates as the durations that spark draws at a height in proportion to the highest.
func heights(rates []int) []time.Duration {
	most := max(1, slices.Max(rates))
	var out []time.Duration
	for _, r := range rates {
		out = append(out, time.Millisecond<<(7*r/most))
	}
	return out
}

func postgresDot(p postgresPicture, s sight) string {
	switch text := p.describe(s); {
	case s.primary && s.answers:
		return green + "◆" + plain
	case strings.HasSuffix(text, "behind"):
		return green + "●" + plain
	case !s.answers:
		return red + "●" + plain
	}
	return yellow + "●" + plain
}

// position writes a position as PostgreSQL does.
func position(s sight) string {
	if !s.answers {
		return ""
	}
	return fmt.Sprintf("at %X/%X", s.position>>32, uint32(s.position))
}
