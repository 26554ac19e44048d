package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/act"
	"github.com/backstay/backstay/internal/act/account"
)

// A relation is a table's or index's file as WAL names it.
type relation struct{ tablespace, database, file uint32 }

// A rescued tail is what the diverged WAL holds, for people.
type rescuedTail struct {
	from, to uint64
	records  int
	changes  map[relation]int
	kinds    map[relation]map[string]int
	commits  []string
	aborts   int
}

// rescue copies the WAL from the segment of the divergence on, with a list of what it holds, before it is given up. The
// copy is whole on disk when it returns.
func (e *Engine) rescue(ctx context.Context, upstream string, from uint64) error {
	c, err := e.controldata()
	if err != nil {
		return err
	}
	segment, err := strconv.ParseUint(c["Bytes per WAL segment"], 10, 64)
	if err != nil {
		return err
	}
	dir := e.aside.At(time.Now())
	for _, d := range []string{e.aside.Dir(), dir, filepath.Join(dir, "pg_wal")} {
		if err := e.acc.Directory(d); err != nil {
			return err
		}
	}
	first, last, err := e.copyTail(filepath.Join(dir, "pg_wal"), from, segment)
	if err != nil {
		return err
	}
	t := e.dump(ctx, dir, first, last, from)
	if t.records > 0 && len(t.commits) == 0 && len(t.changes) == 0 {
		return os.RemoveAll(dir) // only what a server writes of itself
	}
	names := e.upstreamNames(ctx, upstream, t.changes)
	text := t.report(e.o.Node, upstream, names)
	if err := e.acc.Write(filepath.Join(dir, "SUMMARY.txt"), []byte(text), 0o600); err != nil {
		return err
	}
	e.tell.Record(act.EventRescued, fmt.Sprintf("%s had %d transactions that %s does not have; they were put aside in %s", e.o.Node, len(t.commits), upstream, dir),
		strings.Join(t.tables(names), ", "), map[string]any{"from": lsn(from), "records": t.records, "transactions": len(t.commits), "path": dir})
	return nil
}

// copyTail copies the segments that hold the tail, of the timeline that the instance wrote itself.
func (e *Engine) copyTail(to string, from, segment uint64) (first, last string, err error) {
	wal, err := openWAL(e.data("pg_wal"), segment)
	if err != nil {
		return "", "", err
	}
	defer wal.close()
	end, _ := wal.end(from)
	for at := from / segment * segment; at <= end; at += segment {
		s, ok := wal.names[at]
		if !ok {
			break
		}
		if err := e.copyFile(e.data("pg_wal", s.name), filepath.Join(to, s.name)); err != nil {
			return "", "", err
		}
		if first == "" {
			first = s.name
		}
		last = s.name
	}
	if first == "" {
		return "", "", fmt.Errorf("the segment of %s is gone from pg_wal", lsn(from))
	}
	return first, last, account.SyncDir(to)
}

func (e *Engine) copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, e.acc.Own(to), out.Sync(), out.Close())
}

var (
	dumpLine  = regexp.MustCompile(`^rmgr: (\S+) .*?tx: +(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), .*?desc: (\S+)`)
	dumpBlock = regexp.MustCompile(`rel (\d+)/(\d+)/(\d+)`)
	dumpTime  = regexp.MustCompile(`desc: COMMIT\S* (\d{4}-\d\d-\d\d [0-9:.]+ \S+?)[;\s]*(?:$|;|\s)`)
)

