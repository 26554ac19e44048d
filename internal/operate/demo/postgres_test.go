package demo

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/event"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return noon.Add(time.Duration(n) * time.Millisecond) }

// ack is an acknowledgement of a row that was sent five milliseconds before.
func ack(writer int, seq int64, at int, node string, timeline int64) acknowledged {
	return acknowledged{rowID: rowID{writer, seq}, begun: ms(at - 5), at: ms(at), node: node, timeline: timeline}
}

func TestPostgresScriptLeavesRoom(t *testing.T) {
	for _, length := range []time.Duration{shortestPostgres, PostgresLength, 5 * time.Minute} {
		last := time.Duration(0)
		for _, sc := range postgresScript(length) {
			if sc.at < last+3*time.Second {
				t.Errorf("in %s, %q begins at %s, when the one before ended at %s", length, sc.title, sc.at, last)
			}
			if (sc.end == nil) != (sc.over == "") || sc.until < sc.at {
				t.Errorf("%q: from %s until %s, over %q", sc.title, sc.at, sc.until, sc.over)
			}
			last = sc.until
		}
		if rest := length - last; rest < 5*time.Second {
			t.Errorf("in %s, only %s are left after the last scene for redundancy to come back", length, rest)
		}
	}
}

func TestCompare(t *testing.T) {
	acks := []acknowledged{ack(0, 1, 10, "n1", 1), ack(0, 2, 20, "n1", 1), ack(1, 1, 30, "n1", 1), ack(1, 2, 40, "n2", 2)}
	rows := []row{
		{rowID{0, 1}, "n1", 1},
		{rowID{1, 1}, "n1", 1}, {rowID{1, 1}, "n1", 1}, // twice
		{rowID{1, 2}, "n3", 2}, // not from where it was acknowledged
		{rowID{2, 1}, "n1", 1}, // nobody was told
	}
	a := compare(acks, rows)
	if len(a.lost) != 1 || a.lost[0].rowID != (rowID{0, 2}) {
		t.Errorf("lost: %v", a.lost)
	}
	if !slices.Equal(a.twice, []rowID{{1, 1}}) {
		t.Errorf("twice: %v", a.twice)
	}
	if len(a.moved) != 1 || a.moved[0].rowID != (rowID{1, 2}) {
		t.Errorf("moved: %v", a.moved)
	}
	if a.uncertain != 1 || a.rows != 5 {
		t.Errorf("%d rows, %d of them uncertain", a.rows, a.uncertain)
	}
}

