package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay/backstay/internal/act/daemon"
	"github.com/backstay/backstay/internal/decide/plan"
)

func TestParseSegment(t *testing.T) {
	for name, want := range map[string]struct {
		timeline uint32
		start    uint64
		ok       bool
	}{
		"000000010000000000000001":         {1, 16 << 20, true},
		"0000000A00000002000000FF":         {10, 2<<32 | 0xff000000, true},
		"00000002.history":                 {},
		"000000010000000000000001.partial": {},
		"xxxxxxxxxxxxxxxxxxxxxxxx":         {},
	} {
		timeline, start, ok := parseSegment(name, 16<<20)
		if timeline != want.timeline || start != want.start || ok != want.ok {
			t.Errorf("%s: %d %d %v", name, timeline, start, ok)
		}
	}
	if at, err := parseLSN("16/B374D848"); err != nil || at != 0x16B374D848 || lsn(at) != "16/B374D848" {
		t.Errorf("%x %v", at, err)
	}
}

// The reader finds the end of real WAL: across pages and segments, behind a switch of segment, and before what a
// recycled segment or a torn write left.
func TestEndOfWAL(t *testing.T) {
	l := newLab(t, "a")
	l.do("a", plan.Step{Kind: plan.Create, Epoch: 1})
	e := l.engines["a"]
	work := func(sql string) {
		t.Helper()
		if err := e.session(t.Context(), 20*time.Second, func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, sql)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	work("CREATE TABLE big (v text)")
	for i := range 4 {
		work(fmt.Sprintf("INSERT INTO big SELECT repeat(md5(i::text), %d) FROM generate_series(1, %d) i", 1+i*40, 30000/(1+i*20)))
		if i%2 == 0 {
			work("SELECT pg_switch_wal()")
		}
	}
	var before uint64
	l.until("the position is seen", func() bool { before = l.look("a").Position; return before > 32<<20 })
	l.do("a", plan.Step{Kind: plan.Stop, Epoch: 1, Mode: plan.Immediate})
	d := e.readDown()
	if d.position < before || d.position > before+1<<20 || d.timeline != 1 {
		t.Fatalf("the files end at %s on %d, the server was seen at %s", lsn(d.position), d.timeline, lsn(before))
	}
	// The server agrees: its first record after the recovery follows there.
	l.do("a", plan.Step{Kind: plan.Start, Epoch: 1})
	c, err := e.controldata()
	if err != nil {
		t.Fatal(err)
	}
	if log := daemon.Tail(e.logPath(), 64<<10); !strings.Contains(log, "redo done at ") {
		t.Errorf("no recovery in the log:\n%s", log)
	}
	redo, err := parseLSN(c["Latest checkpoint location"])
	if err != nil || redo < d.position {
		t.Errorf("the checkpoint after the recovery is at %s, the end was at %s, %v", lsn(redo), lsn(d.position), err)
	}
	if redo > d.position+64 { // a page's head at most lies between
		t.Errorf("%d bytes between the end that was found, %s, and the next record, %s", redo-d.position, lsn(d.position), lsn(redo))
	}
}

// Any bytes whatever must neither panic nor be read as records.
func FuzzWAL(f *testing.F) {
	f.Add([]byte{0x10, 0xd1, 6, 0})
	f.Fuzz(func(t *testing.T, junk []byte) {
		dir := t.TempDir()
		const segment = 1 << 20
		page := make([]byte, 2*walPage)
		copy(page[walLongHead:], junk)
		page[10] = 0x10 // the page's own position, 0/100000
		if err := os.WriteFile(filepath.Join(dir, "000000010000000000000001"), page, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := openWAL(dir, segment)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		if end, _ := r.end(segment); end != segment {
			t.Errorf("junk was read as records up to %s", lsn(end))
		}
	})
}
