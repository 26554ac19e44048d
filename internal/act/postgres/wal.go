package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Layout of the write-ahead log, the same in PostgreSQL 13 to 18 (src/include/access/xlog_internal.h and xlogrecord.h).
const (
	walPage       = 8192
	walShortHead  = 24
	walLongHead   = 40
	walRecordHead = 24
	walAlign      = 8
)

// A walReader reads the records in a pg_wal folder, across segments and from the newest timeline that has each.
type walReader struct {
	dir     string
	segment uint64 // bytes of one
	names   map[uint64]walSegment

	open   *os.File
	opened uint64
	page   [walPage]byte
	loaded uint64 // position of page; 0 for none
	body   []byte
}

type walSegment struct {
	name     string
	timeline uint32
}

// errEnd says that there is no valid record at a position: the log ends there.
var errEnd = errors.New("end of WAL")

func openWAL(dir string, segment uint64) (*walReader, error) {
	if segment == 0 || segment&(segment-1) != 0 {
		return nil, fmt.Errorf("a WAL segment of %d bytes", segment)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	r := &walReader{dir: dir, segment: segment, names: map[uint64]walSegment{}}
	for _, e := range entries {
		timeline, start, ok := parseSegment(e.Name(), segment)
		if old, have := r.names[start]; ok && (!have || old.timeline < timeline) {
			r.names[start] = walSegment{e.Name(), timeline}
		}
	}
	return r, nil
}

func (r *walReader) close() {
	if r.open != nil {
		r.open.Close()
	}
}

// parseSegment reads a file's name: the timeline, and the position at which the segment begins.
func parseSegment(name string, segment uint64) (timeline uint32, start uint64, ok bool) {
	if len(name) != 24 || strings.Trim(name, "0123456789ABCDEF") != "" {
		return 0, 0, false
	}
	tl, err1 := strconv.ParseUint(name[:8], 16, 32)
	high, err2 := strconv.ParseUint(name[8:16], 16, 32)
	low, err3 := strconv.ParseUint(name[16:], 16, 32)
	if errors.Join(err1, err2, err3) != nil {
		return 0, 0, false
	}
	return uint32(tl), (high<<32/segment + low) * segment, true
}

// end returns the position behind the last whole record, reading on from a position at which one begins.
func (r *walReader) end(from uint64) (uint64, uint32) {
	var timeline uint32
	at := from
	for {
		next, err := r.record(at)
		if err != nil {
			return at, timeline
		}
		timeline = max(timeline, r.names[at/r.segment*r.segment].timeline)
		at = next
	}
}

// record checks the record at a position and returns the one behind it.
func (r *walReader) record(at uint64) (uint64, error) {
	at = skipHead(at, r.segment)
	head := make([]byte, 4) // the length never crosses a page: records are aligned
	pos, err := r.read(at, head)
	if err != nil {
		return 0, err
	}
	length := binary.LittleEndian.Uint32(head)
	if length < walRecordHead || length > 1<<30 {
		return 0, errEnd
	}
	if uint32(cap(r.body)) < length {
		r.body = make([]byte, length)
	}
	body := r.body[:length]
	copy(body, head)
	if pos, err = r.read(pos, body[4:]); err != nil {
		return 0, err
	}
	sum := crc32.Update(0, castagnoli, body[walRecordHead:])
	sum = crc32.Update(sum, castagnoli, body[:20])
	if sum != binary.LittleEndian.Uint32(body[20:]) {
		return 0, errEnd
	}
	pos = (pos + walAlign - 1) / walAlign * walAlign
	if body[17] == 0 && body[16]&0xf0 == 0x40 { // XLOG_SWITCH: the rest of the segment is empty
		pos = (pos + r.segment - 1) / r.segment * r.segment
	}
	return pos, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// skipHead moves a position at the beginning of a page behind the page's head.
func skipHead(at, segment uint64) uint64 {
	switch {
	case at%segment == 0:
		return at + walLongHead
	case at%walPage == 0:
		return at + walShortHead
	}
	return at
}

// read fills into with what stands at a position, page heads left out, and returns the position behind it.
func (r *walReader) read(at uint64, into []byte) (uint64, error) {
	for len(into) > 0 {
		if at%walPage == 0 {
			at = skipHead(at, r.segment)
		}
		page := at / walPage * walPage
		if err := r.load(page); err != nil {
			return 0, err
		}
		n := copy(into, r.page[at-page:])
		into, at = into[n:], at+uint64(n)
	}
	return at, nil
}

// load reads a page and checks that it is this page and not one of the file's earlier life.
func (r *walReader) load(page uint64) error {
	if r.loaded == page && r.open != nil {
		return nil
	}
	start := page / r.segment * r.segment
	if r.open == nil || r.opened != start {
		name, ok := r.names[start]
		if !ok {
			return errEnd
		}
		f, err := os.Open(filepath.Join(r.dir, name.name))
		if err != nil {
			return err
		}
		r.close()
		r.open, r.opened = f, start
	}
	r.loaded = 0
	if _, err := r.open.ReadAt(r.page[:], int64(page%r.segment)); err != nil {
		return errors.Join(errEnd, err)
	}
	if binary.LittleEndian.Uint64(r.page[8:]) != page {
		return errEnd
	}
	r.loaded = page
	return nil
}

// parseLSN reads a position as PostgreSQL writes it.
func parseLSN(text string) (uint64, error) {
	high, low, ok := strings.Cut(strings.TrimSpace(text), "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || errors.Join(err1, err2) != nil {
		return 0, fmt.Errorf("%q is no WAL position", text)
	}
	return h<<32 | l, nil
}

// lsn writes a position as PostgreSQL does.
func lsn(at uint64) string { return fmt.Sprintf("%X/%X", at>>32, uint32(at)) }