// dump reads the tail with pg_waldump; the listing, up to a bound, is kept beside the copy.
func (e *Engine) dump(ctx context.Context, dir, first, last string, from uint64) rescuedTail {
	t := rescuedTail{from: from, to: from, changes: map[relation]int{}, kinds: map[relation]map[string]int{}}
	cmd := e.command(ctx, "pg_waldump", "--path="+filepath.Join(dir, "pg_wal"), "--start="+lsn(from), "--timeline="+strconv.FormatUint(timelineOf(first), 10))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		e.log.Warn("pg_waldump", "error", err)
		return t
	}
	listing, err := os.OpenFile(filepath.Join(dir, "records.txt"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		listing = nil
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 64<<10), 16<<20)
	const most = 64 << 20
	for written := 0; lines.Scan(); {
		l := lines.Text()
		t.add(l)
		if written += len(l) + 1; listing != nil && written < most {
			fmt.Fprintln(listing, l)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // it ends with an error where the log ends, as it does here
	if listing != nil {
		_ = errors.Join(e.acc.Own(listing.Name()), listing.Sync(), listing.Close())
	}
	e.log.Debug("rescued", "first", first, "last", last, "records", t.records)
	return t
}

func timelineOf(segment string) uint64 {
	n, err := strconv.ParseUint(segment[:8], 16, 32)
	if err != nil {
		return 1
	}
	return n
}

// add counts one line of pg_waldump.
func (t *rescuedTail) add(line string) {
	m := dumpLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	t.records++
	if at, err := parseLSN(m[3]); err == nil {
		t.to = at
	}
	if m[1] == "Transaction" {
		switch {
		case strings.HasPrefix(m[4], "COMMIT"):
			when := ""
			if c := dumpTime.FindStringSubmatch(line); c != nil {
				when = " at " + c[1]
			}
			t.commits = append(t.commits, "transaction "+m[2]+when)
		case strings.HasPrefix(m[4], "ABORT"):
			t.aborts++
		}
		return
	}
	seen := map[relation]bool{}
	for _, b := range dumpBlock.FindAllStringSubmatch(line, -1) {
		r := relation{oid(b[1]), oid(b[2]), oid(b[3])}
		if seen[r] {
			continue
		}
		seen[r] = true
		t.changes[r]++
		if t.kinds[r] == nil {
			t.kinds[r] = map[string]int{}
		}
		t.kinds[r][m[1]+" "+m[4]]++
	}
}

func oid(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func nameOf(r relation, names map[relation]string) string {
	if n, ok := names[r]; ok {
		return n
	}
	return fmt.Sprintf("file %d/%d/%d (not known upstream)", r.tablespace, r.database, r.file)
}

// tables lists what was changed, system catalogs left out.
func (t *rescuedTail) tables(names map[relation]string) []string {
	var found []string
	for _, r := range slices.SortedFunc(maps.Keys(t.changes), func(a, b relation) int { return t.changes[b] - t.changes[a] }) {
		if n := nameOf(r, names); !strings.Contains(n, ".pg_") {
			found = append(found, fmt.Sprintf("%s (%d changes)", n, t.changes[r]))
		}
	}
	return found
}

// report is the summary that people read.
func (t *rescuedTail) report(node, upstream string, names map[relation]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "What %s had and %s has not, put aside before it was given up.\n\n", node, upstream)
	fmt.Fprintf(&b, "WAL:          %s to %s, %d records (pg_wal/, listed in records.txt)\n", lsn(t.from), lsn(t.to), t.records)
	fmt.Fprintf(&b, "Transactions: %d committed, %d rolled back\n\nTables and indexes changed:\n", len(t.commits), t.aborts)
	for _, r := range slices.SortedFunc(maps.Keys(t.changes), func(a, b relation) int { return t.changes[b] - t.changes[a] }) {
		var kinds []string
		for _, k := range slices.Sorted(maps.Keys(t.kinds[r])) {
			kinds = append(kinds, fmt.Sprintf("%s ×%d", k, t.kinds[r][k]))
		}
		fmt.Fprintf(&b, "  %-40s %6d  %s\n", nameOf(r, names), t.changes[r], strings.Join(kinds, ", "))
	}
	b.WriteString("\nCommitted:\n")
	for i, c := range t.commits {
		if i == 10000 {
			fmt.Fprintf(&b, "  … and %d more\n", len(t.commits)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", c)
	}
	return b.String()
}
