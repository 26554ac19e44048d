package health

import (
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/base/config"
)

var noon = time.Date(2026, 3, 1, 12, 1, 3, 0, time.UTC)

// play has a track see one look a second: g is good, b is bad, B is bad for another reason. It returns the states after each look.
func play(c config.Check, looks string) (states string, last Status) {
	t := begin(c, noon.Add(-time.Second))
	letters := map[State]string{Unknown: "?", Starting: "s", Up: "U", Down: "D"}
	for i, l := range looks {
		r := Result{OK: l == 'g'}
		switch l {
		case 'b':
			r.Reason = "connection refused"
		case 'B':
			r.Reason = "status 503"
		}
		before := t.state
		if changed := t.observe(c, r, noon.Add(time.Duration(i)*time.Second)); changed != (before != t.state) {
			states += "!"
		}
		states += letters[t.state]
	}
	return states, t.status()
}

func TestRiseFallGraceFlap(t *testing.T) {
	for _, c := range []struct {
		name       string
		rise, fall int
		grace      time.Duration
		looks      string
		want       string
	}{
		{"the first good look makes it up", 5, 3, 0, "g", "U"},
		{"unknown falls like any other", 2, 3, 0, "bbb", "??D"},
		{"a good look in between makes it up", 2, 3, 0, "bbgbb", "??UUU"},
		{"up falls after fall bad ones in a row", 2, 3, 0, "gbbgbbb", "UUUUUUD"},
		{"down rises after rise good ones in a row", 2, 3, 0, "bbbgbgg", "??DDDDU"},
		{"flapping every time never changes an up one", 2, 3, 0, "gbgbgbgb", "UUUUUUUU"},
		{"flapping every time never changes a down one", 2, 1, 0, "bgbgbgbg", "DDDDDDDD"},
		{"rise and fall of one follow every look", 1, 1, 0, "gbgb", "UDUD"},
		{"zero counts as one", 0, 0, 0, "gbg", "UDU"},
		{"starting stays so within its grace", 2, 2, 5 * time.Second, "bbb", "sss"},
		{"and is down at the first bad look after it", 2, 2, 3 * time.Second, "bbbb", "ssDD"},
		{"after the grace fall still counts", 2, 3, 1 * time.Second, "bbb", "ssD"},
		{"a good look ends starting", 5, 2, 60 * time.Second, "bbg", "ssU"},
		{"the grace goes on after a good look", 2, 2, 4 * time.Second, "gbbbb", "UUUDD"},
		{"different reasons count together", 2, 3, 0, "gbBb", "UUUD"},
	} {
		got, _ := play(config.Check{Rise: c.rise, Fall: c.fall, Grace: config.Duration(c.grace)}, c.looks)
		if got != c.want {
			t.Errorf("%s: %s gives %s, want %s", c.name, c.looks, got, c.want)
		}
	}
}

func TestEvidenceIsInPeoplesWords(t *testing.T) {
	for looks, want := range map[string]string{
		"":        "not looked at yet",
		"g":       "1 of 1 probe good since 12:01:03",
		"ggg":     "3 of 3 probes good since 12:01:03",
		"b":       "1 of 3 probes: connection refused since 12:01:03",
		"bbb":     "3 of 3 probes: connection refused since 12:01:03",
		"bbbbb":   "5 of 5 probes: connection refused since 12:01:03",
		"gbb":     "2 of 3 probes: connection refused since 12:01:04",
		"bBB":     "3 of 3 probes bad since 12:01:03, the last: status 503",
		"bbbg":    "1 of 2 probes good since 12:01:06; before: connection refused",
		"bBBgg":   "2 of 2 probes good since 12:01:06",
		"bBBggBB": "2 of 3 probes: status 503 since 12:01:08",
	} {
		_, s := play(config.Check{Rise: 2, Fall: 3}, looks)
		if s.Evidence != want {
			t.Errorf("%q: %q, want %q", looks, s.Evidence, want)
		}
	}
	_, s := play(config.Check{Rise: 2, Fall: 3, Grace: config.Duration(time.Minute)}, "bb")
	if want := "2 of 3 probes: connection refused since 12:01:03; may take until 12:02:02"; s.Evidence != want {
		t.Errorf("starting: %q", s.Evidence)
	}
}

func TestOldEvidenceHasItsDate(t *testing.T) {
	var tr track
	c := config.Check{Fall: 3}
	for i := range 3 {
		tr.observe(c, Result{Reason: "no route to host"}, noon.Add(time.Duration(i)*20*time.Hour))
	}
	if s := tr.status(); !strings.HasSuffix(s.Evidence, "since 2026-03-01 12:01:03") || s.Bad != 3 || s.Good != 0 {
		t.Errorf("%+v", s)
	}
}

func TestStatusCounts(t *testing.T) {
	_, s := play(config.Check{Rise: 2, Fall: 2}, "gggbb")
	if s.State != Down || s.Bad != 2 || s.Good != 0 || !s.Since.Equal(noon.Add(4*time.Second)) || !s.Last.Equal(s.Since) {
		t.Errorf("%+v", s)
	}
}