func TestRivals(t *testing.T) {
	for _, c := range []struct {
		name string
		acks []acknowledged
		want string
	}{
		{"one after the other", []acknowledged{ack(0, 1, 10, "n1", 1), ack(0, 2, 20, "n1", 1), ack(0, 3, 500, "n2", 2)}, ""},
		{"back to the first", []acknowledged{ack(0, 1, 10, "n1", 1), ack(0, 2, 200, "n2", 2), ack(0, 3, 500, "n1", 3)}, ""},
		{"an answer that was on its way", []acknowledged{ack(0, 1, 100, "n2", 2), {rowID: rowID{1, 1}, begun: ms(50), at: ms(120), node: "n1", timeline: 1}}, ""},
		{"the old one went on", []acknowledged{ack(0, 1, 10, "n1", 1), ack(1, 1, 100, "n2", 2), ack(0, 2, 305, "n1", 1)}, "n1 (timeline 1) took writes for 200ms after n2 (timeline 2) had begun to"},
		{"two promoted at once", []acknowledged{ack(0, 1, 10, "n1", 2), ack(1, 1, 100, "n2", 2)}, "n1 and n2 both took writes on timeline 2"},
	} {
		if got := strings.Join(rivals(reignsOf(c.acks)), "; "); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

func TestLongestGap(t *testing.T) {
	acks := []acknowledged{ack(0, 1, 0, "n1", 1), ack(0, 2, 100, "n1", 1), ack(0, 3, 400, "n1", 1), ack(0, 4, 450, "n1", 1), ack(0, 5, 1450, "n1", 1)}
	for _, c := range []struct{ from, to, want int }{
		{0, 450, 300},
		{110, 440, 300},    // it counts from its beginning
		{101, 150, 50},     // but not beyond the time
		{420, 440, 40},     // the one that the time lies in
		{0, 2000, 1000},    // the longest of several
		{1460, 5000, 3550}, // nothing came any more
		{-500, 50, 500},    // nor had anything come yet
	} {
		if got := longestGap(acks, ms(c.from), ms(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("from %d to %d: %s, not %dms", c.from, c.to, got, c.want)
		}
	}
}

func TestWholeAgain(t *testing.T) {
	turns := []turn{{ms(0), true}, {ms(1000), false}, {ms(1500), true}, {ms(1600), false}, {ms(2500), true}, {ms(9000), false}}
	for _, c := range []struct {
		from, to, at int
		whole        bool
	}{
		{100, 900, 100, true}, // never lost
		{950, 5000, 2500, true},
		{950, 2000, 1500, false},
		{3000, 10000, 3000, false},
	} {
		at, ok := wholeAgain(turns, ms(c.from), ms(c.to))
		if ok != c.whole || ok && !at.Equal(ms(c.at)) {
			t.Errorf("from %d to %d: %v at %s", c.from, c.to, ok, at)
		}
	}
}

func TestWhole(t *testing.T) {
	good := func() []sight {
		return []sight{
			{node: "n1", answers: true},
			{node: "n2", answers: true, primary: true, standbys: []string{"n1", "n3"}},
			{node: "n3", answers: true},
		}
	}
	if !whole(good()) {
		t.Error("a primary with both standbys is not whole")
	}
	for name, spoil := range map[string]func([]sight){
		"a standby does not answer": func(s []sight) { s[2].answers = false },
		"a standby does not stream": func(s []sight) { s[1].standbys = []string{"n1"} },
		"there is no primary":       func(s []sight) { s[1].primary = false },
		"there are two":             func(s []sight) { s[0].primary, s[0].standbys = true, []string{"n2", "n3"} },
	} {
		s := good()
		if spoil(s); whole(s) {
			t.Errorf("whole, although %s", name)
		}
	}
}

func TestJudge(t *testing.T) {
	mend := postgresScript(shortestPostgres)[2].end
	scenes := []*postgresScene{
		{title: "%s killed", victim: "n1", begun: ms(1000), mended: ms(1000)},
		{title: "%s stopped", victim: "n2", begun: ms(5000), mended: ms(7000), end: mend},
		{title: "%s never came to it"},
	}
	acks := []acknowledged{ack(0, 1, 990, "n1", 1), ack(0, 2, 1490, "n2", 2), ack(0, 3, 5050, "n2", 2), ack(0, 4, 5100, "n2", 2), ack(0, 5, 9950, "n2", 2)}
	unknowns := []unknown{{at: ms(1001), problem: "reset"}, {at: ms(1002), problem: "reset"}, {at: ms(5001), problem: "reset"}, {at: ms(9999)}}
	turns := []turn{{ms(0), true}, {ms(1100), false}, {ms(2000), true}, {ms(5300), false}, {ms(7250), true}}
	faults := judge(scenes, ms(10000), acks, unknowns, turns)
	assign(faults, scenes, []acknowledged{acks[2], acks[4]})
	want := []postgresFault{
		{title: "n1 killed", gap: 3510 * time.Millisecond, errors: 2, again: time.Second, whole: true},
		{title: "n2 stopped", gap: 4850 * time.Millisecond, errors: 1, lost: 2, again: 250 * time.Millisecond, whole: true, mended: true},
	}
	if !slices.Equal(faults, want) {
		t.Errorf("got\n%+v, not\n%+v", faults, want)
	}
}

func TestPromotions(t *testing.T) {
	record := func(at int, kind, message string) event.Record {
		return event.Record{Time: ms(at), Kind: kind, Message: message}
	}
	records := []event.Record{
		record(900, kindPromoted, "n1 is the primary of epoch 1"),
		record(3000, kindPromoted, "n3 is the primary of epoch 3"), // of another node's log, which came first
		record(1250, kindPromoted, "n2 is the primary of epoch 2"),
		record(1100, kindStarted, "PostgreSQL on n1 was started"),
	}
	text, n := promotions(records, ms(1000), ms(5000))
	if want := "n2 is the primary of epoch 2 (after 250ms), n3 is the primary of epoch 3 (after 2s)"; text != want || n != 2 {
		t.Errorf("%d: %q, not %q", n, text, want)
	}
	if text, n := promotions(records[3:], ms(1000), ms(5000)); text != "PostgreSQL on n1 was started (after 100ms)" || n != 0 {
		t.Errorf("%d: %q", n, text)
	}
}

func TestPostgresVerdictFails(t *testing.T) {
	good := func() postgresVerdict {
		return postgresVerdict{acked: 10, resumed: true, faults: []postgresFault{{title: "n1 killed", whole: true}}}
	}
	if err := good().err(); err != nil {
		t.Errorf("a good one fails: %v", err)
	}
	for want, spoil := range map[string]func(*postgresVerdict){
		"1 acknowledged writes are lost": func(v *postgresVerdict) { v.audit.lost = []acknowledged{ack(0, 1, 0, "n1", 1)} },
		"1 writes are there twice":       func(v *postgresVerdict) { v.audit.twice = []rowID{{0, 1}} },
		"not from the server":            func(v *postgresVerdict) { v.audit.moved = []acknowledged{ack(0, 1, 0, "n1", 1)} },
		"two primaries: ":                func(v *postgresVerdict) { v.rivals = []string{"n1 and n2"} },
		"could not be read":              func(v *postgresVerdict) { v.unread = errors.New("the rows could not be read back") },
		"no write was ever acknowledged": func(v *postgresVerdict) { v.acked = 0 },
		"not acknowledged any more":      func(v *postgresVerdict) { v.resumed = false },
		"redundancy was not whole again": func(v *postgresVerdict) { v.faults[0].whole = false },
	} {
		v := good()
		spoil(&v)
		if err := v.err(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(v.String(), "NOT good") {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestTraversable(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := traversable(filepath.Join(closed, "in")); err == nil || !strings.Contains(err.Error(), "cannot get through "+closed) {
		t.Errorf("below a folder that keeps others out: %v", err)
	}
	if err := traversable("/"); err != nil {
		t.Error(err)
	}
}

func TestLoopbackIsFree(t *testing.T) {
	network, ports, err := loopback()
	if err != nil {
		t.Fatal(err)
	}
	if err := allFree(network, ports); err != nil || len(ports.all()) != 6 {
		t.Errorf("%s with %v: %v", network, ports.all(), err)
	}
}
